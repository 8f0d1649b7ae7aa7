//! Older and newer versions of transformers describe the same model differently.

use serde_json::{Value, json};

use super::parse;
use crate::Error;
use crate::architecture::{AttentionSpec, ExpertsSpec, LayerSpec, MlpSpec, ModelSpec};

/// A small model's configuration with these fields besides.
fn config(model_type: &str, fields: &Value) -> ModelSpec {
    let mut config = json!({
        "model_type": model_type, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
        "num_hidden_layers": 8, "intermediate_size": 128, "vocab_size": 300, "max_position_embeddings": 8192,
    });
    for (key, value) in fields.as_object().unwrap() {
        config[key] = value.clone();
    }
    parse(&config.to_string(), "config.json".as_ref()).unwrap()
}

fn attention(spec: &ModelSpec) -> impl Iterator<Item = AttentionSpec> {
    spec.layers
        .iter()
        .filter_map(|layer| layer.mixer.attention())
}

fn windows(spec: &ModelSpec) -> Vec<Option<usize>> {
    attention(spec).map(|layer| layer.window).collect()
}

#[test]
fn rope_parameters_lie_in_either_place() {
    for scaling in [
        json!({ "rope_type": "linear", "factor": 4.0 }),
        json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048 }),
        json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 1024,
        }),
    ] {
        let mut newer = scaling.clone();
        newer["rope_theta"] = json!(5e5);
        let newer = config("llama", &json!({ "rope_parameters": newer }));
        let older = config(
            "llama",
            &json!({ "rope_theta": 5e5, "rope_scaling": scaling }),
        );
        assert_eq!(older, newer);
        // Before that, the type's key was shorter.
        let mut oldest = scaling.clone();
        oldest["type"] = oldest["rope_type"].take();
        oldest.as_object_mut().unwrap().remove("rope_type");
        assert_eq!(
            config(
                "llama",
                &json!({ "rope_theta": 5e5, "rope_scaling": oldest })
            ),
            newer
        );
        let plain = config("llama", &json!({ "rope_theta": 5e5 }));
        assert_ne!(plain.ropes, newer.ropes, "{scaling}");
    }
}

#[test]
fn gemma3_is_read_in_both_styles() {
    let kinds: Vec<&str> = (1..=8)
        .map(|layer| {
            if layer % 6 == 0 {
                "full_attention"
            } else {
                "sliding_attention"
            }
        })
        .collect();
    let newer = json!({
        "layer_types": kinds, "sliding_window": 512, "query_pre_attn_scalar": 256,
        "rope_parameters": {
            "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6 },
            "sliding_attention": { "rope_type": "default", "rope_theta": 1e4 },
        },
    });
    let older = json!({
        "sliding_window_pattern": 6, "sliding_window": 512, "query_pre_attn_scalar": 256, "rope_theta": 1e6,
        "rope_local_base_freq": 1e4, "rope_scaling": { "rope_type": "linear", "factor": 8.0 },
    });
    let (newer, older) = (config("gemma3_text", &newer), config("gemma3_text", &older));
    assert_eq!(older, newer);
    assert_eq!(newer.ropes.len(), 2);
    let expected: Vec<_> = (1..=8).map(|layer| (layer != 6).then_some(512)).collect();
    assert_eq!(windows(&newer), expected);
}

#[test]
fn windows_follow_each_family_where_layers_have_no_types() {
    let gemma2 = config("gemma2", &json!({}));
    assert_eq!(windows(&gemma2)[..3], [Some(4096), None, Some(4096)]);
    assert_eq!(windows(&config("mistral", &json!({})))[0], Some(4096));
    assert_eq!(
        windows(&config("mistral", &json!({ "sliding_window": null })))[0],
        None
    );
    let qwen = json!({ "sliding_window": 100, "max_window_layers": 6 });
    assert_eq!(windows(&config("qwen2", &qwen)), [None; 8]);
    let qwen = json!({ "sliding_window": 100, "max_window_layers": 6, "use_sliding_window": true });
    assert_eq!(
        windows(&config("qwen2", &qwen))[5..],
        [None, Some(100), Some(100)]
    );
}

#[test]
fn smollm3_leaves_every_fourth_layer_without_rotation() {
    let ropes = |fields: &Value| -> Vec<bool> {
        attention(&config("smollm3", fields))
            .map(|layer| layer.rope.is_some())
            .collect()
    };
    let expected = [true, true, true, false, true, true, true, false];
    assert_eq!(ropes(&json!({})), expected);
    assert_eq!(
        ropes(&json!({ "no_rope_layers": [1, 1, 1, 0, 1, 1, 1, 0] })),
        expected
    );
    assert_eq!(
        ropes(&json!({ "no_rope_layer_interval": 8 }))[..7],
        [true; 7]
    );
}

fn experts(spec: &ModelSpec) -> Vec<Option<ExpertsSpec>> {
    let of = |layer: &LayerSpec| match layer.mlp {
        MlpSpec::Experts(experts) => Some(experts),
        _ => None,
    };
    spec.layers.iter().map(of).collect()
}

#[test]
fn layers_have_experts_where_the_file_says() {
    let with = |fields: serde_json::Value| {
        let mut all = json!({
            "num_hidden_layers": 4, "num_experts": 8, "num_experts_per_tok": 2,
            "moe_intermediate_size": 24, "norm_topk_prob": true,
        });
        let fields = fields.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(fields);
        experts(&config("qwen3_moe", &all))
            .iter()
            .map(Option::is_some)
            .collect::<Vec<_>>()
    };
    assert_eq!(with(json!({})), [true; 4]);
    let every_other = json!({ "decoder_sparse_step": 2 });
    assert_eq!(with(every_other), [false, true, false, true]);
    let without = json!({ "mlp_only_layers": [0, 3] });
    assert_eq!(with(without), [false, true, true, false]);
    let types = json!({ "mlp_layer_types": ["dense", "sparse", "sparse", "dense"] });
    assert_eq!(with(types), [false, true, true, false]);
    let dense_first = json!({ "first_k_dense_replace": 3 });
    assert_eq!(with(dense_first), [false, false, false, true]);
}

#[test]
fn routers_heed_the_keys_of_their_family_alone() {
    let stray = json!({ "norm_topk_prob": false, "routed_scaling_factor": 3.0 });
    let router = |model_type: &str| {
        let mut all = json!({
            "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
            "conv_L_cache": 3, "layer_types": vec!["full_attention"; 8], "num_dense_layers": 0,
        });
        let stray = stray.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(stray);
        let router = experts(&config(model_type, &all))[0].unwrap().router;
        (router.normalized, router.scale)
    };
    // As in transformers, whose Mixtral and gpt-oss know neither key.
    assert_eq!(router("mixtral"), (Some(0.0), 1.0));
    assert_eq!(router("gpt_oss"), (Some(0.0), 1.0));
    assert_eq!(router("qwen3_moe"), (None, 1.0));
    assert_eq!(router("lfm2_moe"), (None, 3.0));
}

#[test]
fn hostile_sizes_are_refused_or_bounded() {
    let text = |fields: &serde_json::Value| {
        let mut all = json!({
            "model_type": "lfm2", "hidden_size": 64, "num_attention_heads": 8, "num_hidden_layers": 2, "vocab_size": 300,
            "block_ff_dim": 144, "conv_L_cache": 3, "layer_types": ["conv", "full_attention"],
        });
        let fields = fields.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(fields);
        all.to_string()
    };
    let width = |fields| {
        let spec = parse(&text(&fields), "config.json".as_ref())?;
        let MlpSpec::Gated { width } = spec.layers[0].mlp else {
            unreachable!("LFM2's MLPs are gated")
        };
        Ok::<_, Error>(width)
    };
    assert_eq!(width(json!({ "block_multiple_of": 32 })).unwrap(), 96);
    assert_eq!(
        width(json!({ "block_auto_adjust_ff_dim": false })).unwrap(),
        144
    );
    let largest = 1 << 24;
    for hostile in [
        json!({ "block_ffn_dim_multiplier": 1e300 }),
        json!({ "block_multiple_of": 1e300 }),
        json!({ "block_ffn_dim_multiplier": 1e300, "block_multiple_of": 1e300 }),
    ] {
        assert_eq!(width(hostile).unwrap(), largest);
    }
    assert_eq!(
        width(json!({ "block_ff_dim": 1, "block_multiple_of": 1 })).unwrap(),
        1
    );
    for refused in [
        json!({ "conv_L_cache": 1000 }),
        json!({ "layer_types": null }),
        json!({ "layer_types": null, "full_attn_idxs": vec![0; 3] }),
        json!({ "block_multiple_of": -1 }),
    ] {
        assert!(width(refused.clone()).is_err(), "{refused}");
    }
}

/// What transformers writes for a configuration made from nothing: every key, with its default or what follows from others.
const WRITTEN: &str = include_str!("../../../tests/data/config_defaults.json");

#[test]
fn keys_that_are_left_out_are_what_transformers_takes() {
    let all: Value = serde_json::from_str(WRITTEN).unwrap();
    let (mut checked, mut refused) = (0, 0);
    for (model_type, fields) in all.as_object().unwrap() {
        let mut fields = fields.clone();
        // What has no default: transformers does without it until it makes layers.
        if fields["layer_types"].is_null() && model_type == "lfm2_moe" {
            let layers = fields["num_hidden_layers"].as_u64().unwrap();
            fields["layer_types"] = vec!["full_attention"; layers as usize].into();
        }
        if model_type == "deepseek_v2" {
            fields["num_experts_per_tok"] = 6.into();
        }
        let parsed = |fields: &Value, is_part| {
            let whole = match is_part {
                true => json!({ "text_config": fields }),
                false => fields.clone(),
            };
            parse(&whole.to_string(), "config.json".as_ref())
        };
        let expected = parsed(&fields, false).unwrap();
        for key in fields.as_object().unwrap().keys() {
            let mut without = fields.clone();
            without.as_object_mut().unwrap().remove(key);
            let why = format!("{model_type} without {key} = {}", fields[key]);
            for is_part in [false, true] {
                match parsed(&without, is_part) {
                    Ok(mut spec) => {
                        // An untied head that is not there is the embedding.
                        spec.tied_head = spec.tied_head.or(expected.tied_head);
                        assert!(spec == expected, "{why}");
                        checked += 1;
                    }
                    Err(error) => {
                        let error = error.to_string();
                        assert!(error.contains("is missing"), "{why}: {error}");
                        refused += 1;
                    }
                }
            }
        }
    }
    // The sizes of whole models, types of models and, of some families, of layers.
    assert!(refused < 8 * all.as_object().unwrap().len(), "{refused}");
    assert!(checked > 1000, "{checked}");
}
