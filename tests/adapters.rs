//! LoRA adapters, merged when a model is loaded, against what PEFT computes with them unmerged.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use specdec_rs::backend::WeightPrecision;
use specdec_rs::hub::{LocateOptions, ModelFiles, locate, locate_adapter};
use specdec_rs::model::{Kernels, LanguageModel, LoadOptions, OpenModel, load};
use specdec_rs::progress::Silent;
use specdec_rs::weights::{StorageType, StoredTensor, dequantize, quantize};
use specdec_rs::{DecoderBuilder, Device, SpeculativeConfig, SpeculativeDecoder};
use support::models::{all_kernels, extend, folders, open};
use support::{fixtures, repository};
use tempfile::TempDir;

/// Largest difference of a logit from float64, as in tests/golden.rs. PEFT's own float32 lies within 1e-5.
const MAX_ERROR: f32 = 5e-5;

struct Golden {
    ids: Vec<u32>,
    logits: Vec<f32>,
}

impl Golden {
    fn read(folder: &Path) -> Self {
        let bytes = std::fs::read(folder.join("golden.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let data = |name| tensors.tensor(name).unwrap().data().to_vec();
        let ids = data("ids");
        let ids = ids
            .chunks(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32);
        let logits = data("logits");
        let logits = logits
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        Self {
            ids: ids.collect(),
            logits: logits.collect(),
        }
    }

    /// The largest difference of a model's logits from these.
    fn difference(&self, model: &mut dyn LanguageModel) -> f32 {
        let logits = extend(model, 0, &self.ids, self.ids.len());
        assert_eq!(logits.len(), self.logits.len());
        let pairs = logits.iter().zip(&self.logits);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }
}

fn adapter(name: &str) -> PathBuf {
    fixtures().join("adapters").join(name)
}

fn located(name: &Path) -> ModelFiles {
    let options = LocateOptions {
        revision: None,
        with_head: false,
        progress: &Silent,
    };
    locate(name.to_str().unwrap(), &options).unwrap()
}

#[test]
fn adapters_give_the_logits_of_peft() {
    let adapters = folders(&fixtures().join("adapters"));
    assert!(adapters.len() >= 10);
    for folder in adapters {
        let golden = Golden::read(&folder);
        let files = located(&folder);
        for kernels in all_kernels() {
            let mut model = open(&files, WeightPrecision::F32, kernels);
            let difference = golden.difference(model.as_mut());
            println!("{} {kernels:?}: {difference:.1e}", folder.display());
            assert!(
                difference <= MAX_ERROR,
                "{}: {difference}",
                folder.display()
            );
        }
    }
}

#[test]
fn a_gguf_adapter_gives_the_same() {
    let golden = Golden::read(&adapter("olmo2"));
    let base = ModelFiles::Gguf(fixtures().join("gguf/olmo2-BF16.gguf"));
    let adapted = base
        .clone()
        .with_adapters(vec![adapter("olmo2/adapter.gguf")]);
    let adapted = adapted.unwrap();
    for kernels in all_kernels() {
        let mut model = open(&adapted, WeightPrecision::F32, kernels);
        let difference = golden.difference(model.as_mut());
        assert!(difference <= MAX_ERROR, "{kernels:?}: {difference}");
        let mut model = open(&base, WeightPrecision::F32, kernels);
        assert!(golden.difference(model.as_mut()) > 0.3);
    }
}

/// A copy of an adapter, to be changed.
struct Copy {
    folder: TempDir,
    config: Value,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Copy {
    fn of(name: &str) -> Self {
        let from = adapter(name);
        let config = std::fs::read(from.join("adapter_config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        let base = config["base_model_name_or_path"].as_str().unwrap();
        config["base_model_name_or_path"] = repository().join(base).to_str().unwrap().into();
        let bytes = std::fs::read(from.join("adapter_model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = tensors.tensors().into_iter().map(|(name, tensor)| {
            let content = (
                tensor.dtype(),
                tensor.shape().to_vec(),
                tensor.data().to_vec(),
            );
            (name, content)
        });
        Self {
            folder: tempfile::tempdir().unwrap(),
            config,
            tensors: tensors.collect(),
        }
    }

    /// A tensor of a layer.
    fn tensor(&mut self, name: &str) -> &mut (Dtype, Vec<usize>, Vec<u8>) {
        let name = format!("base_model.model.model.layers.1.{name}");
        self.tensors.get_mut(&name).unwrap()
    }

    fn remove(&mut self, name: &str) -> (Dtype, Vec<usize>, Vec<u8>) {
        let name = format!("base_model.model.model.layers.1.{name}");
        self.tensors.remove(&name).unwrap()
    }

    fn write(&self) -> &Path {
        let folder = self.folder.path();
        let config = serde_json::to_vec(&self.config).unwrap();
        std::fs::write(folder.join("adapter_config.json"), config).unwrap();
        let views = self.tensors.iter().map(|(name, (dtype, shape, data))| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        let file = folder.join("adapter_model.safetensors");
        safetensors::serialize_to_file(views, None, &file).unwrap();
        folder
    }

    fn error(&self) -> String {
        refusal(self.write())
    }
}

/// Why a model is not loaded.
fn refusal(name: &Path) -> String {
    let options = LocateOptions {
        revision: None,
        with_head: false,
        progress: &Silent,
    };
    let files = locate(name.to_str().unwrap(), &options);
    refusal_of(files)
}

fn refusal_of(files: specdec_rs::Result<ModelFiles>) -> String {
    let loaded = files.and_then(|files| load(&files, &LoadOptions::default()));
    match loaded {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error.to_string(),
    }
}

fn check(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "expected {word:?}: {error}");
    }
}

#[test]
fn settings_that_are_not_applied_are_refused() {
    for (field, value, words) in [
        ("peft_type", json!("LOHA"), ["LOHA", "merge_and_unload"]),
        ("peft_type", json!(null), ["peft_type null", "LORA"]),
        (
            "target_parameters",
            json!(["experts"]),
            ["target_parameters", "merge_and_unload"],
        ),
        (
            "trainable_token_indices",
            json!([1]),
            ["trainable_token_indices", "not supported"],
        ),
        (
            "lora_bias",
            json!(true),
            ["lora_bias = true", "not supported"],
        ),
        (
            "layer_replication",
            json!([[0, 1]]),
            ["layer_replication", "not supported"],
        ),
        (
            "alora_invocation_tokens",
            json!([1]),
            ["alora_invocation_tokens", "not supported"],
        ),
        ("a_new_field", json!("on"), ["a_new_field", "not supported"]),
        (
            "init_lora_weights",
            json!("pissa"),
            ["pissa", "path_initial_model"],
        ),
        ("r", json!(3), ["lora_A", "rank 3"]),
        ("r", json!(0), ["r or rank_pattern", "of at least 1"]),
        ("r", json!("2"), ["r: expected a number", "\"2\""]),
        (
            "rank_pattern",
            json!({"q_proj": 1}),
            ["q_proj.lora_A", "rank 1"],
        ),
        (
            "rank_pattern",
            json!({"(": 1}),
            ["rank_pattern", "regular expressions"],
        ),
        ("lora_alpha", json!([]), ["lora_alpha", "a number"]),
        (
            "use_dora",
            json!(true),
            ["use_dora", "no lora_magnitude_vector"],
        ),
        ("use_rslora", json!(1), ["use_rslora", "true or false"]),
        (
            "base_model_name_or_path",
            json!(null),
            ["base_model_name_or_path", "`lora`"],
        ),
        (
            "base_model_name_or_path",
            json!("./none"),
            ["./none", "`lora`"],
        ),
        (
            "base_model_name_or_path",
            json!("tests/data/adapters/head"),
            ["head", "is an adapter"],
        ),
    ] {
        let mut copy = Copy::of("plain");
        copy.config[field] = value;
        check(&copy.error(), &words);
    }
    // What asks for nothing is no reason to refuse.
    let mut copy = Copy::of("plain");
    copy.config["a_new_field"] = json!(false);
    copy.config["another"] = json!({});
    load(&located(copy.write()), &LoadOptions::default()).unwrap();
}

#[test]
fn tensors_that_fit_no_base_are_refused() {
    type Change = fn(&mut Copy);
    let cases: [(Change, &[&str]); 13] = [
        (
            |copy| drop(copy.remove("mlp.up_proj.lora_B.weight")),
            &["up_proj.lora_A", "found one of them"],
        ),
        (
            |copy| {
                let tensor = copy.remove("mlp.up_proj.lora_B.weight");
                let name = "base_model.model.model.layers.1.mlp.up_proj.lora_C.weight";
                copy.tensors.insert(name.into(), tensor);
            },
            &["lora_C", "not supported"],
        ),
        (
            |copy| {
                let tensor = copy.tensor("mlp.up_proj.lora_A.weight").clone();
                let name = "base_model.model.model.layers.1.mlp.up_proj.lora_embedding_A";
                copy.tensors.insert(name.into(), tensor);
            },
            &[
                "lora_embedding_A",
                "expected one such tensor",
                "lora_A.weight",
            ],
        ),
        (
            |copy| {
                let tensor = (Dtype::F32, vec![1], vec![0; 4]);
                copy.tensors
                    .insert("base_model.model.other.weight".into(), tensor);
            },
            &["other.weight", "the base model has no tensor"],
        ),
        (
            |copy| {
                let tensor = (Dtype::F32, vec![1], vec![0; 4]);
                copy.tensors.insert("model.norm.weight".into(), tensor);
            },
            &["model.norm.weight", "[1]", "[32]"],
        ),
        (
            |copy| copy.tensor("mlp.up_proj.lora_B.weight").1 = vec![32, 4],
            &["up_proj.lora_A", "[32, 4]", "another base model"],
        ),
        (
            |copy| {
                let (a, b) = ("mlp.up_proj.lora_A.weight", "mlp.down_proj.lora_A.weight");
                let other = copy.tensor(b).clone();
                *copy.tensor(a) = other;
            },
            &["up_proj.lora_A", "[2, 64]", "another base model"],
        ),
        (
            |copy| {
                copy.tensor("mlp.up_proj.lora_A.weight").2[..4]
                    .copy_from_slice(&f32::NAN.to_le_bytes());
            },
            &["up_proj.lora_A", "found NaN", "adapter_model.safetensors"],
        ),
        (
            |copy| {
                copy.tensor("mlp.up_proj.lora_B.weight").2[..4]
                    .copy_from_slice(&f32::INFINITY.to_le_bytes());
            },
            &["up_proj.lora_B", "found inf"],
        ),
        (
            |copy| copy.tensor("mlp.up_proj.lora_B.weight").0 = Dtype::I32,
            &["up_proj.lora_B", "expected numbers in F32, F16 or BF16"],
        ),
        (
            |copy| {
                let tensor = (Dtype::F32, vec![64], vec![0; 256]);
                let name = "base_model.model.model.layers.1.mlp.up_proj.lora_magnitude_vector";
                copy.tensors.insert(name.into(), tensor);
            },
            &["lora_magnitude_vector", "does not set use_dora"],
        ),
        (
            |copy| copy.config["lora_alpha"] = json!(1e300),
            &["lora_A", "not finite"],
        ),
        (
            |copy| copy.tensors.clear(),
            &["no tensors that change a model"],
        ),
    ];
    for (change, words) in cases {
        let mut copy = Copy::of("plain");
        change(&mut copy);
        check(&copy.error(), words);
    }
    let mut copy = Copy::of("embedding");
    copy.config["ensure_weight_tying"] = json!(true);
    check(&copy.error(), &["ensure_weight_tying", "merge_and_unload"]);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let with = |base: ModelFiles, adapters: &[&str]| {
        let adapters = adapters.iter().map(|name| adapter(name)).collect();
        refusal_of(base.with_adapters(adapters))
    };
    let folder = |name: &str| ModelFiles::Folder(fixtures().join("hf").join(name));
    let file = |name: &str| ModelFiles::Gguf(fixtures().join("gguf").join(name));
    let olmo = "olmo2-BF16.gguf";
    check(
        &with(file(olmo), &["olmo2"]),
        &["does not fit a GGUF file", "convert_lora_to_gguf"],
    );
    check(
        &with(folder("olmo2"), &["olmo2/adapter.gguf"]),
        &["a base model in a GGUF file alone"],
    );
    check(
        &with(file("lfm2-BF16.gguf"), &["olmo2/adapter.gguf"]),
        &["olmo2", "lfm2"],
    );
    check(
        &with(folder("gpt2"), &["plain"]),
        &["the base model has no tensor", "another base model"],
    );
    check(
        &with(folder("llama"), &["plain", "plain"]),
        &["each adapter once"],
    );
    check(
        &with(folder("llama"), &["plain", "dora"]),
        &["DoRA does not allow"],
    );
    check(
        &with(folder("llama"), &["saved", "head", "saved/."]),
        &["each adapter once"],
    );
    check(
        &refusal(&adapter("olmo2/adapter.gguf")),
        &["LoRA adapter", "`lora`"],
    );
    let options = LocateOptions {
        revision: None,
        with_head: false,
        progress: &Silent,
    };
    let model = fixtures().join("hf/llama");
    let error = locate_adapter(model.to_str().unwrap(), &options).unwrap_err();
    check(
        &error.to_string(),
        &["no adapter_config.json", "it is no adapter"],
    );
    let model = fixtures().join("gguf").join(olmo);
    let found = locate_adapter(model.to_str().unwrap(), &options).unwrap();
    let error = refusal_of(file(olmo).with_adapters(vec![found]));
    check(&error, &["no adapter", "--target"]);
    let empty = tempfile::tempdir().unwrap();
    std::fs::copy(
        adapter("plain/adapter_config.json"),
        empty.path().join("adapter_config.json"),
    )
    .unwrap();
    check(
        &refusal(empty.path()),
        &["adapter_config.json", "adapter_model.safetensors"],
    );
}

#[test]
fn several_adapters_are_added() {
    let base = ModelFiles::Folder(fixtures().join("hf/llama"));
    let logits = |names: &[&str]| {
        let files = base
            .clone()
            .with_adapters(names.iter().map(|name| adapter(name)).collect());
        let files = files.unwrap();
        let mut model = open(&files, WeightPrecision::F32, Kernels::Best);
        extend(model.as_mut(), 0, &[7, 8, 9], 3)
    };
    let both = logits(&["plain", "saved"]);
    for (a, b) in both.iter().zip(logits(&["saved", "plain"])) {
        assert!((a - b).abs() < 1e-4, "{a}, {b}");
    }
    assert_ne!(both, logits(&["plain"]));
    assert_ne!(both, logits(&["saved"]));
}

/// A quantized matrix is not rounded to its own few bits again, which would undo most of a small change.
#[test]
fn a_quantized_base_keeps_what_is_added() {
    const NAME: &str = "model.layers.1.mlp.down_proj.weight";
    let mut copy = Copy::of("plain");
    let base = fixtures().join("hf/llama-gptq");
    copy.config["base_model_name_or_path"] = base.to_str().unwrap().into();
    copy.tensors.retain(|name, _| name.contains("down_proj"));
    let mut numbers = |name| {
        let (_, shape, data) = copy.tensor(name);
        let numbers = data.as_chunks_mut::<4>().0.iter_mut();
        let numbers: Vec<f32> = numbers
            .map(|number| {
                let smaller = f32::from_le_bytes(*number) / 4.0;
                *number = smaller.to_le_bytes();
                smaller
            })
            .collect();
        (shape.clone(), numbers)
    };
    let (shape, a) = numbers("mlp.down_proj.lora_A.weight");
    let (_, b) = numbers("mlp.down_proj.lora_B.weight");
    let [rank, inputs] = shape[..] else { panic!() };
    let values = |files: &ModelFiles| {
        let opened = OpenModel::open(files).unwrap();
        let joined = opened.checkpoint().packed(NAME).unwrap().joined().unwrap();
        (dequantize(&joined).unwrap(), joined)
    };
    let (of_base, _) = values(&ModelFiles::Folder(base));
    let (held, joined) = values(&located(copy.write()));
    assert_eq!(joined.storage, StorageType::Q8_0);
    let exact: Vec<f32> = of_base
        .iter()
        .enumerate()
        .map(|(index, weight)| {
            let (output, input) = (index / inputs, index % inputs);
            let products = (0..rank).map(|k| b[output * rank + k] * a[k * inputs + input]);
            weight + 3.0 / 2.0 * products.sum::<f32>()
        })
        .collect();
    let distance = |a: &[f32], b: &[f32]| {
        let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let of_values = StoredTensor {
        storage: StorageType::F32,
        shape: joined.shape.clone(),
        data: exact.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    let in_4_bits = dequantize(&quantize(&of_values, StorageType::Q4_0).unwrap()).unwrap();
    let change = distance(&exact, &of_base);
    let (lost, lost_in_4_bits) = (distance(&exact, &held), distance(&exact, &in_4_bits));
    println!("of a change of {change:.3}, {lost:.3} is lost, in 4 bits {lost_in_4_bits:.3}");
    assert!(lost < 0.25 * change, "{lost} of {change}");
    assert!(lost_in_4_bits > change, "{lost_in_4_bits} of {change}");
}

#[test]
fn speculation_with_an_adapter_gives_the_adapted_text() {
    let target = fixtures().join("hf/llama").to_str().unwrap().to_owned();
    let named = adapter("plain").to_str().unwrap().to_owned();
    let config = SpeculativeConfig {
        temperature: 0.0,
        max_new_tokens: 40,
        ignore_eos: true,
        ..SpeculativeConfig::default()
    };
    let tokens = |builder: DecoderBuilder| {
        let decoder = builder.device(Device::Cpu).threads(1).load().unwrap();
        let generation = decoder.generate_with("the free software", &config).unwrap();
        generation
            .tokens
            .iter()
            .map(|token| token.id)
            .collect::<Vec<_>>()
    };
    let builder = || SpeculativeDecoder::builder().target(&target);
    let base = tokens(builder().draft("none"));
    let plain = tokens(builder().draft("none").lora(&named));
    assert_ne!(plain, base);
    assert_eq!(tokens(SpeculativeDecoder::builder().target(&named)), plain);
    for draft in ["auto", "self:0", "self:q8_0", &target, &named] {
        assert_eq!(
            tokens(builder().draft(draft).lora(&named)),
            plain,
            "{draft}"
        );
    }
    // With a sample, too.
    let config = SpeculativeConfig {
        temperature: 1.0,
        seed: Some(4),
        ..config
    };
    let sampled = |draft: &str| {
        let decoder = builder().draft(draft).lora(&named).load().unwrap();
        let generation = decoder.generate_with("the free software", &config).unwrap();
        generation
            .tokens
            .iter()
            .map(|token| token.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(sampled("self:0"), sampled("none"));
}

/// What is kept of a model, such as packed weights, is kept under all files that it follows from.
#[test]
fn an_adapters_files_are_files_of_the_model() {
    let opened = OpenModel::open(&located(&adapter("plain"))).unwrap();
    let files = opened.checkpoint().files();
    let names: Vec<_> = files
        .iter()
        .map(|(path, opened)| {
            assert_eq!(path.metadata().unwrap().len(), opened.len());
            path.file_name().unwrap().to_str().unwrap()
        })
        .collect();
    assert_eq!(
        names,
        [
            "model.safetensors",
            "adapter_model.safetensors",
            "adapter_config.json"
        ]
    );
}

/// Whatever an adapter's files hold, loading them is an error or a model.
#[test]
fn changed_bytes_are_an_error_or_a_model() {
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let copies = ["plain", "embedding", "dora"].map(Copy::of);
    let mut loaded = 0;
    for round in 0..300 {
        let folder = copies[round % copies.len()].write();
        let name = match round % 2 {
            0 => "adapter_config.json",
            _ => "adapter_model.safetensors",
        };
        let file = folder.join(name);
        let mut bytes = std::fs::read(&file).unwrap();
        // Of tensors, mostly the header.
        let end = bytes.len().min(2000);
        for _ in 0..=random.next_u32() % 3 {
            let place = random.next_u32() as usize % end;
            bytes[place] = match random.next_u32() % 3 {
                0 => b'0' + (random.next_u32() % 10) as u8,
                1 => b' ' + (random.next_u32() % 95) as u8,
                _ => bytes[random.next_u32() as usize % end],
            };
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, bytes).unwrap();
        let options = LocateOptions {
            revision: None,
            with_head: false,
            progress: &Silent,
        };
        let files = locate(folder.to_str().unwrap(), &options);
        let model = files.and_then(|files| load(&files, &LoadOptions::default()));
        loaded += usize::from(model.is_ok());
    }
    assert!((10..290).contains(&loaded), "{loaded}");
}
