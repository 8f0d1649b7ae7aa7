//! Older and newer versions of transformers describe the same model differently.

use serde_json::{Value, json};

use super::parse;
use crate::architecture::{AttentionSpec, ModelSpec};

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
