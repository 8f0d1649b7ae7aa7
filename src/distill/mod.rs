//! A draft head of the user's own, learned from the target's own answers: what `specdec distill` does.
//!
//! The target asks itself questions and answers them (`answers`); its texts are kept in the head's folder (`texts`). Then it reads
//! them, its hidden states are captured (`examples`) and mixed (`shuffle`), and a small network learns to predict its next tokens
//! from them (`network`, `training`). What is written is a head for [`DecoderBuilder::draft`](crate::DecoderBuilder::draft): the
//! best by how often its drafts are right in answers to prompts that it did not learn from.
//!
//! Either part goes on where it ended if it is run again with the same folder.
//!
//! ```no_run
//! use specdec_rs::SpeculativeDecoder;
//! use specdec_rs::distill::{Settings, Silent, distill};
//!
//! let decoder = SpeculativeDecoder::new("smollm2-135m", "auto", None)?;
//! let settings = Settings { tokens: 100_000, ..Settings::default() };
//! let held_out = ["Why is the sky blue?".into()];
//! let report = distill(&decoder, "head".as_ref(), &settings, &held_out, &Silent)?;
//! println!("{:.0}% of its first drafts are right", 100.0 * report.acceptance[0]);
//! # Ok::<(), specdec_rs::Error>(())
//! ```

mod answers;
mod checkpoint;
mod examples;
mod network;
pub(crate) mod questions;
mod shuffle;
mod texts;
mod training;

use std::path::Path;

use serde::Serialize;

use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::files;
use crate::model::{OpenModel, TokenRows};
use checkpoint::Checkpoint;
use texts::Texts;
use training::Target;

/// The most often that a head may see a token.
pub const MAX_EPOCHS: usize = 100;

/// How a head is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How many tokens the target's answers have together.
    pub tokens: usize,
    /// How often the head sees each of them.
    pub epochs: usize,
    /// Users' questions, asked before the target writes its own.
    pub questions: Vec<String>,
    /// Where the head is trained.
    pub device: Device,
    /// Of all that is random.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tokens: 500_000,
            epochs: 4,
            questions: Vec::new(),
            device: Device::Cpu,
            seed: 0,
        }
    }
}

/// Receives progress. An error ends the work, which goes on from there when it is run again.
pub trait Observer {
    /// The target has generated so many of the tokens.
    fn generated(&self, tokens: usize) -> Result<()>;
    /// The head has learned in so many of the steps; `acceptance`: how often its drafts are right by now, where it was measured.
    fn trained(&self, step: usize, of: usize, acceptance: Option<&[f64]>) -> Result<()>;
    /// Called between the target's forward passes.
    fn check(&self) -> Result<()>;
}

/// Shows nothing.
pub struct Silent;

impl Observer for Silent {
    fn generated(&self, _: usize) -> Result<()> {
        Ok(())
    }

    fn trained(&self, _: usize, _: usize, _: Option<&[f64]>) -> Result<()> {
        Ok(())
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// What was learned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How many tokens the answers have that it was learned from.
    pub tokens: usize,
    /// Steps of training, on 640 tokens each.
    pub steps: usize,
    /// In answers to prompts that it did not learn from: how often the head's first choice is the target's next token, given that
    /// its earlier choices were; for the first drafted token, the second, ...
    pub acceptance: Vec<f64>,
}

/// Makes a head for a decoder's target, in a folder; evaluates it on the target's greedy answers to `held_out`, prompts that it does
/// not learn from.
pub fn distill(
    decoder: &SpeculativeDecoder,
    folder: &Path,
    settings: &Settings,
    held_out: &[Prompt],
    observer: &dyn Observer,
) -> Result<Report> {
    if settings.tokens == 0 {
        return Err(Error::invalid("tokens", 0, "an integer >= 1"));
    }
    if settings.epochs == 0 || settings.epochs > MAX_EPOCHS {
        let expected = format!("an integer from 1 to {MAX_EPOCHS}");
        return Err(Error::invalid("epochs", settings.epochs, expected));
    }
    if held_out.is_empty() {
        return Err(Error::invalid("held_out", "[]", "at least one prompt"));
    }
    let target = decoder.target_files().ok_or_else(|| {
        let reason = "it was not loaded from files, and a head is made with the matrices in them";
        Error::unsupported(decoder.info().architecture, reason)
    })?;
    files::create_folder(folder)?;
    let _lock = files::try_lock(&folder.join("training.lock"))?.ok_or_else(|| {
        let busy = std::io::Error::new(
            std::io::ErrorKind::ResourceBusy,
            "another process is making a head there",
        );
        Error::io(folder, busy)
    })?;
    let opened = OpenModel::open(target)?;
    let target = Target {
        decoder,
        spec: opened.spec()?,
        rows: TokenRows::of(&opened)?,
    };
    // What may fail does so before hours of work.
    let device = settings.device.open()?;
    let checkpoint = Checkpoint::load(folder)?;
    let mut texts = Texts::open(&folder.join("texts.jsonl"), decoder, &target.rows)?;
    let held_out = answers::greedy_answers(decoder, held_out, observer)?;
    let held_out = target.held_out(&held_out)?;
    answers::generate(decoder, &mut texts, settings, observer)?;
    let learned = (texts.all(), &held_out[..]);
    let (folder, settings) = ((folder, checkpoint), (settings, device));
    training::train(target, learned, folder, settings, observer)
}
