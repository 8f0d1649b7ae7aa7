//! What the server learns from its own answers, where its operator wants that: a table to draft the next ones from.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::decoder::SpeculativeDecoder;
use crate::engine::{FinishReason, Generation};
use crate::error::Result;
use crate::speculation::retrieval::TABLE_ORDERS;

/// How often what was learned is saved.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Learns from answers, and keeps what it learned in a file.
pub(super) struct Lessons {
    decoder: SpeculativeDecoder,
    file: PathBuf,
    unsaved: AtomicBool,
    /// Held by whoever writes the file.
    saving: Mutex<()>,
}

impl Lessons {
    /// Fails where the file can't be written.
    pub(super) fn new(decoder: &SpeculativeDecoder, file: &Path) -> Result<Self> {
        decoder.save_table(file)?;
        Ok(Self {
            decoder: decoder.clone(),
            file: file.to_owned(),
            unsaved: AtomicBool::new(false),
            saving: Mutex::default(),
        })
    }

    /// Learns from an answer to a prompt, if it came to its end.
    pub(super) fn learn(&self, prompt: &[u32], generation: &Generation) {
        if generation.finish_reason == FinishReason::Cancelled {
            return;
        }
        let seen = prompt.len().min(TABLE_ORDERS);
        let prompt_end = prompt[prompt.len() - seen..].iter().copied();
        let answer = generation.tokens.iter().map(|token| token.id);
        let text: Vec<u32> = prompt_end.chain(answer).collect();
        match self.decoder.learn(text, seen) {
            Ok(()) => self.unsaved.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!("nothing is learned from an answer: {error}"),
        }
    }

    /// Saves what is new; where that fails, later again.
    pub(super) fn save(&self) {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.unsaved.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.decoder.save_table(&self.file) {
            tracing::warn!("what was learned from answers is not saved: {error}");
            self.unsaved.store(true, Ordering::Relaxed);
        }
    }

    /// Saves again and again.
    pub(super) async fn keep_saving(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SAVE_EVERY).await;
            let lessons = self.clone();
            // To write a file takes time.
            let _ = tokio::task::spawn_blocking(move || lessons.save()).await;
        }
    }
}
