//! Several generations at once, which share the forward passes of the target.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{CancelOnDrop, Prompt, SpeculativeDecoder, on_a_thread};
use crate::engine::{
    Event, Generation, Owner, Request, RequestId, Scheduler, Service, check_prompt,
};
use crate::error::{Error, Result};
use crate::settings::SpeculativeConfig;

/// Generations that run at once: with more, passes take as much longer as they generate more.
pub(super) const SLOTS: usize = 16;

/// Tokens of a sequence's last page, and of a tree.
pub(super) const SPARE: usize = 128;

/// The thread that runs asynchronous generations.
pub(super) type SharedService = Arc<Mutex<Option<ProcessService>>>;

/// A thread, and its process: a forked process has none of its parent's threads.
pub(super) struct ProcessService {
    process: u32,
    service: Option<Service>,
}

impl ProcessService {
    /// The thread, if it belongs to this process.
    fn here(&self) -> Option<&Service> {
        let here = self.process == std::process::id();
        self.service.as_ref().filter(|_| here)
    }
}

impl Drop for ProcessService {
    fn drop(&mut self) {
        if self.here().is_none() {
            // What it shares with a thread that does not exist may be locked.
            std::mem::forget(self.service.take());
        }
    }
}

/// Generations for several prompts in progress.
pub struct Batch {
    decoder: SpeculativeDecoder,
    /// Those that have not begun, the first at the end, each with its settings.
    prompts: Vec<(Vec<u32>, Arc<SpeculativeConfig>)>,
    scheduler: Scheduler,
    /// Of those that have, in the prompts' order.
    begun: Vec<RequestId>,
    ended: HashMap<RequestId, Result<Generation>>,
}

impl Batch {
    /// One forward pass, for as many prompts as it has room for; `false` once all generations have ended.
    pub fn step(&mut self) -> Result<bool> {
        while self.scheduler.running() + self.scheduler.waiting() < SLOTS
            && let Some((prompt, config)) = self.prompts.pop()
        {
            let request = self.decoder.request(prompt, &config)?;
            self.begun.push(self.scheduler.add(request));
        }
        if self.scheduler.is_idle() {
            return Ok(false);
        }
        self.scheduler.step();
        for (id, event) in self.scheduler.events() {
            if let Event::End(end) = event {
                self.ended.insert(id, end.map(|generation| *generation));
            }
        }
        Ok(true)
    }

    /// The generations, in the prompts' order.
    pub fn into_generations(mut self) -> Result<Vec<Generation>> {
        let unfinished = || Error::Compute("a generation of the batch was not finished".into());
        let begun = self.begun.iter();
        begun
            .map(|id| self.ended.remove(id).ok_or_else(unfinished)?)
            .collect()
    }
}

impl SpeculativeDecoder {
    /// Generates for several prompts, which share forward passes; the answers come in the prompts' order.
    pub fn generate_batch<P: Into<Prompt>>(
        &self,
        prompts: impl IntoIterator<Item = P>,
        config: &SpeculativeConfig,
    ) -> Result<Vec<Generation>> {
        let mut batch = self.batch(prompts, config)?;
        while batch.step()? {}
        batch.into_generations()
    }

    /// [`Self::generate_batch`], one pass at a time.
    pub fn batch<P: Into<Prompt>>(
        &self,
        prompts: impl IntoIterator<Item = P>,
        config: &SpeculativeConfig,
    ) -> Result<Batch> {
        config.validate()?;
        let config = Arc::new(config.clone());
        let prompts = prompts.into_iter();
        self.batch_of(prompts.map(|prompt| (prompt.into(), config.clone())))
    }

    /// The same for prompts that have settings of their own.
    pub(crate) fn batch_of(
        &self,
        prompts: impl IntoIterator<Item = (Prompt, Arc<SpeculativeConfig>)>,
    ) -> Result<Batch> {
        // All are checked before the first is answered: a mistake in one must not lose the answers to the others.
        let context_length = self.target.context_length();
        let tokens = prompts.into_iter().map(|(prompt, config)| {
            config.validate()?;
            let tokens = self.prompt_tokens(prompt)?;
            check_prompt(&tokens, &self.target)?;
            let most = tokens.len().saturating_add(config.max_new_tokens);
            self.cache.check(tokens.len(), most.min(context_length))?;
            Ok((tokens, config))
        });
        let mut prompts: Vec<_> = tokens.collect::<Result<_>>()?;
        prompts.reverse();
        Ok(Batch {
            decoder: self.clone(),
            prompts,
            scheduler: Scheduler::new(SLOTS, self.cache.clone()),
            begun: Vec::new(),
            ended: HashMap::new(),
        })
    }

    /// Generates without blocking the caller's thread, sharing passes with other such calls; dropping the future ends the
    /// generation.
    pub async fn generate_async(
        &self,
        prompt: impl Into<Prompt>,
        config: SpeculativeConfig,
    ) -> Result<Generation> {
        let (decoder, prompt) = (self.clone(), prompt.into());
        // Compiling a response format takes time.
        let request = on_a_thread(move || decoder.request(prompt, &config)).await?;
        let _guard = CancelOnDrop(request.cancel_token());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut sender = Some(sender);
        self.submit(request, move |event| {
            if let Event::End(end) = event
                && let Some(sender) = sender.take()
            {
                // Fails if the future was dropped.
                drop(sender.send(end));
            }
            true
        })?;
        let lost = |_| Error::Compute("the scheduler's thread ended without an answer".into());
        receiver.await.map_err(lost)?.map(|generation| *generation)
    }

    /// The KV cache that all requests share.
    #[cfg(feature = "server")]
    pub(crate) fn kv_cache(&self) -> &crate::engine::KvCacheManager {
        &self.cache
    }

    /// Fails on a thread that the thread of asynchronous generations may wait for.
    pub(crate) fn check_may_wait(&self) -> Result<()> {
        match self.is_computing_here() {
            true => Err(Error::CircularWait),
            false => Ok(()),
        }
    }

    /// The thread of asynchronous generations, started if there is none.
    fn service(&self) -> Result<Service> {
        let mut shared = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = shared.as_ref().and_then(ProcessService::here) {
            return Ok(service.clone());
        }
        let service = Service::start(SLOTS, usize::MAX, self.cache.clone())?;
        *shared = Some(ProcessService {
            process: std::process::id(),
            service: Some(service.clone()),
        });
        Ok(service)
    }

    /// Runs a request on the thread that asynchronous generations share; the listener receives its events.
    pub(crate) fn submit(
        &self,
        request: Request,
        listener: impl FnMut(Event) -> bool + Send + 'static,
    ) -> Result<()> {
        self.check_may_wait()?;
        let service = self.service()?;
        let full = |_| Error::Compute("the scheduler accepts no more requests".into());
        let admission = service.admit(Owner::of_call(None)).map_err(full)?;
        service.submit(request, admission, Box::new(listener));
        Ok(())
    }
}
