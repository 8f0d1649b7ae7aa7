//! A head that is made of the target's own answers.

mod support;

use std::cell::RefCell;
use std::path::Path;

use specdec_rs::distill::{Observer, Report, Settings, Silent, distill};
use specdec_rs::{Error, Prompt, Result, SpeculativeConfig, SpeculativeDecoder};
use support::pair;

const SETTINGS: Settings = Settings {
    tokens: 12_000,
    epochs: 4,
    questions: Vec::new(),
    device: specdec_rs::Device::Cpu,
    seed: 3,
};

fn decoder(target: &str, draft: &str) -> SpeculativeDecoder {
    let target = pair::folder(target).display().to_string();
    let builder = SpeculativeDecoder::builder().target(target).draft(draft);
    builder.threads(1).load().unwrap()
}

fn held_out() -> Vec<Prompt> {
    let prompts = pair::licence_prompts(6);
    prompts.into_iter().map(Prompt::Tokens).collect()
}

fn make(folder: &Path, settings: &Settings, observer: &dyn Observer) -> Result<Report> {
    let decoder = decoder("target", "auto");
    distill(&decoder, folder, settings, &held_out(), observer)
}

/// Ends the work after so many steps; remembers the steps.
struct Interrupt {
    after: usize,
    steps: RefCell<Vec<usize>>,
    generated: RefCell<Vec<usize>>,
}

impl Interrupt {
    fn after(steps: usize) -> Self {
        Self {
            after: steps,
            steps: RefCell::default(),
            generated: RefCell::default(),
        }
    }
}

impl Observer for Interrupt {
    fn generated(&self, tokens: usize) -> Result<()> {
        self.generated.borrow_mut().push(tokens);
        Ok(())
    }

    fn trained(&self, step: usize, of: usize, _: Option<&[f64]>) -> Result<()> {
        assert!(step <= of);
        self.steps.borrow_mut().push(step);
        match step >= self.after {
            true => Err(Error::Compute("interrupted".into())),
            false => Ok(()),
        }
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_head_learns_from_the_targets_answers_and_goes_on_where_it_was_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let texts = folder.path().join("texts.jsonl");
    let cut = Interrupt::after(1);
    let error = make(
        folder.path(),
        &Settings {
            tokens: 600,
            epochs: 1,
            ..SETTINGS
        },
        &cut,
    );
    assert!(error.unwrap_err().to_string().contains("interrupted"));
    let untrained = make(
        folder.path(),
        &Settings {
            tokens: 600,
            epochs: 1,
            ..SETTINGS
        },
        &Silent,
    );
    let untrained = untrained.unwrap();
    let few = std::fs::read(&texts).unwrap();

    // A process that was killed while it wrote a line.
    std::fs::write(&texts, &few[..few.len() - 7]).unwrap();
    let cut = Interrupt::after(untrained.steps + 30);
    make(folder.path(), &SETTINGS, &cut).unwrap_err();
    let first = cut.generated.borrow()[0];
    assert!(first > 0 && first < 600, "{first} tokens");
    assert_eq!(cut.steps.borrow()[0], untrained.steps);
    let all = std::fs::read(&texts).unwrap();

    let rest = Interrupt::after(usize::MAX);
    let report = make(folder.path(), &SETTINGS, &rest).unwrap();
    assert_eq!(std::fs::read(&texts).unwrap(), all);
    assert_eq!(rest.generated.borrow()[..], [SETTINGS.tokens]);
    assert_eq!(rest.steps.borrow().last(), Some(&report.steps));
    assert!(report.tokens >= SETTINGS.tokens);
    let [untrained, trained] = [&untrained, &report].map(|report| report.acceptance[0]);
    println!("{untrained} of the first drafts are right, then {trained}");
    assert!(trained > untrained + 0.05, "{untrained}, {trained}");

    // Nothing is left to do.
    let again = Interrupt::after(usize::MAX);
    let same = make(folder.path(), &SETTINGS, &again).unwrap();
    assert_eq!((same.tokens, same.steps), (report.tokens, report.steps));
    // What is written has 16 bits.
    for (ours, before) in same.acceptance.iter().zip(&report.acceptance) {
        assert!((ours - before).abs() < 0.02, "{same:?}, {report:?}");
    }
    assert_eq!(again.steps.borrow()[..], [report.steps]);

    let speculative = decoder("target", &folder.path().display().to_string());
    assert_eq!(speculative.draft_info().unwrap().architecture, "recurrent");
    let plain = decoder("target", "none");
    let config = SpeculativeConfig {
        draft: Some("model".parse().unwrap()),
        adaptive: false,
        gamma: 3,
        temperature: 0.0,
        max_new_tokens: 64,
        ..SpeculativeConfig::default()
    };
    let mut accepted = 0;
    for prompt in held_out() {
        let drafted = speculative.generate_with(prompt.clone(), &config).unwrap();
        let config = SpeculativeConfig {
            draft: None,
            ..config.clone()
        };
        let expected = plain.generate_with(prompt, &config).unwrap();
        assert_eq!(drafted.token_ids(), expected.token_ids());
        accepted += drafted.stats.accepted;
    }
    assert!(accepted > 0);
}

#[test]
fn what_can_not_be_made_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let few = Settings {
        tokens: 300,
        epochs: 1,
        ..SETTINGS
    };
    for (settings, expected) in [
        (
            Settings {
                tokens: 0,
                ..SETTINGS
            },
            "tokens",
        ),
        (
            Settings {
                epochs: 0,
                ..SETTINGS
            },
            "epochs",
        ),
    ] {
        let message = make(folder.path(), &settings, &Silent)
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message}");
    }
    make(folder.path(), &few, &Silent).unwrap();
    let other = decoder("draft", "none");
    let refused = distill(&other, folder.path(), &few, &held_out(), &Silent);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("texts of another target"), "{message}");
    let decoder = decoder("target", "none");
    let none: &[Prompt] = &[];
    let refused = distill(&decoder, folder.path(), &few, none, &Silent);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("at least one prompt")
    );
    let users = distill(
        &pair::memoized_decoder(),
        folder.path(),
        &few,
        &held_out(),
        &Silent,
    );
    let message = users.unwrap_err().to_string();
    assert!(message.contains("was not loaded from files"), "{message}");
    let checkpoint = folder.path().join("training.safetensors");
    std::fs::write(&checkpoint, b"no tensors").unwrap();
    let message = make(folder.path(), &few, &Silent).unwrap_err().to_string();
    assert!(message.contains("training.safetensors"), "{message}");
}
