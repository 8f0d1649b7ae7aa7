//! The cost of each part of a step, with the tiny test models and without a network: `cargo bench`.
//!
//! `specdec bench` measures whole models.

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use specdec_rs::sampling::{Noise, Processors, Rng};
use specdec_rs::speculation::RetrievalDrafter;
use specdec_rs::speculation::retrieval::NgramDrafter;
use specdec_rs::{DraftKind, SpeculativeConfig, SpeculativeDecoder, Tokenizer};

fn folder(model: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pair");
    folder.join(model).to_string_lossy().into_owned()
}

/// 32 greedy tokens, without a draft and with each kind of draft.
fn generation(criterion: &mut Criterion) {
    let decoder = SpeculativeDecoder::new(&folder("target"), &folder("draft"), None)
        .expect("the pair lies in the repository");
    let mut group = criterion.benchmark_group("generate 32 tokens");
    group.sample_size(20);
    for draft in [DraftKind::NONE, DraftKind::NGRAM, DraftKind::MODEL] {
        let config = SpeculativeConfig {
            temperature: 0.0,
            max_new_tokens: 32,
            ignore_eos: true,
            draft: Some(draft),
            ..SpeculativeConfig::default()
        };
        group.bench_function(draft.to_string(), |bencher| {
            bencher.iter(|| decoder.generate_with("You may copy", black_box(&config)));
        });
    }
    group.finish();
}

/// One forward pass of the target over the rows of a draft.
fn verification(criterion: &mut Criterion) {
    let decoder = SpeculativeDecoder::new(&folder("target"), "none", None)
        .expect("the pair lies in the repository");
    let mut sequence = decoder.sequence();
    sequence
        .extend(&[7; 64], 0)
        .expect("64 tokens fit the context");
    let mut group = criterion.benchmark_group("target pass");
    for rows in [1_usize, 2, 4, 8] {
        let tokens = vec![9; rows];
        group.bench_with_input(
            BenchmarkId::new("rows", rows),
            &tokens,
            |bencher, tokens| {
                bencher.iter(|| {
                    let logits = sequence.extend(black_box(tokens), rows);
                    sequence.truncate(64).and(logits)
                });
            },
        );
    }
    group.finish();
}

/// From the logits of a large vocabulary to a distribution, and to a token.
fn processors(criterion: &mut Criterion) {
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 2_000_000.0
    };
    let logits: Vec<f32> = (0..50_000).map(|_| random()).collect();
    let sampled = SpeculativeConfig::default();
    let filtered = SpeculativeConfig {
        temperature: 0.8,
        top_k: 40,
        top_p: 0.9,
        repetition_penalty: 1.1,
        ..SpeculativeConfig::default()
    };
    let greedy = SpeculativeConfig {
        temperature: 0.0,
        ..SpeculativeConfig::default()
    };
    let mut group = criterion.benchmark_group("token of 50,000 logits");
    for (name, config) in [
        ("greedy", greedy),
        ("temperature 1", sampled),
        ("top-k, top-p, penalty", filtered),
    ] {
        let mut processors = Processors::new(&config, 8, None);
        let noise = Noise::new(1);
        let mut stream = noise.stream(0);
        group.bench_function(format!("{name}, coupled"), |bencher| {
            bencher.iter(|| {
                let distribution = processors.distribution(black_box(&logits[..]), &[5; 16], &[]);
                distribution.map(|distribution| noise.choose(16, &distribution))
            });
        });
        group.bench_function(format!("{name}, sampled, with a probability"), |bencher| {
            bencher.iter(|| {
                let distribution = processors.distribution(black_box(&logits[..]), &[5; 16], &[]);
                distribution.map(|distribution| {
                    (
                        stream.categorical(&distribution),
                        distribution.probability(7),
                    )
                })
            });
        });
    }
    group.finish();
}

/// Prompt lookup in a long history.
fn prompt_lookup(criterion: &mut Criterion) {
    let history: Vec<u32> = (0..4000_u32).map(|index| index * index % 251).collect();
    criterion.bench_function("prompt lookup over 4,000 tokens", |bencher| {
        bencher.iter(|| {
            let mut lookup = NgramDrafter::default();
            lookup.follow(black_box(&history))
        });
    });
}

fn tokenizing(criterion: &mut Criterion) {
    let tokenizer = Tokenizer::from_folder(Path::new(&folder("target")))
        .expect("the pair lies in the repository");
    let text = include_str!("../LICENSE");
    criterion.bench_function("tokenize the licence", |bencher| {
        bencher.iter(|| tokenizer.encode(black_box(text), true));
    });
}

criterion_group!(
    benches,
    generation,
    verification,
    processors,
    prompt_lookup,
    tokenizing
);
criterion_main!(benches);
