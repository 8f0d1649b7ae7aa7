//! Requests on a real pair of models: limits, statistics, faulty models.

mod support;

use std::collections::HashMap;

use specdec_rs::{
    Device, DraftKind, FinishReason, SpeculativeConfig, SpeculativeDecoder, Verification,
};
use support::pair;
use support::statistics::{
    Expected, counts, critical_value, g_statistic, overlap, softmax, tokens,
};

fn config(draft: DraftKind, gamma: usize, adaptive: bool) -> SpeculativeConfig {
    SpeculativeConfig {
        temperature: 0.0,
        gamma,
        adaptive,
        draft: Some(draft),
        max_new_tokens: 32,
        ..SpeculativeConfig::unmodified()
    }
}

/// The probability that a drafted token is accepted after each token: the sum of min(p, q).
fn overlaps(decoder: &SpeculativeDecoder, ids: &[u32]) -> Vec<f64> {
    let target = decoder.sequence().extend(ids, ids.len()).unwrap();
    let draft = decoder
        .draft_sequence()
        .unwrap()
        .extend(ids, ids.len())
        .unwrap();
    let rows = 0..ids.len();
    rows.map(|row| overlap(&softmax(target.row(row)), &softmax(draft.row(row))))
        .collect()
}

/// Runs many texts with one drafted token per step, and checks that acceptance matches the overlap of the distributions;
/// returns the acceptance rate.
fn acceptance_of(decoder: &SpeculativeDecoder) -> f64 {
    let (mut drafted, mut accepted, mut expected) = (0, 0, Expected::default());
    for (seed, prompt) in pair::licence_prompts(80).into_iter().enumerate() {
        let config = SpeculativeConfig {
            gamma: 1,
            adaptive: false,
            draft: Some(DraftKind::MODEL),
            verification: Verification::Rejection,
            seed: Some(seed as u64),
            max_new_tokens: 64,
            ignore_eos: true,
            ..SpeculativeConfig::unmodified()
        };
        let generation = decoder.generate_with(&prompt[..], &config).unwrap();
        drafted += generation.stats.drafted;
        accepted += generation.stats.accepted;
        let overlaps = overlaps(decoder, &[&prompt[..], &tokens(&generation)].concat());
        // Each step drafts one token after all tokens of earlier steps.
        for step in 0..generation.stats.drafted {
            let written = generation
                .tokens
                .iter()
                .filter(|token| token.step < step)
                .count();
            expected.add(overlaps[prompt.len() + written - 1]);
        }
    }
    expected.assert_near(accepted);
    accepted as f64 / drafted as f64
}

#[test]
fn acceptance_is_what_theory_says() {
    let rate = acceptance_of(&pair::decoder());
    assert!((0.38..0.50).contains(&rate), "{rate}");
}

#[test]
fn acceptance_of_the_targets_own_layers_is_what_theory_says() {
    let target = pair::folder("target").to_string_lossy().into_owned();
    for (draft, rates) in [("self:0-1,3", 0.1..0.95), ("self:q8_0", 0.9..1.0)] {
        let decoder = SpeculativeDecoder::new(&target, draft, Some(Device::Cpu)).unwrap();
        let rate = acceptance_of(&decoder);
        assert!(rates.contains(&rate), "{draft}: {rate}");
    }
}

#[test]
fn a_seed_gives_the_same_text_every_time() {
    let decoder = pair::decoder();
    let prompt = &pair::prompts(6)[5];
    for draft in [DraftKind::NONE, DraftKind::NGRAM, DraftKind::MODEL] {
        let run = |seed| {
            let config = SpeculativeConfig {
                seed,
                draft: Some(draft),
                ..SpeculativeConfig::unmodified()
            };
            tokens(&decoder.generate_with(&prompt[..], &config).unwrap())
        };
        assert_eq!(run(Some(7)), run(Some(7)), "{draft}");
        assert_ne!(run(Some(7)), run(Some(8)), "{draft}");
        assert_ne!(run(None), run(None), "{draft}");
    }
}

#[test]
fn limits_apply_inside_an_accepted_block() {
    let decoder = pair::decoder();
    let prompt = &pair::prompts(12)[11];
    let long = decoder
        .generate_with(&prompt[..], &config(DraftKind::NONE, 0, false))
        .unwrap();
    for max_new_tokens in 0..12 {
        let config = SpeculativeConfig {
            max_new_tokens,
            ..config(DraftKind::MODEL, 8, false)
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
fn requests_from_many_threads_do_not_affect_each_other() {
    let decoder = pair::decoder();
    let prompts = pair::prompts(8);
    let alone: Vec<_> = prompts
        .iter()
        .map(|prompt| {
            decoder
                .generate_with(&prompt[..], &config(DraftKind::MODEL, 4, true))
                .unwrap()
        })
        .collect();
    std::thread::scope(|scope| {
        for (prompt, alone) in prompts.iter().zip(&alone) {
            let decoder = decoder.clone();
            scope.spawn(move || {
                let together =
                    decoder.generate_with(&prompt[..], &config(DraftKind::MODEL, 4, true));
                assert_eq!(tokens(&together.unwrap()), tokens(alone));
            });
        }
    });
}

#[test]
fn invalid_requests_are_refused_by_field_name() {
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
fn the_context_is_filled_exactly() {
    let decoder = pair::decoder();
    for draft in [DraftKind::NONE, DraftKind::MODEL, DraftKind::NGRAM] {
        let config = SpeculativeConfig {
            max_new_tokens: 1_000_000,
            ignore_eos: true,
            ..config(draft, 256, false)
        };
        let generation = decoder.generate_with(vec![7; 1000], &config).unwrap();
        assert_eq!(generation.finish_reason, FinishReason::Length);
        assert_eq!(generation.tokens.len(), 25, "{draft}");
    }
}

/// A model with the same next-token distribution everywhere, and more logits than its tokenizer has tokens.
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
fn non_finite_logits_are_an_error() {
    for logit in [f64::NAN, f64::INFINITY] {
        let decoder = SpeculativeDecoder::with_models(
            Padded::new(&[logit; 3]),
            None::<Padded>,
            pair::tokenizer(),
        );
        for temperature in [0.0, 1.0] {
            let config = SpeculativeConfig {
                temperature,
                ..SpeculativeConfig::unmodified()
            };
            let message = decoder
                .generate_with(vec![1], &config)
                .unwrap_err()
                .to_string();
            assert!(message.contains("largest logit"), "{message}");
        }
    }
}

/// Half of the draft's probability is on padding tokens that the target doesn't have.
#[test]
fn a_draft_with_more_padding_than_the_target_is_lossless() {
    let target = Padded::new(&[0.5, 0.3, 0.2]);
    let draft = Padded::new(&[0.3, 0.1, 0.1, 0.25, 0.25]);
    let decoder = SpeculativeDecoder::with_models(target, Some(draft), pair::tokenizer());
    for verification in [
        Verification::Coupled,
        Verification::Rejection,
        Verification::Block,
    ] {
        let counts = counts(30_000, |seed| {
            let config = SpeculativeConfig {
                gamma: 2,
                adaptive: false,
                max_new_tokens: 3,
                ignore_eos: true,
                seed: Some(seed),
                verification,
                ..SpeculativeConfig::unmodified()
            };
            decoder.generate_with(vec![1], &config).unwrap()
        });
        let mut first: HashMap<Vec<u32>, f64> = HashMap::new();
        for (tokens, count) in counts {
            *first.entry(vec![tokens[0]]).or_default() += count;
        }
        let expected = HashMap::from([(vec![0], 0.5), (vec![1], 0.3), (vec![2], 0.2)]);
        let g = g_statistic(&first, &expected);
        assert!(
            g < critical_value(2.0),
            "{verification}: G = {g}: {first:?}"
        );
    }
}

#[test]
fn a_failing_model_leaves_its_sequence_unchanged() {
    let mut model = Padded::new(&[0.5, 0.5]);
    model.fails_once = true;
    let decoder = SpeculativeDecoder::with_models(model, None::<Padded>, pair::tokenizer());
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

/// The pair's draft model, which is said to know a mask.
fn parallel_draft(mask: &serde_json::Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(pair::folder("draft")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let file = folder.path().join("config.json");
    let config = std::fs::read_to_string(&file).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["pard_token"] = mask.clone();
    std::fs::write(&file, config.to_string()).unwrap();
    folder
}

#[test]
fn a_model_with_masks_drafts_several_tokens_in_one_pass() {
    const MASK: u32 = 7;
    const GAMMA: usize = 3;
    let target = pair::folder("target").display().to_string();
    let folder = parallel_draft(&MASK.into());
    let draft = folder.path().display().to_string();
    let decoder = SpeculativeDecoder::new(&target, &draft, Some(Device::Cpu)).unwrap();
    let prompt = &pair::licence_prompts(3)[1];
    let plain = decoder.generate_with(&prompt[..], &config(DraftKind::NONE, 0, false));
    let plain = tokens(&plain.unwrap());
    let drafted = decoder.generate_with(&prompt[..], &config(DraftKind::MODEL, GAMMA, false));
    let drafted = drafted.unwrap();
    assert_eq!(tokens(&drafted), plain);
    // The same by hand.
    let (mut steps, mut accepted, mut done) = (0, 0, 0);
    while done < plain.len() {
        let mut sequence = decoder.draft_sequence().unwrap();
        let limit = GAMMA.min(plain.len() - done - 1);
        let masks = vec![MASK; limit.saturating_sub(1)];
        let text = [prompt, &plain[..done], &masks].concat();
        let logits = sequence.extend(&text, limit.max(1)).unwrap().into_vec();
        let rows = logits.chunks(logits.len() / limit.max(1)).take(limit);
        let best = |row: &[f32]| {
            let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a)));
            best.unwrap() as u32
        };
        let guesses: Vec<u32> = rows.map(best).collect();
        let right = guesses
            .iter()
            .zip(&plain[done..])
            .take_while(|(a, b)| a == b);
        let right = right.count();
        (steps, accepted, done) = (steps + 1, accepted + right, done + right + 1);
    }
    assert_eq!(
        (drafted.stats.steps, drafted.stats.accepted),
        (steps, accepted)
    );
    assert!(accepted > 0);
    for (mask, expected) in [
        ("many".into(), "pard_token: expected a token's number"),
        (512.into(), "pard_token, 512, is none of its 512 tokens"),
    ] {
        let folder = parallel_draft(&mask);
        let draft = folder.path().display().to_string();
        let refused = SpeculativeDecoder::new(&target, &draft, Some(Device::Cpu)).map(drop);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn the_target_drafts_for_itself() {
    let target = pair::folder("target").display().to_string();
    let load = |draft| SpeculativeDecoder::new(&target, draft, Some(Device::Cpu));
    let prompt = &pair::licence_prompts(3)[1];
    let plain = load("none").unwrap();
    let plain = plain.generate_with(&prompt[..], &config(DraftKind::NONE, 0, false));
    let plain = tokens(&plain.unwrap());
    for (draft, least) in [
        ("self:0-3", 1.0),
        ("self:0-1,3", 0.0),
        ("self:q8_0", 0.8),
        // All of the text, and a small part of it, of which it begins again more than once.
        ("self:window=1000", 1.0),
        ("self:window=24", 0.2),
    ] {
        let decoder = load(draft).unwrap();
        let drafted = decoder.generate_with(&prompt[..], &config(DraftKind::MODEL, 3, false));
        let drafted = drafted.unwrap();
        assert_eq!(tokens(&drafted), plain, "{draft}");
        let rate = drafted.stats.acceptance_rate();
        println!("{draft}: {rate:.2} of {}", drafted.stats.drafted);
        assert!(
            rate >= least && drafted.stats.drafted > 0,
            "{draft}: {rate}"
        );
    }
    let message = load("self:2-4").map(drop).unwrap_err().to_string();
    assert!(message.contains("self:4"), "{message}");
}
