//! Models on Candle: closures over tensors, and our transformer out of tensors in memory.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use specdec_rs::candle::{ClosureModel, Tensors, transformer};
use specdec_rs::hub::ModelFiles;
use specdec_rs::model::{LoadOptions, SharedModel, TargetModel, TokenSequence, load};
use specdec_rs::{LanguageModel, SpeculativeConfig, SpeculativeDecoder};
use support::{fixtures, pair};

/// The tokens that are in the pair's vocabulary.
fn vocab_size() -> usize {
    pair::decoder().info().vocab_size
}

/// A model with a cache: its logits depend on the embeddings of the last token and of all before it.
fn averaging(
    vocab_size: usize,
    calls: Arc<AtomicUsize>,
) -> impl FnMut(&Tensor, usize) -> candle_core::Result<Tensor> + Clone + Send + 'static {
    let seed = |scale: f32, rows: usize| {
        let values: Vec<f32> = (0..rows * 16)
            .map(|index| ((index * 7919 + rows) % 1009) as f32 / 1009.0 * scale - scale / 2.0)
            .collect();
        Tensor::from_vec(values, (rows, 16), &Device::Cpu).unwrap()
    };
    let (embeddings, head) = (seed(2.0, vocab_size), seed(8.0, vocab_size + 1));
    let head = head.narrow(0, 1, vocab_size).unwrap().t().unwrap();
    // The sums of the embeddings up to each position.
    let mut sums: Vec<Tensor> = Vec::new();
    move |ids, position| {
        calls.fetch_add(1, Ordering::Relaxed);
        sums.truncate(position);
        let mut rows = Vec::new();
        for id in ids.i(0)?.to_vec1::<u32>()? {
            let own = embeddings.i(id as usize)?;
            let sum = match sums.last() {
                Some(before) => ((before * 0.7)? + &own)?,
                None => own,
            };
            rows.push(sum.unsqueeze(0)?.matmul(&head)?);
            sums.push(sum);
        }
        Tensor::cat(&rows, 0)
    }
}

#[test]
fn a_closure_is_verified_in_one_call_a_step() {
    let vocab_size = vocab_size();
    let calls = Arc::new(AtomicUsize::new(0));
    let model = |calls: &Arc<AtomicUsize>| {
        ClosureModel::new(
            vocab_size,
            512,
            Device::Cpu,
            averaging(vocab_size, calls.clone()),
        )
    };
    let draft = model(&Arc::default());
    // By value; boxed and as a trait object below.
    let decoder = SpeculativeDecoder::with_models(model(&calls), Some(draft), pair::tokenizer());
    let boxed: Box<dyn LanguageModel> = Box::new(model(&Arc::default()));
    let plain =
        SpeculativeDecoder::with_models(boxed, None::<Box<dyn LanguageModel>>, pair::tokenizer());
    let generate = |decoder: &SpeculativeDecoder, draft: &str, temperature: f64| {
        let config = SpeculativeConfig {
            draft: Some(draft.parse().unwrap()),
            gamma: 4,
            adaptive: false,
            temperature,
            seed: Some(3),
            ignore_eos: true,
            max_new_tokens: 60,
            ..SpeculativeConfig::unmodified()
        };
        decoder.generate_with("You may copy", &config).unwrap()
    };
    for temperature in [0.0, 1.0] {
        let expected = generate(&plain, "none", temperature);
        let before = calls.load(Ordering::Relaxed);
        let drafted = generate(&decoder, "model", temperature);
        assert_eq!(drafted.token_ids(), expected.token_ids());
        // The draft is the same model: a step writes five tokens, with one call.
        assert_eq!(drafted.stats.accepted, drafted.stats.drafted);
        let calls = calls.load(Ordering::Relaxed) - before;
        assert!(calls <= drafted.stats.steps + 2, "{calls} calls");
        assert_eq!(
            generate(&decoder, "ngram", temperature).token_ids(),
            expected.token_ids()
        );
    }
}

#[test]
fn a_closure_that_returns_the_wrong_shape_is_an_error() {
    let vocab_size = vocab_size();
    let forward =
        |ids: &Tensor, _: usize| Tensor::zeros((ids.dim(1)?, 3), DType::F32, &Device::Cpu);
    let model = ClosureModel::new(vocab_size, 64, Device::Cpu, forward);
    let decoder =
        SpeculativeDecoder::with_models(model, None::<Box<dyn LanguageModel>>, pair::tokenizer());
    let config = SpeculativeConfig::default();
    let message = decoder
        .generate_with("You", &config)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("the closure returned logits of shape"),
        "{message}"
    );
}

/// The logits after some tokens, as bits.
fn logits(model: Box<dyn TargetModel>) -> Vec<u32> {
    let model = SharedModel::new(model);
    let mut sequence = TokenSequence::new(&model);
    let logits = sequence.extend(&[5, 9, 20, 3, 7], 5).unwrap();
    logits.into_vec().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn our_transformer_is_built_out_of_tensors() {
    for family in ["llama", "gpt2", "qwen3"] {
        let folder = fixtures().join("hf").join(family);
        let options = LoadOptions::default();
        let from_files = load(&ModelFiles::Folder(folder.clone()), &options).unwrap();
        let expected = logits(from_files.model);
        let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let file = folder.join("model.safetensors");
        let map: HashMap<String, Tensor> =
            candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        let dtype = map.values().next().unwrap().dtype();
        let builder = VarBuilder::from_tensors(map.clone(), dtype, &Device::Cpu);
        for tensors in [Tensors::from(map), Tensors::from(builder)] {
            let model = transformer(&config, tensors, &options).unwrap();
            assert_eq!(logits(model), expected, "{family}");
        }
        let empty = transformer(&config, HashMap::new(), &options)
            .err()
            .unwrap()
            .to_string();
        assert!(empty.contains("is missing"), "{empty}");
    }
}
