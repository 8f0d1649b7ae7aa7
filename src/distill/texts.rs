//! The target's own texts: generated once, kept in a file, so that an interrupted run goes on where it ended.
//!
//! The file has a line of JSON for the target, and then one for each text. A last line that was cut is left out.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::decoder::SpeculativeDecoder;
use crate::error::{Error, Result};
use crate::hash::fnv;
use crate::model::TokenRows;

/// A prompt and its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Text {
    /// How many of the tokens are the prompt's.
    pub(super) prompt: usize,
    pub(super) tokens: Vec<u32>,
    /// Whether the question is one of the user's.
    #[serde(default)]
    pub(super) is_users: bool,
}

impl Text {
    /// The answer's tokens.
    pub(super) fn answer(&self) -> &[u32] {
        &self.tokens[self.prompt..]
    }

    fn fits(&self, vocab_size: usize) -> bool {
        let is_known = |token: &u32| (*token as usize) < vocab_size;
        self.prompt <= self.tokens.len() && self.tokens.iter().all(is_known)
    }
}

/// The texts of a target.
pub(super) struct Texts {
    path: PathBuf,
    file: File,
    all: Vec<Text>,
}

/// What tells the target whose texts they are from others.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TargetIdentity {
    architecture: String,
    parameters: u64,
    /// A hash of the vocabulary.
    vocabulary: u64,
    /// A hash of some embeddings.
    weights: u64,
}

impl TargetIdentity {
    fn of(decoder: &SpeculativeDecoder, rows: &TokenRows) -> Result<Self> {
        /// Tokens whose embeddings are compared: training changes them all.
        const COMPARED: u32 = 16;
        let info = decoder.info();
        let compared = 0..COMPARED.min(info.vocab_size as u32);
        let values = compared.map(|token| rows.embedding(token));
        let values = values.collect::<Result<Vec<_>>>()?.concat();
        Ok(Self {
            architecture: info.architecture,
            parameters: info.parameters,
            vocabulary: decoder.tokenizer().fingerprint(),
            weights: fnv(values.into_iter().flat_map(f32::to_le_bytes)),
        })
    }
}

impl Texts {
    /// Opens a target's texts, or begins them.
    pub(super) fn open(
        path: &Path,
        decoder: &SpeculativeDecoder,
        rows: &TokenRows,
    ) -> Result<Self> {
        let failed = |error| Error::io(path, error);
        let identity = TargetIdentity::of(decoder, rows)?;
        let before = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            read => read,
        };
        let before = before.map_err(failed)?;
        let file = OpenOptions::new().create(true).append(true).open(path);
        let mut texts = Self {
            path: path.to_owned(),
            file: file.map_err(failed)?,
            all: Vec::new(),
        };
        let mut lines = before.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        if first.is_empty() {
            texts.write(&identity)?;
        } else if serde_json::from_slice::<TargetIdentity>(first).ok() != Some(identity) {
            let reason = "it holds texts of another target: give another folder (--output)";
            return Err(Error::corrupt(path, reason));
        }
        let written = lines.filter_map(|line| serde_json::from_slice(line).ok());
        let vocab_size = decoder.info().vocab_size;
        texts.all = written
            .filter(|text: &Text| text.fits(vocab_size))
            .collect();
        if !before.is_empty() && !before.ends_with(b"\n") {
            // After a line that was cut, the next one begins anew.
            texts.file.write_all(b"\n").map_err(failed)?;
        }
        Ok(texts)
    }

    /// Adds a text.
    pub(super) fn add(&mut self, text: Text) -> Result<()> {
        self.write(&text)?;
        self.all.push(text);
        Ok(())
    }

    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let failed = |error| Error::io(&self.path, error);
        let mut line = serde_json::to_vec(line).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(failed)
    }

    /// All of them, in the order in which they were added.
    pub(super) fn all(&self) -> &[Text] {
        &self.all
    }

    /// How many tokens the answers have.
    pub(super) fn answered(&self) -> usize {
        self.all.iter().map(|text| text.answer().len()).sum()
    }
}
