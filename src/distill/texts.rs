//! The target's own texts: generated once, kept in a file, so that an interrupted run goes on where it ended.
//!
//! The file has a line of JSON for the target, and then one for each text. A last line that was cut is left out.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::decoder::SpeculativeDecoder;
use crate::error::{Error, Result};

/// A prompt and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Text {
    /// How many of the tokens are the prompt's.
    pub(super) prompt: usize,
    pub(super) tokens: Vec<u32>,
}

impl Text {
    /// The answer's tokens.
    pub(super) fn answer(&self) -> &[u32] {
        &self.tokens[self.prompt..]
    }

    fn is_whole(&self) -> bool {
        self.prompt <= self.tokens.len()
    }
}

/// The texts of a target.
pub(super) struct Texts {
    path: PathBuf,
    file: File,
    texts: Vec<Text>,
}

/// Whose texts they are.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Author {
    architecture: String,
    parameters: u64,
    vocabulary: u64,
}

impl Texts {
    /// Opens a target's texts, or begins them.
    pub(super) fn open(path: &Path, decoder: &SpeculativeDecoder) -> Result<Self> {
        let failed = |error| Error::io(path, error);
        let info = decoder.info();
        let author = Author {
            architecture: info.architecture,
            parameters: info.parameters,
            vocabulary: decoder.tokenizer().fingerprint(),
        };
        let before = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            read => read,
        };
        let before = before.map_err(failed)?;
        let file = OpenOptions::new().create(true).append(true).open(path);
        let mut texts = Self {
            path: path.to_owned(),
            file: file.map_err(failed)?,
            texts: Vec::new(),
        };
        let mut lines = before.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        if first.is_empty() {
            texts.write(&author)?;
        } else if serde_json::from_slice::<Author>(first).ok() != Some(author) {
            let reason = "it holds texts of another target: give another folder (--output)";
            return Err(Error::corrupt(path, reason));
        }
        let written = lines.filter_map(|line| serde_json::from_slice(line).ok());
        texts.texts = written.filter(Text::is_whole).collect();
        if !before.is_empty() && !before.ends_with(b"\n") {
            // After a line that was cut, the next one begins anew.
            texts.file.write_all(b"\n").map_err(failed)?;
        }
        Ok(texts)
    }

    /// Adds a text.
    pub(super) fn add(&mut self, text: Text) -> Result<()> {
        self.write(&text)?;
        self.texts.push(text);
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
        &self.texts
    }

    /// How many tokens the answers have.
    pub(super) fn answered(&self) -> usize {
        self.texts.iter().map(|text| text.answer().len()).sum()
    }
}
