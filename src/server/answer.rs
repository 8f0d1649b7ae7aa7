//! Answers in progress: one request's choices, from the scheduler to the client.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use super::metrics::RequestMetrics;
use super::state::{Admitted, AppState};
use super::table_updates::TableUpdates;
use crate::decoder::{CancelOnDrop, SpeculativeDecoder};
use crate::engine::{Chunk, Event, Generation};
use crate::settings::SpeculativeConfig;

/// The bytes that a token has at most; hardly any has more.
const MAX_TOKEN_BYTES: usize = 16;

/// The choices of a request. Dropping it, for example when its client disconnects, cancels them within a step.
pub(super) struct Answer {
    events: UnboundedReceiver<(usize, Event)>,
    /// Choices that have not ended.
    open: usize,
    choices: usize,
    deadline: Instant,
    limit: Duration,
    _guards: Vec<CancelOnDrop>,
}

/// What is to be answered.
pub(super) struct Work {
    pub(super) decoder: SpeculativeDecoder,
    pub(super) prompts: Vec<Vec<u32>>,
    pub(super) config: SpeculativeConfig,
    /// Answers to each of the prompts.
    pub(super) each: usize,
    /// The table that the answers are added to.
    pub(super) table_updates: Option<Arc<TableUpdates>>,
}

/// An event of a choice.
pub(super) enum Step {
    Chunk(usize, Chunk),
    End(usize, Box<Generation>),
}

impl Answer {
    /// Starts all answers or none, in the places of an admitted request.
    pub(super) async fn start(
        state: &Arc<AppState>,
        admitted: Admitted,
        work: Work,
        metrics: &RequestMetrics,
    ) -> Result<Self, ApiError> {
        let Work {
            decoder,
            prompts,
            config,
            each,
            table_updates,
        } = work;
        let Admitted { places, deadline } = admitted;
        let choices = places.len();
        // Each answer stores its own copy, and can't be longer than the context.
        let max_length = state
            .decoder
            .info()
            .context_length
            .saturating_mul(MAX_TOKEN_BYTES);
        if config
            .prediction
            .as_ref()
            .is_some_and(|text| text.len() > max_length)
        {
            let message = "a prediction that is longer than any answer can be";
            return Err(ApiError::invalid("prediction", message));
        }
        let (sender, events) = unbounded_channel();
        let tokenizer = decoder.tokenizer();
        let pool = match &config.response_format {
            Some(format) if !tokenizer.knows_grammar(format) => &state.formats,
            _ => &state.texts,
        };
        let requests = state.blocking(pool, deadline, move |state| {
            let mut requests = Vec::with_capacity(choices);
            for prompt in prompts {
                let prompt: Arc<[u32]> = prompt.into();
                for choice in 0..each as u64 {
                    // Choices differ from each other, but not from run to run.
                    let config = SpeculativeConfig {
                        seed: config.seed.map(|seed| seed.wrapping_add(choice)),
                        ..config.clone()
                    };
                    let request = decoder.request(&prompt[..], &config)?;
                    state.service.check(&request)?;
                    requests.push((prompt.clone(), request));
                }
            }
            Ok(requests)
        });
        let mut guards = Vec::with_capacity(choices);
        let requests = requests.await?.into_iter().zip(places);
        for (choice, ((prompt, request), place)) in requests.enumerate() {
            guards.push(CancelOnDrop(request.cancel_token()));
            let (sender, metrics, table_updates) =
                (sender.clone(), metrics.clone(), table_updates.clone());
            let listener = Box::new(move |event| {
                // What was computed is counted, even if the client has disconnected.
                match &event {
                    Event::Chunk(chunk) => metrics.received(choice, chunk.tokens.len()),
                    Event::End(Ok(generation)) => {
                        metrics.ended(generation, choice % each == 0);
                        if let Some(table) = &table_updates {
                            table.update(&prompt, generation);
                        }
                    }
                    Event::End(Err(_)) => {}
                }
                sender.send((choice, event)).is_ok()
            });
            state.service.submit(request, place, listener);
        }
        Ok(Self {
            events,
            open: choices,
            choices,
            deadline,
            limit: state.options.timeout,
            _guards: guards,
        })
    }

    /// The next chunk or end; `None` once all choices have ended.
    pub(super) async fn next(&mut self) -> Result<Option<Step>, ApiError> {
        if self.open == 0 {
            return Ok(None);
        }
        let timeout = |_| ApiError::timeout(self.limit.as_secs());
        let event = timeout_at(self.deadline, self.events.recv()).await;
        match event.map_err(timeout)? {
            None => Err(ApiError::ended()),
            Some((choice, Event::Chunk(chunk))) => Ok(Some(Step::Chunk(choice, chunk))),
            Some((choice, Event::End(end))) => {
                self.open -= 1;
                Ok(Some(Step::End(choice, end?)))
            }
        }
    }

    /// The deadline for the whole answer.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// All choices, in their order, once they have ended.
    pub(super) async fn gather(mut self) -> Result<Vec<Generation>, ApiError> {
        let mut ended: Vec<Option<Generation>> = vec![None; self.choices];
        while let Some(step) = self.next().await? {
            if let Step::End(choice, generation) = step {
                ended[choice] = Some(*generation);
            }
        }
        Ok(ended.into_iter().flatten().collect())
    }
}
