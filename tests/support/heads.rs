//! Draft heads with random weights, for models of the repository.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::fixtures;

/// The shape of the pair's target, for which the published heads are.
const HIDDEN: usize = 128;
const VOCAB: usize = 512;
const LAYERS: usize = 4;

/// The mask of P-EAGLE's head, and how many tokens a pass of it drafts.
pub const MASK: u32 = 5;
pub const DEPTHS: usize = 4;

/// Stored tensors by name.
#[derive(Default)]
struct Tensors(BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    fn insert(&mut self, name: impl Into<String>, shape: &[usize], value: impl Fn(usize) -> f32) {
        let count = shape.iter().product();
        let data = (0..count).flat_map(|index| value(index).to_le_bytes());
        let tensor = (Dtype::F32, shape.to_vec(), data.collect());
        self.0.insert(name.into(), tensor);
    }

    /// A matrix of small numbers, which differ from name to name.
    fn insert_random(&mut self, name: &str, shape: &[usize]) {
        let seed = name.bytes().fold(7_u64, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let scale = 1.5 / (shape[shape.len() - 1] as f32).sqrt();
        self.insert(name, shape, |index| {
            let mixed = (seed ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((mixed >> 40) as f32 / (1_u32 << 24) as f32 - 0.5) * 2.0 * scale
        });
    }

    fn insert_ones(&mut self, name: &str, width: usize) {
        self.insert(name, &[width], |_| 1.0);
    }

    /// A head's own tokens: every other one of the target's.
    fn insert_every_other_token(&mut self) {
        let offsets = (0..256_i64).flat_map(i64::to_le_bytes);
        let offsets = (Dtype::I64, vec![256], offsets.collect());
        self.0.insert("d2t".into(), offsets);
    }

    fn write(&self, folder: &Path) {
        let views = self.0.iter().map(|(name, (dtype, shape, data))| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
    }
}

/// One of the repository's models, with a layer for multi-token prediction: a copy of its last attention.
pub fn with_prediction(fixture: &str) -> TempDir {
    let source = fixtures().join("hf").join(fixture);
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&source).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let bytes = std::fs::read(source.join("model.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = Tensors::default();
    for (name, view) in stored.tensors() {
        let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        tensors.0.insert(name, tensor);
    }
    let of_attention = |name: &str| {
        let (prefix, rest) = name.split_once("layers.")?;
        let (layer, rest) = rest.split_once('.')?;
        let is_attention = rest.starts_with("self_attn.");
        is_attention.then(|| (prefix.to_owned(), layer.parse::<usize>().unwrap()))
    };
    let attention = tensors.0.keys().filter_map(|name| of_attention(name));
    let (prefix, last) = attention.max().unwrap();
    let config: Value = {
        let text = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let config = match &config["text_config"] {
        Value::Null => &config,
        text => text,
    };
    let hidden = config["hidden_size"].as_u64().unwrap() as usize;
    let layers = config["num_hidden_layers"].as_u64().unwrap();
    let is_qwen = fixture.starts_with("qwen3_5") || fixture.starts_with("qwen3_next");
    let own = match is_qwen {
        true => "mtp.layers.0.".to_owned(),
        false => format!("{prefix}layers.{layers}."),
    };
    let copied = format!("{prefix}layers.{last}.");
    let copies = tensors.0.iter().filter_map(|(name, tensor)| {
        let rest = name.strip_prefix(&copied)?;
        Some((format!("{own}{rest}"), tensor.clone()))
    });
    let copies: Vec<_> = copies.collect();
    tensors.0.extend(copies);
    let names = match is_qwen {
        true => [
            "mtp.fc",
            "mtp.pre_fc_norm_embedding",
            "mtp.pre_fc_norm_hidden",
            "mtp.norm",
        ]
        .map(ToOwned::to_owned),
        false => {
            ["eh_proj", "enorm", "hnorm", "shared_head.norm"].map(|name| format!("{own}{name}"))
        }
    };
    // Mostly the state, and a bit of the embedding.
    let [fusion, norms @ ..] = names;
    tensors.insert(format!("{fusion}.weight"), &[hidden, 2 * hidden], |index| {
        let (row, column) = (index / (2 * hidden), index % (2 * hidden));
        match column {
            column if column == row => 0.5,
            column if column == hidden + row => 1.0,
            _ => 0.0,
        }
    });
    for norm in norms {
        // Qwen's checkpoints hold the weights of norms less one.
        let weight = if is_qwen { 0.0 } else { 1.0 };
        tensors.insert(format!("{norm}.weight"), &[hidden], |_| weight);
    }
    tensors.write(folder.path());
    folder
}

/// A published head for the pair's target, by its kind.
pub fn published(kind: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::default();
    let model = json!({
        "model_type": "qwen3", "hidden_size": HIDDEN, "intermediate_size": 96, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 32, "num_hidden_layers": 2, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
        "hidden_act": "silu", "vocab_size": VOCAB, "max_position_embeddings": 1024,
    });
    let config = match kind {
        "eagle3-speculators" | "peagle" => {
            let is_parallel = kind == "peagle";
            let layers = if is_parallel { 3 } else { 1 };
            let mut layer = model;
            (layer["model_type"], layer["num_hidden_layers"]) = (json!("llama"), json!(layers));
            eagle_3(&mut tensors);
            if is_parallel {
                for number in 1..layers {
                    let name = format!("layers.{number}");
                    self::layer(&mut tensors, &name, HIDDEN, false);
                }
                tensors.insert_random("mask_hidden", &[1, 1, 3 * HIDDEN]);
            }
            json!({
                "mask_token_id": is_parallel.then_some(MASK), "num_depths": is_parallel.then_some(DEPTHS),
                "speculators_model_type": if is_parallel { "peagle" } else { "eagle3" }, "draft_vocab_size": 256, "transformer_layer_config": layer,
                "eagle_aux_hidden_state_layer_ids": [1, 2, 3], "norm_before_residual": true, "norm_before_fc": true,
            })
        }
        "recurrent" => {
            recurrent(&mut tensors);
            json!({
                "architectures": ["RecurrentDraftHead"], "hidden_size": HIDDEN, "intermediate_size": 96,
                "vocab_size": VOCAB, "rms_norm_eps": 1e-6, "target_layers": [1, 2, 4],
            })
        }
        kind => {
            let is_dspark = kind == "dspark";
            block(&mut tensors, is_dspark);
            let mut config = model;
            let own = json!({
                "architectures": [if is_dspark { "Qwen3DSparkModel" } else { "DFlashDraftModel" }],
                "block_size": 6, "mask_token_id": 3, "target_layer_ids": [0, 2], "num_target_layers": LAYERS,
                "markov_rank": 16, "markov_head_type": "vanilla", "confidence_head_with_markov": true,
            });
            config
                .as_object_mut()
                .unwrap()
                .extend(own.as_object().unwrap().clone());
            config
        }
    };
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    tensors.write(folder.path());
    folder
}

fn layer(tensors: &mut Tensors, name: &str, inputs: usize, has_head_norms: bool) {
    for (part, shape) in [
        ("self_attn.q_proj", [128, inputs]),
        ("self_attn.k_proj", [64, inputs]),
        ("self_attn.v_proj", [64, inputs]),
        ("self_attn.o_proj", [HIDDEN, 128]),
        ("mlp.gate_proj", [96, HIDDEN]),
        ("mlp.up_proj", [96, HIDDEN]),
        ("mlp.down_proj", [HIDDEN, 96]),
    ] {
        tensors.insert_random(&format!("{name}.{part}.weight"), &shape);
    }
    for norm in ["input_layernorm", "post_attention_layernorm"] {
        tensors.insert_ones(&format!("{name}.{norm}.weight"), HIDDEN);
    }
    if has_head_norms {
        for norm in ["self_attn.q_norm", "self_attn.k_norm"] {
            tensors.insert_ones(&format!("{name}.{norm}.weight"), 32);
        }
    }
}

fn eagle_3(tensors: &mut Tensors) {
    layer(tensors, "layers.0", 2 * HIDDEN, false);
    tensors.insert_random("fc.weight", &[HIDDEN, 3 * HIDDEN]);
    tensors.insert_random("lm_head.weight", &[256, HIDDEN]);
    tensors.insert_random("embed_tokens.weight", &[VOCAB, HIDDEN]);
    tensors.insert_ones("input_norm.weight", 3 * HIDDEN);
    tensors.insert_ones("layers.0.hidden_norm.weight", HIDDEN);
    tensors.insert_ones("norm.weight", HIDDEN);
    tensors.insert_every_other_token();
}

fn recurrent(tensors: &mut Tensors) {
    tensors.insert_random("fc.weight", &[HIDDEN, 3 * HIDDEN]);
    for part in ["gate_proj", "up_proj"] {
        tensors.insert_random(&format!("mlp.{part}.weight"), &[96, 2 * HIDDEN]);
    }
    tensors.insert_random("mlp.down_proj.weight", &[HIDDEN, 96]);
    for tap in 0..3 {
        tensors.insert_ones(&format!("tap_norms.{tap}.weight"), HIDDEN);
    }
    for norm in ["embedding_norm", "state_norm", "norm"] {
        tensors.insert_ones(&format!("{norm}.weight"), HIDDEN);
    }
    tensors.insert_every_other_token();
}

fn block(tensors: &mut Tensors, is_dspark: bool) {
    layer(tensors, "layers.0", HIDDEN, true);
    layer(tensors, "layers.1", HIDDEN, true);
    tensors.insert_random("fc.weight", &[HIDDEN, 2 * HIDDEN]);
    tensors.insert_ones("hidden_norm.weight", HIDDEN);
    tensors.insert_ones("norm.weight", HIDDEN);
    if is_dspark {
        tensors.insert_random("markov_head.markov_w1.weight", &[VOCAB, 16]);
        tensors.insert_random("markov_head.markov_w2.weight", &[VOCAB, 16]);
        tensors.insert_random("confidence_head.proj.weight", &[1, HIDDEN + 16]);
    }
}

/// The clusters of [`assistant`]'s tokens, the tokens of each, and how many clusters are scored.
pub const CLUSTERS: (usize, usize, usize) = (30, 10, 6);

/// The token whose embedding is a cluster's centroid.
pub fn centroid_of(cluster: usize) -> usize {
    cluster * CLUSTERS.1 + 3
}

/// An assistant for the repository's `gemma4`; with clusters, a token's is its number divided by their size.
pub fn assistant(has_clusters: bool) -> TempDir {
    const WIDE: usize = 32;
    const OWN: usize = 16;
    const TOKENS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::default();
    tensors.insert_random("pre_projection.weight", &[OWN, 2 * WIDE]);
    tensors.insert_random("post_projection.weight", &[WIDE, OWN]);
    tensors.insert_random("model.embed_tokens.weight", &[TOKENS, OWN]);
    tensors.insert_ones("model.norm.weight", OWN);
    for (layer, head_dim) in [8, 16].into_iter().enumerate() {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for (part, shape) in [
            ("self_attn.q_proj", [2 * head_dim, OWN]),
            ("self_attn.o_proj", [OWN, 2 * head_dim]),
            ("mlp.gate_proj", [32, OWN]),
            ("mlp.up_proj", [32, OWN]),
            ("mlp.down_proj", [OWN, 32]),
        ] {
            tensors.insert_random(&name(part), &shape);
        }
        for norm in [
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ] {
            tensors.insert_ones(&name(norm), OWN);
        }
        tensors.insert_ones(&name("self_attn.q_norm"), head_dim);
        tensors.insert_ones(&format!("model.layers.{layer}.layer_scalar"), 1);
    }
    let (clusters, size, chosen) = CLUSTERS;
    if has_clusters {
        let embedding = &tensors.0["model.embed_tokens.weight"].2;
        let row = |token: usize| &embedding[token * OWN * 4..(token + 1) * OWN * 4];
        let centroids = (0..clusters).flat_map(|cluster| row(centroid_of(cluster)).to_vec());
        let centroids = (Dtype::F32, vec![clusters, OWN], centroids.collect());
        let ordering = (0..(clusters * size) as i64).flat_map(i64::to_le_bytes);
        let ordering = (Dtype::I64, vec![TOKENS], ordering.collect());
        for (name, tensor) in [
            ("centroids.weight", centroids),
            ("token_ordering", ordering),
        ] {
            tensors.0.insert(format!("masked_embedding.{name}"), tensor);
        }
    }
    let config = json!({
        "architectures": ["Gemma4AssistantForCausalLM"], "model_type": "gemma4_assistant", "backbone_hidden_size": WIDE,
        "use_ordered_embeddings": has_clusters, "num_centroids": clusters, "centroid_intermediate_top_k": chosen,
        "tie_word_embeddings": true,
        "text_config": {
            "model_type": "gemma4_text", "hidden_size": OWN, "intermediate_size": 32, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 8, "global_head_dim": 16, "num_hidden_layers": 2,
            "num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16,
            "hidden_size_per_layer_input": 0, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh",
            "rope_parameters": {
                "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1e6, "rope_type": "proportional"},
                "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
            },
            "vocab_size": TOKENS, "max_position_embeddings": 256, "tie_word_embeddings": true,
            "use_double_wide_mlp": false,
        },
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    tensors.write(folder.path());
    folder
}
