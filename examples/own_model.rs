//! Speculate with your own model: here, the Llama from candle-transformers.
//!
//!     cargo run --release --example own_model -- TARGET_FOLDER DRAFT_FOLDER "Once upon a time,"
//!
//! The folders are in Hugging Face's layout: config.json, model.safetensors, tokenizer.json.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama, LlamaConfig};
use specdec_rs::{
    Extend, LanguageModel, Logits, Result, SequenceId, SpeculativeConfig, SpeculativeDecoder,
    Tokenizer,
};

/// A Llama that can be rolled back, because a copy of its cache is kept for every token.
struct OwnLlama {
    llama: Llama,
    config: Config,
    /// For each sequence, the cache after each of its tokens. The copies share tensors.
    sequences: HashMap<SequenceId, Vec<Cache>>,
}

impl OwnLlama {
    fn load(folder: &Path) -> std::result::Result<Self, Box<dyn Error>> {
        let config: LlamaConfig =
            serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
        let config = config.into_config(false);
        let weights = std::fs::read(folder.join("model.safetensors"))?;
        let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        Ok(Self {
            llama: Llama::load(weights, &config)?,
            config,
            sequences: HashMap::new(),
        })
    }

    /// Appends one token to a sequence and returns its logits.
    fn append(&mut self, sequence: SequenceId, token: u32) -> Result<Vec<f32>> {
        let caches = self.sequences.entry(sequence).or_default();
        let position = caches.len();
        let mut cache = match caches.last() {
            Some(cache) => cache.clone(),
            None => Cache::new(true, DType::F32, &self.config, &Device::Cpu)?,
        };
        let token = Tensor::from_slice(&[token], (1, 1), &Device::Cpu)?;
        let logits = self.llama.forward(&token, position, &mut cache)?;
        caches.push(cache);
        Ok(logits.flatten_all()?.to_vec1()?)
    }
}

impl LanguageModel for OwnLlama {
    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn context_length(&self) -> usize {
        self.config.max_position_embeddings
    }

    fn extend(&mut self, batch: &[Extend<'_>], logits: &mut Logits) -> Result<()> {
        for extend in batch {
            let first_wanted = extend.tokens.len() - extend.rows;
            for (index, token) in extend.tokens.iter().enumerate() {
                let row = self.append(extend.sequence, *token)?;
                if index >= first_wanted {
                    logits.push(&row);
                }
            }
        }
        Ok(())
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) -> Result<()> {
        if let Some(caches) = self.sequences.get_mut(&sequence) {
            caches.truncate(length);
        }
        Ok(())
    }

    fn free(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [target, draft, prompt] = &args[..] else {
        return Err("expected TARGET_FOLDER DRAFT_FOLDER PROMPT".into());
    };
    let decoder = SpeculativeDecoder::with_models(
        OwnLlama::load(target.as_ref())?,
        Some(OwnLlama::load(draft.as_ref())?),
        Tokenizer::from_folder(target.as_ref())?,
    );
    let config = SpeculativeConfig {
        gamma: 4,
        temperature: 0.0,
        max_new_tokens: 32,
        ..SpeculativeConfig::default()
    };
    let generation = decoder.generate_with(prompt.as_str(), &config)?;
    println!("{generation}");
    eprintln!(
        "{:.2} tokens per step, {:.0}% of drafted tokens accepted",
        generation.stats.tokens_per_step(),
        100.0 * generation.stats.acceptance_rate()
    );
    Ok(())
}
