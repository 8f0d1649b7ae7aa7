//! A model whose rotary embeddings change for longer texts (LongRoPE): each token's logits are those of the text up to it,
//! however it was computed, and speculation changes no text that grows past the length.

use std::path::Path;

use super::SpeculativeDecoder;
use crate::settings::{DraftKind, SpeculativeConfig};

/// Tokens of a text for which the first embeddings are.
const BEYOND: usize = 24;

/// The test's model, loaded from a folder of its own.
fn decoder() -> SpeculativeDecoder {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hf/phi3");
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        std::fs::copy(source.join(name), folder.path().join(name)).unwrap();
    }
    let config = std::fs::read_to_string(source.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let factors = |first: f64, step: f64| (0..8).map(move |pair| first + step * f64::from(pair));
    config["rope_parameters"] = serde_json::json!({
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": factors(1.0, 0.1).collect::<Vec<_>>(),
        "long_factor": factors(2.0, 1.0).collect::<Vec<_>>(),
    });
    config["original_max_position_embeddings"] = BEYOND.into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let target = folder.path().display().to_string();
    SpeculativeDecoder::builder().target(target).load().unwrap()
}

fn text(length: usize) -> Vec<u32> {
    (0..length as u32)
        .map(|index| 3 + index * 37 % 290)
        .collect()
}

/// The logits of a text's last token, prefilled at once.
fn last_row(decoder: &SpeculativeDecoder, text: &[u32]) -> Vec<f32> {
    let mut sequence = decoder.sequence();
    sequence.extend(text, 1).unwrap().into_vec()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_row_is_that_of_the_text_up_to_it() {
    let decoder = decoder();
    let text = text(40);
    let vocab_size = decoder.sequence().vocab_size();
    for (past, length) in [(0, 40), (10, 20), (20, 8), (23, 2), (24, 4), (30, 10)] {
        let mut sequence = decoder.sequence();
        if past > 0 {
            sequence.extend(&text[..past], 0).unwrap();
        }
        let logits = sequence.extend(&text[past..past + length], length);
        let logits = logits.unwrap().into_vec();
        for (row, end) in logits.chunks(vocab_size).zip(past + 1..) {
            let expected = last_row(&decoder, &text[..end]);
            assert!(
                bits(row) == bits(&expected),
                "{past} {length}: row of {end}"
            );
        }
    }
}

#[test]
fn a_text_goes_back_and_forth_over_the_length() {
    let decoder = decoder();
    let text = text(40);
    let mut sequence = decoder.sequence();
    for length in [30, 12, 26, 24, 25, 40, 24, 23, 36] {
        if length <= sequence.len() {
            sequence.truncate(length - 1).unwrap();
        }
        let row = sequence.extend(&text[sequence.len()..length], 1).unwrap();
        assert!(
            bits(&row.into_vec()) == bits(&last_row(&decoder, &text[..length])),
            "{length}"
        );
        let mut fork = sequence.fork_at(length - 3).unwrap();
        let row = fork.extend(&text[fork.len()..length], 1).unwrap();
        assert!(
            bits(&row.into_vec()) == bits(&last_row(&decoder, &text[..length])),
            "{length}"
        );
    }
    let mut sequence = decoder.sequence();
    sequence.extend(&text[..22], 0).unwrap();
    let parents = [None, Some(0), Some(1), Some(2)];
    assert!(sequence.extend_tree(&text[22..26], &parents, 4).is_err());
    let tree = sequence
        .extend_tree(&text[22..24], &parents[..2], 2)
        .unwrap();
    assert!(bits(tree.row(1)) == bits(&last_row(&decoder, &text[..24])));
    sequence.accept(&[0, 1]).unwrap();
    let row = sequence.extend(&text[24..26], 1).unwrap();
    assert!(bits(&row.into_vec()) == bits(&last_row(&decoder, &text[..26])));
}

#[test]
fn drafts_change_no_text() {
    let decoder = decoder();
    for temperature in [0.0, 1.0] {
        for prompt in [4, 20, 24, 30] {
            let config = |draft| SpeculativeConfig {
                draft: Some(draft),
                temperature,
                seed: Some(3),
                max_new_tokens: 40,
                ignore_eos: true,
                ..SpeculativeConfig::default()
            };
            let generate = |draft| {
                let generation = decoder.generate_with(text(prompt), &config(draft));
                generation.unwrap().token_ids()
            };
            let plain = generate(DraftKind::NONE);
            assert_eq!(plain.len(), 40);
            for draft in [DraftKind::AUTO, DraftKind::NGRAM, DraftKind::RECYCLING] {
                assert_eq!(generate(draft), plain, "{draft} {temperature} {prompt}");
            }
        }
    }
}
