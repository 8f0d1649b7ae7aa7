//! Several generations at once, in common passes of the target.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{CancelOnDrop, Prompt, SpeculativeDecoder, on_a_thread};
use crate::config::SpeculativeConfig;
use crate::engine::{Event, Generation, Limits, Scheduler, Service, Session, check_prompt};
use crate::error::{Error, Result};
use crate::model::memory;

/// Generations that are computed at once: with more, passes take as much longer as they write more.
const SLOTS: usize = 16;

/// The thread that computes for futures, and whose it is: a forked process has none of its parent's threads.
pub(super) type SharedService = Arc<Mutex<Option<(u32, Service)>>>;

/// Generations for several prompts in progress.
pub struct Batch {
    decoder: SpeculativeDecoder,
    config: SpeculativeConfig,
    /// Those that are not begun, the first at the end.
    prompts: Vec<Vec<u32>>,
    scheduler: Scheduler,
    ended: Arc<Mutex<Ended>>,
}

/// By the prompts' order.
type Ended = Vec<Option<Result<Generation>>>;

impl Batch {
    /// Begins what the next pass has room for, and computes it; `false` once all is written.
    pub fn step(&mut self) -> Result<bool> {
        while self.scheduler.requests().iter().sum::<usize>() < SLOTS
            && let Some(prompt) = self.prompts.pop()
        {
            let session = self.decoder.session(prompt, &self.config)?;
            let (ended, place) = (self.ended.clone(), self.ended().len());
            self.ended().push(None);
            let listener = Box::new(move |event| {
                if let Event::End(end) = event {
                    let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                    ended[place] = Some(end.map(|generation| *generation));
                }
                true
            });
            self.scheduler.submit(session, listener);
        }
        if self.scheduler.is_idle() {
            return Ok(false);
        }
        self.scheduler.step();
        Ok(true)
    }

    /// The generations, in the prompts' order.
    pub fn into_generations(self) -> Result<Vec<Generation>> {
        let ended = std::mem::take(&mut *self.ended());
        let unfinished = || Error::Compute("a generation of the batch was not finished".into());
        let ended = ended.into_iter();
        ended.map(|end| end.ok_or_else(unfinished)?).collect()
    }

    fn ended(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpeculativeDecoder {
    /// Generates for several prompts, which share the target's passes; the answers come in their order.
    pub fn generate_batch<P: Into<Prompt>>(
        &self,
        prompts: impl IntoIterator<Item = P>,
        config: &SpeculativeConfig,
    ) -> Result<Vec<Generation>> {
        let mut batch = self.batch(prompts, config)?;
        while batch.step()? {}
        batch.into_generations()
    }

    /// [`Self::generate_batch`], to be run pass by pass.
    pub fn batch<P: Into<Prompt>>(
        &self,
        prompts: impl IntoIterator<Item = P>,
        config: &SpeculativeConfig,
    ) -> Result<Batch> {
        config.validate()?;
        // All are checked before the first is answered, so that no answer is lost to another's mistake.
        let tokens = prompts.into_iter().map(|prompt| {
            let tokens = self.prompt_tokens(prompt.into())?;
            check_prompt(&tokens, &self.target)?;
            Ok(tokens)
        });
        let mut prompts: Vec<Vec<u32>> = tokens.collect::<Result<_>>()?;
        prompts.reverse();
        Ok(Batch {
            decoder: self.clone(),
            config: config.clone(),
            prompts,
            scheduler: Scheduler::new(self.limits(SLOTS)),
            ended: Arc::default(),
        })
    }

    /// Generates without blocking the caller's thread, in common passes with other such calls; dropping the future ends the
    /// generation.
    pub async fn generate_async(
        &self,
        prompt: impl Into<Prompt>,
        config: SpeculativeConfig,
    ) -> Result<Generation> {
        let (decoder, prompt) = (self.clone(), prompt.into());
        // To compile a response format takes time.
        let session = on_a_thread(move || decoder.session(prompt, &config)).await?;
        let _guard = CancelOnDrop(session.cancel_token());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut sender = Some(sender);
        self.submit(session, move |event| {
            if let Event::End(end) = event
                && let Some(sender) = sender.take()
            {
                // Fails where nobody waits any more.
                drop(sender.send(end));
            }
            true
        })?;
        let lost = |_| Error::Compute("the scheduler's thread ended without an answer".into());
        receiver.await.map_err(lost)?.map(|generation| *generation)
    }

    /// So many requests at once, with caches of as many tokens as they can use, and of what half of the free memory holds.
    pub(crate) fn limits(&self, slots: usize) -> Limits {
        /// The last page of a cache, and those of a tree.
        const SPARE: usize = 128;
        let info = self.info();
        let most = slots.saturating_mul(info.context_length.saturating_add(SPARE));
        // How much an accelerator has left is not known.
        let free = memory::available().filter(|_| info.device == "cpu");
        let held =
            free.and_then(|free| (free as usize / 2).checked_div(info.cache_bytes_per_token));
        Limits {
            slots,
            cache_tokens: Some(held.map_or(most, |held| held.min(most))),
        }
    }

    /// Runs a session on the thread that futures share, which tells the listener what comes of it.
    pub(crate) fn submit(
        &self,
        session: Session,
        listener: impl FnMut(Event) -> bool + Send + 'static,
    ) -> Result<()> {
        let mut shared = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        let service = match &mut *shared {
            Some((owner, service)) if *owner == process => service,
            shared => {
                let service = Service::start(self.limits(SLOTS), usize::MAX)?;
                &mut shared.insert((process, service)).1
            }
        };
        let full = |_| Error::Compute("the scheduler takes no more requests".into());
        service.submit(session, Box::new(listener)).map_err(full)
    }
}
