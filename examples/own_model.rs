//! Speculate with your own model: here, a Llama written with Candle's operations. The library sees a closure.
//!
//!     cargo run --release --example own_model -- TARGET_FOLDER DRAFT_FOLDER "Once upon a time,"
//!
//! The folders are in Hugging Face's layout: config.json, model.safetensors, tokenizer.json.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};
use candle_nn::rotary_emb::rope;
use serde_json::Value;
use specdec_rs::candle::ClosureModel;
use specdec_rs::{LanguageModel, SpeculativeConfig, SpeculativeDecoder, Tokenizer};

/// Weights and hyperparameters.
struct Llama {
    tensors: HashMap<String, Tensor>,
    config: Value,
}

/// Keys and values of a layer, `[kv_heads, positions, head_dim]`; cloned with the sequence, which shares the tensors.
type Cache = Vec<Option<(Tensor, Tensor)>>;

impl Llama {
    fn load(folder: &Path) -> std::result::Result<Self, Box<dyn Error>> {
        let config = std::fs::read_to_string(folder.join("config.json"))?;
        let tensors =
            candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu)?;
        let tensors = tensors
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F32)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            tensors,
            config: serde_json::from_str(&config)?,
        })
    }

    fn size(&self, name: &str) -> usize {
        self.config[name].as_u64().unwrap_or_default() as usize
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let epsilon = self.config["rms_norm_eps"].as_f64().unwrap_or(1e-5);
        rms_norm(
            x,
            &self.tensors[&format!("model.{name}.weight")],
            epsilon as f32,
        )
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        x.matmul(&self.tensors[&format!("model.{name}.weight")].t()?)
    }

    /// Cosines and sines at the positions from `first` on.
    fn angles(&self, first: usize, count: usize, head_dim: usize) -> Result<(Tensor, Tensor)> {
        let theta = &self.config["rope_parameters"]["rope_theta"];
        let theta = theta.as_f64().unwrap_or(10_000.0);
        let angles = (first..first + count).flat_map(|position| {
            let pairs = 0..head_dim / 2;
            pairs.map(move |pair| {
                (position as f64 / theta.powf(2.0 * pair as f64 / head_dim as f64)) as f32
            })
        });
        let angles = Tensor::from_iter(angles, &Device::Cpu)?.reshape((count, head_dim / 2))?;
        Ok((angles.cos()?, angles.sin()?))
    }

    fn attention(
        &self,
        x: &Tensor,
        position: usize,
        layer: &str,
        cache: &mut Option<(Tensor, Tensor)>,
    ) -> Result<Tensor> {
        let (heads, kv_heads) = (
            self.size("num_attention_heads"),
            self.size("num_key_value_heads"),
        );
        let (tokens, head_dim) = (x.dim(0)?, self.size("hidden_size") / heads);
        let projected = |name: &str, heads: usize| {
            let rows = self.linear(x, &format!("{layer}.self_attn.{name}"))?;
            rows.reshape((tokens, heads, head_dim))?
                .transpose(0, 1)?
                .contiguous()
        };
        let (cos, sin) = self.angles(position, tokens, head_dim)?;
        let rotated = |x: Tensor| rope(&x.unsqueeze(0)?, &cos, &sin)?.squeeze(0);
        let q = rotated(projected("q_proj", heads)?)?;
        let (mut k, mut v) = (
            rotated(projected("k_proj", kv_heads)?)?,
            projected("v_proj", kv_heads)?,
        );
        if let Some((past_k, past_v)) = cache.as_ref().filter(|_| position > 0) {
            // Only what precedes these tokens: what was rejected is forgotten here.
            k = Tensor::cat(&[&past_k.narrow(1, 0, position)?, &k], 1)?;
            v = Tensor::cat(&[&past_v.narrow(1, 0, position)?, &v], 1)?;
        }
        *cache = Some((k.clone(), v.clone()));
        let each_head = |x: Tensor| {
            let dims = (kv_heads, heads / kv_heads, position + tokens, head_dim);
            x.unsqueeze(1)?
                .broadcast_as(dims)?
                .reshape((heads, position + tokens, head_dim))
        };
        let scores = (q.matmul(&each_head(k)?.t()?)? * (head_dim as f64).powf(-0.5))?;
        let mask = (0..tokens).flat_map(|row| {
            let seen = move |column| {
                if column <= position + row {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            };
            (0..position + tokens).map(seen)
        });
        let mask =
            Tensor::from_iter(mask, &Device::Cpu)?.reshape((1, tokens, position + tokens))?;
        let weights = softmax_last_dim(&scores.broadcast_add(&mask)?)?;
        let attended = weights.matmul(&each_head(v)?)?.transpose(0, 1)?;
        let attended = attended.reshape((tokens, heads * head_dim))?;
        self.linear(&attended, &format!("{layer}.self_attn.o_proj"))
    }

    /// The logits after each of some tokens, `[tokens, vocab_size]`.
    fn forward(&self, ids: &Tensor, position: usize, cache: &mut Cache) -> Result<Tensor> {
        let embedding = &self.tensors["model.embed_tokens.weight"];
        let mut x = embedding.index_select(&ids.squeeze(0)?, 0)?;
        for (index, cache) in cache.iter_mut().enumerate() {
            let layer = format!("layers.{index}");
            let normed = self.norm(&x, &format!("{layer}.input_layernorm"))?;
            x = (x + self.attention(&normed, position, &layer, cache)?)?;
            let normed = self.norm(&x, &format!("{layer}.post_attention_layernorm"))?;
            let gate = silu(&self.linear(&normed, &format!("{layer}.mlp.gate_proj"))?)?;
            let up = self.linear(&normed, &format!("{layer}.mlp.up_proj"))?;
            x = (x + self.linear(&(gate * up)?, &format!("{layer}.mlp.down_proj"))?)?;
        }
        let head = self.tensors.get("lm_head.weight").unwrap_or(embedding);
        self.norm(&x, "norm")?.matmul(&head.t()?)
    }

    /// As a model to speculate with: the cache is the closure's own, so each sequence has one.
    fn into_model(self) -> impl LanguageModel + 'static {
        let (vocab_size, context_length) = (
            self.size("vocab_size"),
            self.size("max_position_embeddings"),
        );
        let mut cache: Cache = vec![None; self.size("num_hidden_layers")];
        let llama = Arc::new(self);
        let forward = move |ids: &Tensor, position| llama.forward(ids, position, &mut cache);
        ClosureModel::new(vocab_size, context_length, Device::Cpu, forward)
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [target, draft, prompt] = &args[..] else {
        return Err("expected TARGET_FOLDER DRAFT_FOLDER PROMPT".into());
    };
    let decoder = SpeculativeDecoder::with_models(
        Llama::load(target.as_ref())?.into_model(),
        Some(Llama::load(draft.as_ref())?.into_model()),
        Tokenizer::from_folder(target.as_ref())?,
    );
    let generate = |draft: &str| {
        let config = SpeculativeConfig {
            draft: Some(draft.parse()?),
            temperature: 0.0,
            max_new_tokens: 32,
            ..SpeculativeConfig::default()
        };
        decoder.generate_with(prompt.as_str(), &config)
    };
    let plain = generate("none")?;
    let drafted = generate("auto")?;
    println!("{drafted}");
    eprintln!(
        "{:.2} tokens per step, {:.2} times as fast as without drafts",
        drafted.stats.tokens_per_step(),
        drafted.stats.tokens_per_second() / plain.stats.tokens_per_second()
    );
    Ok(())
}
