//! Speculation changes speed, never text: identity and law on a real pair of models.

mod support;

use std::collections::HashMap;

use specdec_rs::{DraftKind, FinishReason, Generation, SpeculativeConfig, SpeculativeDecoder};
use support::pair;

fn tokens(generation: &Generation) -> Vec<u32> {
    generation.tokens.iter().map(|token| token.id).collect()
}

fn config(draft: DraftKind, gamma: usize, adaptive: bool) -> SpeculativeConfig {
    SpeculativeConfig {
        temperature: 0.0,
        gamma,
        adaptive,
        draft: Some(draft),
        max_new_tokens: 32,
        ..SpeculativeConfig::default()
    }
}

#[test]
fn greedy_output_is_plain_output_for_every_gamma() {
    let prompts = pair::prompts(200);
    let accepted: usize = std::thread::scope(|scope| {
        let halves = prompts
            .chunks(100)
            .map(|half| scope.spawn(|| accepted_of_identical(half)));
        let halves: Vec<_> = halves.collect();
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    });
    assert!(
        accepted > 5_000,
        "hardly anything was speculated: {accepted}"
    );
}

/// Compares speculative with plain greedy output; returns how many drafted tokens were accepted.
fn accepted_of_identical(prompts: &[Vec<u32>]) -> usize {
    let decoder = pair::decoder();
    let mut accepted = 0;
    for (index, prompt) in prompts.iter().enumerate() {
        let plain = config(DraftKind::None, 0, false);
        let plain = decoder.generate_with(&prompt[..], &plain).unwrap();
        assert_eq!(plain.stats.drafted, 0);
        for gamma in 1..=8 {
            let drafts = [
                (DraftKind::Model, false),
                (DraftKind::Ngram, false),
                (DraftKind::Model, true),
                (DraftKind::Ngram, true),
            ];
            // A draft of exactly gamma tokens for every prompt, and one of the other ways in turn.
            for (draft, adaptive) in [drafts[0], drafts[1 + (index + gamma) % 3]] {
                let config = config(draft, gamma, adaptive);
                let speculative = decoder.generate_with(&prompt[..], &config).unwrap();
                let way = format!("{prompt:?}, {draft}, {gamma}, adaptive: {adaptive}");
                assert_eq!(tokens(&speculative), tokens(&plain), "{way}");
                assert_eq!(speculative.text, plain.text, "{way}");
                assert_eq!(speculative.finish_reason, plain.finish_reason, "{way}");
                accepted += speculative.stats.accepted;
            }
        }
    }
    accepted
}

/// Counts of continuations of `length` tokens, over many seeds.
fn counts(
    decoder: &SpeculativeDecoder,
    prompt: &[u32],
    config: &SpeculativeConfig,
    samples: u64,
) -> HashMap<Vec<u32>, f64> {
    let mut counts = HashMap::new();
    for seed in 0..samples {
        let config = SpeculativeConfig {
            seed: Some(seed),
            ..config.clone()
        };
        let generation = decoder.generate_with(prompt, &config).unwrap();
        *counts.entry(tokens(&generation)).or_default() += 1.0;
    }
    counts
}

/// The exact law of continuations of `length` tokens among the `k` likeliest at each place.
fn exact_law(
    decoder: &SpeculativeDecoder,
    prompt: &[u32],
    k: usize,
    length: usize,
) -> HashMap<Vec<u32>, f64> {
    let mut law = HashMap::from([(Vec::new(), 1.0)]);
    for _ in 0..length {
        let mut longer = HashMap::new();
        for (beginning, probability) in law {
            let ids = [prompt, &beginning].concat();
            let logits = decoder.logits(&ids).unwrap();
            let last = &logits[logits.len() - 512..];
            let mut order: Vec<usize> = (0..512).collect();
            order.sort_by(|a, b| last[*b].total_cmp(&last[*a]));
            let weights: Vec<f64> = order[..k]
                .iter()
                .map(|token| f64::from(last[*token] - last[order[0]]).exp())
                .collect();
            let total: f64 = weights.iter().sum();
            for (token, weight) in order[..k].iter().zip(weights) {
                let longer_one = [&beginning[..], &[*token as u32]].concat();
                longer.insert(longer_one, probability * weight / total);
            }
        }
        law = longer;
    }
    law
}

/// G = 2 sum O ln(O / E), which follows chi-squared with K - 1 degrees of freedom.
fn g_statistic(counts: &HashMap<Vec<u32>, f64>, law: &HashMap<Vec<u32>, f64>) -> f64 {
    let samples: f64 = counts.values().sum();
    let terms = counts.iter().map(|(tokens, observed)| {
        let expected = samples * law.get(tokens).copied().unwrap_or(1e-12);
        observed * (observed / expected).ln()
    });
    2.0 * terms.sum::<f64>()
}

/// The value that chi-squared exceeds with probability 1e-4 (Wilson and Hilferty's approximation).
fn critical_value(degrees: f64) -> f64 {
    let spread = 2.0 / (9.0 * degrees);
    degrees * (1.0 - spread + 3.719 * spread.sqrt()).powi(3)
}

/// 130,000 samples over 27 outcomes detect a total variation of .01 with power .95.
#[test]
fn sampled_output_follows_the_target_law() {
    let decoder = pair::memoized_decoder();
    let prompt = &pair::licence_prompts(3)[1];
    let (k, length) = (3, 3);
    let law = exact_law(&decoder, prompt, k, length);
    let base = SpeculativeConfig {
        top_k: k,
        max_new_tokens: length,
        ignore_eos: true,
        adaptive: false,
        ..SpeculativeConfig::default()
    };
    let limit = critical_value(law.len() as f64 - 1.0);
    for (draft, gamma, samples) in [
        (DraftKind::None, 0, 130_000),
        (DraftKind::Model, 2, 130_000),
        (DraftKind::Ngram, 2, 130_000),
    ] {
        let config = SpeculativeConfig {
            draft: Some(draft),
            gamma,
            ..base.clone()
        };
        let g = g_statistic(&counts(&decoder, prompt, &config, samples), &law);
        println!("{draft}, gamma {gamma}: G = {g:.1}, limit {limit:.1}");
        assert!(g < limit, "{draft}, gamma {gamma}: G = {g}, limit {limit}");
    }
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits
        .iter()
        .map(|logit| f64::from(logit - highest).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// The probability that a drafted token is accepted behind each of some tokens: the sum of min(p, q).
fn overlaps(decoder: &SpeculativeDecoder, ids: &[u32]) -> Vec<f64> {
    let target = decoder.sequence().extend(ids, ids.len()).unwrap();
    let draft = decoder
        .draft_sequence()
        .unwrap()
        .extend(ids, ids.len())
        .unwrap();
    let overlap = |row| {
        let (p, q) = (softmax(target.row(row)), softmax(draft.row(row)));
        p.iter().zip(&q).map(|(p, q)| p.min(*q)).sum()
    };
    (0..ids.len()).map(overlap).collect()
}

#[test]
fn acceptance_is_what_theory_says() {
    let decoder = pair::decoder();
    let (mut drafted, mut accepted, mut expected, mut variance) = (0, 0, 0.0, 0.0);
    for (seed, prompt) in pair::licence_prompts(80).into_iter().enumerate() {
        let config = SpeculativeConfig {
            gamma: 1,
            adaptive: false,
            draft: Some(DraftKind::Model),
            seed: Some(seed as u64),
            max_new_tokens: 64,
            ignore_eos: true,
            ..SpeculativeConfig::default()
        };
        let generation = decoder.generate_with(&prompt[..], &config).unwrap();
        drafted += generation.stats.drafted;
        accepted += generation.stats.accepted;
        let overlaps = overlaps(&decoder, &[&prompt[..], &tokens(&generation)].concat());
        // Each step drafts one token behind all that the steps before it wrote.
        for step in 0..generation.stats.drafted {
            let written = generation
                .tokens
                .iter()
                .filter(|token| token.step < step)
                .count();
            let overlap = overlaps[prompt.len() + written - 1];
            expected += overlap;
            variance += overlap * (1.0 - overlap);
        }
    }
    let rate = accepted as f64 / drafted as f64;
    println!(
        "acceptance rate {rate:.3} of {drafted}, in theory {:.3}",
        expected / drafted as f64
    );
    let deviation = (accepted as f64 - expected).abs() / variance.sqrt();
    assert!(
        deviation < 4.0,
        "{deviation} standard deviations from theory"
    );
    assert!((0.38..0.50).contains(&rate), "{rate}");
}

#[test]
fn a_seed_gives_the_same_text_every_time() {
    let decoder = pair::decoder();
    let prompt = &pair::prompts(6)[5];
    for draft in [DraftKind::None, DraftKind::Ngram, DraftKind::Model] {
        let run = |seed| {
            let config = SpeculativeConfig {
                seed,
                draft: Some(draft),
                ..SpeculativeConfig::default()
            };
            tokens(&decoder.generate_with(&prompt[..], &config).unwrap())
        };
        assert_eq!(run(Some(7)), run(Some(7)), "{draft}");
        assert_ne!(run(Some(7)), run(Some(8)), "{draft}");
        assert_ne!(run(None), run(None), "{draft}");
    }
}

#[test]
fn streamed_text_is_the_returned_text() {
    let decoder = pair::decoder();
    for (seed, prompt) in pair::prompts(30).into_iter().enumerate() {
        let config = SpeculativeConfig {
            seed: Some(seed as u64),
            stop: vec![" the".into(), "of a".into()],
            ..SpeculativeConfig::default()
        };
        let returned = decoder.generate_with(prompt.clone(), &config).unwrap();
        let mut stream = decoder.stream(prompt, &config).unwrap();
        let chunks: Vec<_> = stream.by_ref().collect::<Result<_, _>>().unwrap();
        let text: String = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
        assert_eq!(text, returned.text);
        let streamed: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.tokens).collect();
        assert_eq!(streamed, returned.tokens);
        assert!(
            config.stop.iter().all(|stop| !returned.text.contains(stop)),
            "{returned}"
        );
        assert_eq!(stream.into_generation().unwrap().text, returned.text);
    }
}

#[test]
fn limits_hold_inside_an_accepted_block() {
    let decoder = pair::decoder();
    let prompt = &pair::prompts(12)[11];
    let long = decoder
        .generate_with(&prompt[..], &config(DraftKind::None, 0, false))
        .unwrap();
    for max_new_tokens in 0..12 {
        let config = SpeculativeConfig {
            max_new_tokens,
            ..config(DraftKind::Model, 8, false)
        };
        let short = decoder.generate_with(&prompt[..], &config).unwrap();
        assert_eq!(tokens(&short), tokens(&long)[..max_new_tokens]);
        assert_eq!(short.finish_reason, FinishReason::Length);
    }
}

#[test]
fn a_cancelled_generation_ends_at_once() {
    let decoder = pair::decoder();
    let config = SpeculativeConfig {
        max_new_tokens: 1000,
        ignore_eos: true,
        ..Default::default()
    };
    let mut stream = decoder.stream(vec![5, 6, 7], &config).unwrap();
    stream.next().unwrap().unwrap();
    stream.cancel_token().cancel();
    let rest: Vec<_> = stream.by_ref().collect::<Result<_, _>>().unwrap();
    assert!(rest.iter().all(|chunk| chunk.tokens.is_empty()));
    let generation = stream.into_generation().unwrap();
    assert_eq!(generation.finish_reason, FinishReason::Cancelled);
    assert!(!generation.tokens.is_empty());
}

#[test]
fn requests_from_many_threads_do_not_disturb_each_other() {
    let decoder = pair::decoder();
    let prompts = pair::prompts(8);
    let alone: Vec<_> = prompts
        .iter()
        .map(|prompt| {
            decoder
                .generate_with(&prompt[..], &config(DraftKind::Model, 4, true))
                .unwrap()
        })
        .collect();
    std::thread::scope(|scope| {
        for (prompt, alone) in prompts.iter().zip(&alone) {
            let decoder = decoder.clone();
            scope.spawn(move || {
                let together =
                    decoder.generate_with(&prompt[..], &config(DraftKind::Model, 4, true));
                assert_eq!(tokens(&together.unwrap()), tokens(alone));
            });
        }
    });
}

#[test]
fn what_cannot_be_generated_is_refused_by_name() {
    let decoder = pair::decoder();
    let message = |prompt: Vec<u32>, config: SpeculativeConfig| {
        decoder
            .generate_with(prompt, &config)
            .unwrap_err()
            .to_string()
    };
    let default = SpeculativeConfig::default;
    assert!(message(vec![], default()).contains("prompt"));
    assert!(message(vec![512], default()).contains("512"));
    assert!(message(vec![2; 1025], default()).contains("1024"));
    let nan = SpeculativeConfig {
        temperature: f64::NAN,
        ..default()
    };
    assert!(message(vec![2], nan).contains("temperature"));
}

#[test]
fn the_context_is_filled_to_its_end_and_no_further() {
    let decoder = pair::decoder();
    for draft in [DraftKind::None, DraftKind::Model, DraftKind::Ngram] {
        let config = SpeculativeConfig {
            max_new_tokens: 1_000_000,
            ignore_eos: true,
            ..config(draft, 1_000_000_000, false)
        };
        let generation = decoder.generate_with(vec![7; 1000], &config).unwrap();
        assert_eq!(generation.finish_reason, FinishReason::Length);
        assert_eq!(generation.tokens.len(), 25, "{draft}");
    }
}

/// Every processor sees the tokens accepted within a step: plain and speculative text agree under all of them.
#[test]
fn greedy_output_is_plain_output_under_every_processor() {
    let decoder = pair::decoder();
    let mut accepted = 0;
    for (index, prompt) in pair::licence_prompts(12).into_iter().enumerate() {
        let settings = |base: SpeculativeConfig| SpeculativeConfig {
            repetition_penalty: [1.0, 1.3, 0.8][index % 3],
            presence_penalty: [0.0, 0.7][index % 2],
            frequency_penalty: [0.4, 0.0, -0.3][index / 4],
            logit_bias: vec![(260, 1.5), (7, f64::NEG_INFINITY)],
            ..base
        };
        let plain = settings(config(DraftKind::None, 0, false));
        let plain = decoder.generate_with(&prompt[..], &plain).unwrap();
        for (draft, gamma) in [
            (DraftKind::Model, 5),
            (DraftKind::Ngram, 3),
            (DraftKind::Ngram, 8),
        ] {
            let speculative = settings(config(draft, gamma, false));
            let speculative = decoder.generate_with(&prompt[..], &speculative).unwrap();
            assert_eq!(tokens(&speculative), tokens(&plain), "{index}, {draft}");
            accepted += speculative.stats.accepted;
        }
    }
    assert!(accepted > 100, "{accepted}");
}

/// A model that knows the same next token everywhere, with more rows than it has tokens for.
struct Padded {
    rows: Vec<f32>,
    lengths: HashMap<specdec_rs::SequenceId, usize>,
    fails_once: bool,
}

impl Padded {
    fn new(probabilities: &[f64]) -> Self {
        let rows = probabilities
            .iter()
            .map(|probability| probability.ln() as f32)
            .collect();
        Self {
            rows,
            lengths: HashMap::new(),
            fails_once: false,
        }
    }
}

impl specdec_rs::LanguageModel for Padded {
    fn vocab_size(&self) -> usize {
        self.rows.len()
    }

    fn context_length(&self) -> usize {
        100
    }

    fn extend(
        &mut self,
        batch: &[specdec_rs::Extend<'_>],
        logits: &mut specdec_rs::Logits,
    ) -> specdec_rs::Result<()> {
        for extend in batch {
            *self.lengths.entry(extend.sequence).or_default() += extend.tokens.len();
            let short = usize::from(std::mem::take(&mut self.fails_once));
            logits.push(&self.rows.repeat(extend.rows - short));
        }
        Ok(())
    }

    fn truncate(
        &mut self,
        sequence: specdec_rs::SequenceId,
        length: usize,
    ) -> specdec_rs::Result<()> {
        self.lengths.insert(sequence, length);
        Ok(())
    }

    fn free(&mut self, sequence: specdec_rs::SequenceId) {
        self.lengths.remove(&sequence);
    }
}

#[test]
fn a_model_without_numbers_is_an_error() {
    for logit in [f64::NAN, f64::INFINITY] {
        let decoder = SpeculativeDecoder::with_models(
            Box::new(Padded::new(&[logit; 3])),
            None,
            pair::tokenizer(),
        );
        for temperature in [0.0, 1.0] {
            let config = SpeculativeConfig {
                temperature,
                ..SpeculativeConfig::default()
            };
            let message = decoder
                .generate_with(vec![1], &config)
                .unwrap_err()
                .to_string();
            assert!(message.contains("largest logit"), "{message}");
        }
    }
}

/// Half of the draft's probability lies on padding that the target doesn't have.
#[test]
fn a_draft_with_more_padding_than_the_target_is_lossless() {
    let target = Padded::new(&[0.5, 0.3, 0.2]);
    let draft = Padded::new(&[0.3, 0.1, 0.1, 0.25, 0.25]);
    let decoder =
        SpeculativeDecoder::with_models(Box::new(target), Some(Box::new(draft)), pair::tokenizer());
    let config = SpeculativeConfig {
        gamma: 2,
        adaptive: false,
        max_new_tokens: 1,
        ignore_eos: true,
        ..SpeculativeConfig::default()
    };
    let config = SpeculativeConfig {
        max_new_tokens: 3,
        ..config
    };
    let counts = counts(&decoder, &[1], &config, 30_000);
    let mut first: HashMap<Vec<u32>, f64> = HashMap::new();
    for (tokens, count) in counts {
        *first.entry(vec![tokens[0]]).or_default() += count;
    }
    let law = HashMap::from([(vec![0], 0.5), (vec![1], 0.3), (vec![2], 0.2)]);
    let g = g_statistic(&first, &law);
    assert!(g < critical_value(2.0), "G = {g}: {first:?}");
}

#[test]
fn a_model_that_fails_leaves_its_sequence_as_it_was() {
    let mut model = Padded::new(&[0.5, 0.5]);
    model.fails_once = true;
    let decoder = SpeculativeDecoder::with_models(Box::new(model), None, pair::tokenizer());
    let mut sequence = decoder.sequence();
    let message = sequence.extend(&[0, 1, 0], 2).unwrap_err().to_string();
    assert!(message.contains("2 rows"), "{message}");
    assert_eq!(sequence.len(), 0);
    sequence.extend(&[0, 1], 2).unwrap();
    assert_eq!(sequence.len(), 2);
}

#[test]
fn scoring_more_than_the_context_holds_is_refused_at_once() {
    let message = pair::decoder()
        .logits(&vec![5; 10_000_000])
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("10000000") && message.contains("1024"),
        "{message}"
    );
}
