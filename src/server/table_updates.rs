//! Online updates of the n-gram table from the server's own answers, if its operator enables them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::decoder::SpeculativeDecoder;
use crate::engine::{FinishReason, Generation};
use crate::error::Result;
use crate::speculation::retrieval::TABLE_ORDERS;

/// How often the table is saved.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Updates the table from answers, and saves it in a file.
pub(super) struct TableUpdates {
    decoder: SpeculativeDecoder,
    file: PathBuf,
    unsaved: AtomicBool,
    /// Held while the file is written.
    saving: Mutex<()>,
}

impl TableUpdates {
    /// Fails if the file can't be written.
    pub(super) fn new(decoder: &SpeculativeDecoder, file: &Path) -> Result<Self> {
        decoder.save_table(file)?;
        Ok(Self {
            decoder: decoder.clone(),
            file: file.to_owned(),
            unsaved: AtomicBool::new(false),
            saving: Mutex::default(),
        })
    }

    /// Updates the table from an answer to a prompt, unless it was cancelled.
    pub(super) fn update(&self, prompt: &[u32], generation: &Generation) {
        if generation.finish_reason == FinishReason::Cancelled {
            return;
        }
        let seen = prompt.len().min(TABLE_ORDERS);
        let prompt_end = prompt[prompt.len() - seen..].iter().copied();
        let answer = generation.tokens.iter().map(|token| token.id);
        let text: Vec<u32> = prompt_end.chain(answer).collect();
        match self.decoder.learn(text, seen) {
            Ok(()) => self.unsaved.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!("the table is not updated from an answer: {error}"),
        }
    }

    /// Saves the table if it has changed; if that fails, the next call tries again.
    pub(super) fn save(&self) {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.unsaved.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.decoder.save_table(&self.file) {
            tracing::warn!("the table is not saved: {error}");
            self.unsaved.store(true, Ordering::Relaxed);
        }
    }

    /// Saves at regular intervals, forever.
    pub(super) async fn save_periodically(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SAVE_EVERY).await;
            let updates = self.clone();
            // Writing a file takes time.
            let _ = tokio::task::spawn_blocking(move || updates.save()).await;
        }
    }
}
