//! Heads that agree with the target as often as they are told to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SpeculativeDecoder;
use crate::backend::OutputTiles;
use crate::error::Result;
use crate::hub::ModelFiles;
use crate::model::{
    DraftHead, HeadSequence, LoadOptions, ModelInfo, SharedModel, TokenSequence, load,
};
use crate::sampling::{Noise, NoiseStream, Rng};
use crate::settings::{DraftKind, SpeculativeConfig, Verification};
use crate::speculation::drafter::DraftModel;

/// The tokens of a fixed draft.
const GAMMA: usize = 4;

/// What a head says.
#[derive(Clone, Copy)]
enum Says {
    /// The target's own logits with this probability, else a token that the target does not choose.
    TargetsWithProbability(f64),
    /// No numbers.
    Nan,
}

struct Oracle {
    says: Says,
    target: SharedModel,
    first: u32,
}

impl DraftHead for Oracle {
    fn captured_layers(&self) -> &[usize] {
        &[0]
    }

    fn width(&self) -> usize {
        self.target.info().vocab_size.min(128)
    }

    fn to_target(&self) -> Option<&[u32]> {
        None
    }

    fn begin(&self) -> Result<Box<dyn HeadSequence>> {
        let mut text = TokenSequence::new(&self.target);
        text.extend(&[self.first], 0)?;
        Ok(Box::new(OracleSequence {
            says: self.says,
            text,
            last: Vec::new(),
            noise: Noise::new(u64::from(self.first)).stream(0),
        }))
    }

    fn info(&self) -> ModelInfo {
        ModelInfo::default()
    }
}

struct OracleSequence {
    says: Says,
    text: TokenSequence,
    /// The target's logits after the last token.
    last: Vec<f32>,
    noise: NoiseStream,
}

impl HeadSequence for OracleSequence {
    fn append(&mut self, tokens: &[u32], _features: &[f32]) -> Result<()> {
        self.last = self.text.extend(tokens, 1)?.row(0).to_vec();
        Ok(())
    }

    fn draft(&mut self, token: u32) -> Result<()> {
        self.append(&[token], &[])
    }

    fn logits(&mut self, among: Option<&OutputTiles>) -> Result<Vec<f32>> {
        assert!(among.is_none(), "the vocabulary is small");
        let logits = self.last.clone();
        let agrees = match self.says {
            Says::Nan => return Ok(vec![f32::NAN; logits.len()]),
            Says::TargetsWithProbability(probability) => self.noise.bernoulli(probability),
        };
        if agrees {
            return Ok(logits);
        }
        let least = (0..logits.len()).min_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        let mut others = vec![f32::NEG_INFINITY; logits.len()];
        others[least.unwrap_or_default()] = 0.0;
        Ok(others)
    }

    fn truncate(&mut self, length: usize) {
        // The first token was not read.
        self.text.truncate(self.text.len().min(length + 1)).unwrap();
    }

    fn room(&self) -> usize {
        self.text.room()
    }
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pair/target")
}

fn decoder(says: Says, first: u32) -> SpeculativeDecoder {
    let decoder = SpeculativeDecoder::builder();
    let decoder = decoder.target(target().display().to_string()).draft("none");
    let mut decoder = decoder.threads(1).load().unwrap();
    let twin = load(&ModelFiles::Folder(target()), &LoadOptions::default()).unwrap();
    let oracle = Oracle {
        says,
        target: SharedModel::new(twin.model),
        first,
    };
    decoder.draft = Some(DraftModel::Head(Arc::new(oracle), None));
    decoder
}

fn config(draft: DraftKind, temperature: f64, seed: u64) -> SpeculativeConfig {
    SpeculativeConfig {
        draft: Some(draft),
        temperature,
        seed: Some(seed),
        gamma: GAMMA,
        adaptive: false,
        verification: Verification::Coupled,
        max_new_tokens: 120,
        ignore_eos: true,
        ..SpeculativeConfig::unmodified()
    }
}

#[test]
fn tokens_a_step_are_what_the_agreement_implies() {
    for (agreement, temperature) in [(0.3, 0.0), (0.8, 0.0), (0.5, 1.0), (0.9, 1.0)] {
        let mut steps = Vec::new();
        for prompt in 0..12_u32 {
            let decoder = decoder(Says::TargetsWithProbability(agreement), 5 + prompt);
            let ids: Vec<u32> = (0..=prompt + 3 * prompt)
                .map(|i| 5 + prompt + 7 * i)
                .collect();
            let answer = |draft| {
                let config = config(draft, temperature, u64::from(prompt));
                decoder.generate_with(&ids[..], &config).unwrap()
            };
            // First: without hidden states of a cached prefix, the oracle would not know the text.
            let (drafted, plain) = (answer(DraftKind::MODEL), answer(DraftKind::NONE));
            assert_eq!(drafted.text, plain.text);
            // The last step's draft is cut.
            for step in 1..drafted.stats.steps - 1 {
                let tokens = drafted.tokens.iter().filter(|token| token.step == step);
                steps.push(tokens.count() as f64);
            }
        }
        let count = steps.len() as f64;
        let mean = steps.iter().sum::<f64>() / count;
        let variance = steps.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let expected = (1.0 - agreement.powi(GAMMA as i32 + 1)) / (1.0 - agreement);
        let standard_error = (variance / count).sqrt();
        assert!(
            (mean - expected).abs() < 3.0 * standard_error,
            "{agreement}, {temperature}: {mean} tokens a step, expected {expected}, standard error {standard_error}"
        );
        assert!(count > 250.0);
    }
}

#[test]
fn a_head_without_numbers_changes_nothing() {
    let decoder = decoder(Says::Nan, 9);
    let ids = [9, 40, 77, 12];
    for temperature in [0.0, 1.0] {
        let answer = |draft| {
            let config = config(draft, temperature, 3);
            decoder.generate_with(&ids[..], &config).unwrap()
        };
        let (plain, drafted) = (answer(DraftKind::NONE), answer(DraftKind::MODEL));
        assert_eq!(drafted.text, plain.text);
        assert_eq!(drafted.stats.accepted, 0);
    }
}
