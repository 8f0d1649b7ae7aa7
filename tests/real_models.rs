//! The default models against logits of the same weights computed by transformers in f32.

mod support;

use serde::Deserialize;
use specdec_rs::backend::cpu::Tier;
use specdec_rs::hub::DEFAULT_MODEL;
use specdec_rs::hub::ModelFiles;
use specdec_rs::model::{Kernels, LoadOptions, load};
use specdec_rs::{
    Device, DraftKind, Extend, Generation, Logits, Parents, SequenceId, SpeculativeConfig,
    SpeculativeDecoder,
};
use support::{real_model, shared};

#[derive(Deserialize)]
struct Golden {
    ids: Vec<u32>,
    top_ids: Vec<u32>,
    top_logits: Vec<f32>,
    argmax_all: Vec<u32>,
    greedy: Vec<u32>,
    text: String,
}

/// Two logits this close can swap ranks when sums are rounded differently.
const NEAR_TIE: f32 = 0.02;

fn argmax(row: &[f32]) -> u32 {
    let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a)));
    best.unwrap() as u32
}

fn greedy(decoder: &SpeculativeDecoder, ids: &[u32], draft: DraftKind, count: usize) -> Generation {
    let config = SpeculativeConfig {
        temperature: 0.0,
        draft: Some(draft),
        max_new_tokens: count,
        ..SpeculativeConfig::unmodified()
    };
    decoder.generate_with(ids, &config).unwrap()
}

/// With weights converted to f32: every argmax, the top tokens with their logits, and greedy text.
/// With weights as stored, whose kernels round activations to 8 bits: nearly every argmax.
fn check(name: &str, alias: &str) {
    let (shared, file) = (shared(), real_model(alias));
    let golden = std::fs::read(shared.join(format!("golden/{name}.json"))).unwrap();
    let golden: Vec<Golden> = serde_json::from_slice(&golden).unwrap();
    assert!(!golden.is_empty());
    let builder = SpeculativeDecoder::builder()
        .target(file.to_string_lossy())
        .draft("ngram");
    let wide = builder.clone().dtype("f32").load().unwrap();
    let stored = builder.load().unwrap();
    // The table that comes with the default model is of its vocabulary.
    let has_table = stored.draft_sources().contains(&DraftKind::TABLE);
    assert_eq!(has_table, alias == DEFAULT_MODEL, "{alias}");
    let vocab_size = wide.info().vocab_size;
    let (mut largest, mut positions, mut agreeing) = (0.0_f32, 0, 0);
    for case in &golden {
        let logits = wide.logits(&case.ids).unwrap();
        let rows: Vec<&[f32]> = logits.chunks(vocab_size).collect();
        let found: Vec<u32> = rows.iter().map(|row| argmax(row)).collect();
        assert_eq!(found, case.argmax_all, "{name}: {:?}", case.text);
        let last = rows[rows.len() - 1];
        for (id, expected) in case.top_ids.iter().zip(&case.top_logits) {
            largest = largest.max((last[*id as usize] - expected).abs());
        }
        let mut order: Vec<u32> = (0..vocab_size as u32).collect();
        order.sort_by(|a, b| last[*b as usize].total_cmp(&last[*a as usize]));
        for (rank, expected) in case.top_ids.iter().enumerate() {
            let gap = (last[order[rank] as usize] - last[*expected as usize]).abs();
            assert!(
                order[rank] == *expected || gap < NEAR_TIE,
                "{name}: rank {rank}"
            );
        }
        for draft in [DraftKind::NONE, DraftKind::NGRAM] {
            let generation = greedy(&wide, &case.ids, draft, case.greedy.len());
            let ids = generation.token_ids();
            assert_eq!(ids, case.greedy, "{name}, {draft}: {:?}", case.text);
        }
        let logits = stored.logits(&case.ids).unwrap();
        let found: Vec<u32> = logits.chunks(vocab_size).map(argmax).collect();
        let chosen = found.last().unwrap();
        assert!(
            case.top_ids[..3].contains(chosen),
            "{name}, as stored: {chosen}"
        );
        positions += found.len();
        agreeing += found
            .iter()
            .zip(&case.argmax_all)
            .filter(|(a, b)| a == b)
            .count();
    }
    println!(
        "{name}: largest difference of top logits in f32: {largest:.1e}; as stored, {agreeing} of {positions} argmaxes agree"
    );
    assert!(largest < 2e-3, "{name}: {largest}");
    assert!(
        agreeing * 10 >= positions * 9,
        "{name}: {agreeing} of {positions}"
    );
}

#[test]
#[ignore = "needs SPECDEC_SHARED and the default models"]
fn smollm2_gives_its_golden_tokens() {
    check("smollm2", "smollm2-135m");
}

#[test]
#[ignore = "needs SPECDEC_SHARED and the default models"]
fn gemma3_gives_its_golden_tokens() {
    check("gemma3", "gemma3-270m");
}

/// A prompt with much to copy, so that prompt lookup drafts tokens that are accepted.
#[test]
#[ignore = "needs the default models"]
fn speculation_changes_no_token_of_a_real_answer() {
    let file = real_model("smollm2-135m");
    let decoder = SpeculativeDecoder::new(&file.to_string_lossy(), "auto", None).unwrap();
    let question = "Repeat this list twice: apples, pears, plums, cherries, apricots, peaches.";
    let prompt = decoder
        .chat_prompt(
            &[specdec_rs::Message::new("user", question)],
            &specdec_rs::RenderOptions::default(),
        )
        .unwrap();
    let generate = |draft, gamma, adaptive| {
        let config = SpeculativeConfig {
            temperature: 0.0,
            draft: Some(draft),
            gamma,
            adaptive,
            max_new_tokens: 64,
            ..SpeculativeConfig::unmodified()
        };
        decoder.generate_with(prompt.clone(), &config).unwrap()
    };
    let plain = generate(DraftKind::NONE, 0, false);
    assert!(plain.text.contains("pears"), "{plain}");
    for (gamma, adaptive) in [(1, false), (5, false), (16, true)] {
        let speculative = generate(DraftKind::NGRAM, gamma, adaptive);
        assert_eq!(speculative.text, plain.text);
        assert_eq!(speculative.token_ids(), plain.token_ids());
        assert!(speculative.stats.accepted > 0);
    }
}

/// Per position, the log-probabilities of the top tokens, computed by transformers in f32.
#[derive(Deserialize)]
struct Quality {
    ids: Vec<u32>,
    top: Vec<Vec<u32>>,
    lp: Vec<Vec<f64>>,
}

/// The mean divergence KL(f32 || ours) over the top tokens, with all other tokens combined.
fn divergence(decoder: &SpeculativeDecoder, texts: &[Quality]) -> f64 {
    let vocab_size = decoder.info().vocab_size;
    let (mut total, mut positions) = (0.0, 0);
    for text in texts {
        let logits = decoder.logits(&text.ids).unwrap();
        for ((row, top), expected) in logits.chunks(vocab_size).zip(&text.top).zip(&text.lp) {
            let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|x| f64::from(x - highest).exp()).sum();
            let (mut rest, mut own_rest, mut kl) = (1.0, 1.0, 0.0);
            for (token, lp) in top.iter().zip(expected) {
                let own = f64::from(row[*token as usize] - highest) - sum.ln();
                kl += lp.exp() * (lp - own);
                rest -= lp.exp();
                own_rest -= own.exp();
            }
            if rest > 1e-6 && own_rest > 1e-12 {
                kl += rest * (rest / own_rest).ln();
            }
            total += kl;
            positions += 1;
        }
    }
    total / f64::from(positions)
}

/// Quantized weights and activations rounded to 8 bits stay as close to f32 as llama.cpp's kernels do
/// with the same files (measured: 0.0026 and 0.0040).
#[test]
#[ignore = "needs SPECDEC_SHARED and the default models"]
fn quantized_kernels_stay_close_to_f32() {
    let shared = shared();
    for (name, alias, limit) in [
        ("smollm2", "smollm2-135m", 0.0026),
        ("gemma3", "gemma3-270m", 0.0040),
    ] {
        let file = real_model(alias);
        let texts = std::fs::read(shared.join(format!("golden/quality_{name}.json"))).unwrap();
        let mut texts: Vec<Quality> = serde_json::from_slice(&texts).unwrap();
        // Half of them, for time.
        texts.truncate(texts.len() / 2);
        // A quantized KV cache adds its own rounding.
        for (cache, limit) in [("f16", limit), ("q8_0", 1.5 * limit)] {
            let builder = SpeculativeDecoder::builder().target(file.to_string_lossy());
            let builder = builder.draft("none").threads(2).kv_cache_dtype(cache);
            let kl = divergence(&builder.load().unwrap(), &texts);
            println!("{name}, cache in {cache}: KL {kl:.5}");
            assert!(kl <= limit, "{name}, cache in {cache}: {kl}");
        }
    }
}

/// The portable kernels and the best ones, over a real model.
#[test]
#[ignore = "needs the default models"]
fn every_tier_gives_the_same_bits_on_a_real_model() {
    let file = real_model("smollm2-135m");
    let files = ModelFiles::Gguf(file);
    let tokens: Vec<u32> = (0..12).map(|i| (i * 7919 + 17) % 49152).collect();
    let mut expected: Option<Vec<f32>> = None;
    for tier in Tier::ALL.iter().filter(|tier| tier.is_available()) {
        let options = LoadOptions {
            device: Some(Device::Cpu),
            kernels: Kernels::Tier(*tier),
            ..LoadOptions::default()
        };
        let mut model = load(&files, &options).unwrap().model;
        let batch = [Extend {
            sequence: SequenceId(0),
            tokens: &tokens,
            parents: Parents::Chain,
            rows: 3,
        }];
        let mut logits = Logits::new(model.vocab_size());
        model.extend(&batch, &mut logits).unwrap();
        let logits = logits.into_vec();
        let expected = expected.get_or_insert_with(|| logits.clone());
        assert!(logits == *expected, "{tier}");
    }
}
