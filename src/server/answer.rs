//! Answers in progress: one request's choices, from the scheduler to the client.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use super::app::App;
use super::failure::Failure;
use super::metrics::Watch;
use crate::config::SpeculativeConfig;
use crate::decoder::CancelOnDrop;
use crate::engine::{Chunk, Event, Generation};
use crate::error::Error;

/// Bytes of a token, hardly ever more.
const LONGEST_TOKEN: usize = 16;

/// Answers to all prompts of a request at most.
const MOST_CHOICES: usize = 128;

/// The choices of a request. Dropping it, as when its client is gone, ends them within a step.
pub(super) struct Answer {
    events: UnboundedReceiver<(usize, Event)>,
    /// Choices that have not ended.
    open: usize,
    choices: usize,
    deadline: Instant,
    limit: Duration,
    _guards: Vec<CancelOnDrop>,
}

/// What becomes of a choice.
pub(super) enum Step {
    Chunk(usize, Chunk),
    End(usize, Box<Generation>),
}

impl Answer {
    /// Begins so many answers to each of some prompts, all or none.
    pub(super) async fn begin(
        app: &App,
        prompts: Vec<Vec<u32>>,
        config: SpeculativeConfig,
        each: usize,
        watch: &Watch,
    ) -> Result<Self, Failure> {
        let limit = app.options.timeout;
        let deadline = Instant::now() + limit;
        let choices = prompts.len() * each;
        let most = MOST_CHOICES.min(app.options.slots.saturating_add(app.options.queue));
        if choices > most {
            let message = format!("{choices} answers, of all prompts together: at most {most}");
            return Err(Failure::invalid("n", message));
        }
        // Each answer reads it for itself, and can't be longer than the context.
        let longest = app
            .decoder
            .info()
            .context_length
            .saturating_mul(LONGEST_TOKEN);
        if config
            .prediction
            .as_ref()
            .is_some_and(|text| text.len() > longest)
        {
            let message = "a prediction that is longer than any answer can be";
            return Err(Failure::invalid("prediction", message));
        }
        let (sender, events) = unbounded_channel();
        let (decoder, service) = (app.decoder.clone(), app.service.clone());
        // To compile a response format takes time.
        let requests = tokio::task::spawn_blocking(move || {
            let mut requests = Vec::with_capacity(choices);
            for prompt in prompts {
                let prompt: Arc<[u32]> = prompt.into();
                for choice in 0..each as u64 {
                    // As different as chance would have it, and the same every time.
                    let config = SpeculativeConfig {
                        seed: config.seed.map(|seed| seed.wrapping_add(choice)),
                        ..config.clone()
                    };
                    let request = decoder.request(&prompt[..], &config)?;
                    service.check(&request)?;
                    requests.push((prompt.clone(), request));
                }
            }
            Ok::<_, Error>(requests)
        });
        let lost = |error| Error::Compute(format!("the request could not be begun: {error}"));
        let requests = requests.await.map_err(lost)??;
        let mut guards = Vec::with_capacity(choices);
        for (choice, (prompt, request)) in requests.into_iter().enumerate() {
            guards.push(CancelOnDrop(request.cancel_token()));
            let (sender, watch, lessons) = (sender.clone(), watch.clone(), app.lessons.clone());
            let listener = Box::new(move |event| {
                // Whether anybody listens or not: it was computed.
                match &event {
                    Event::Chunk(chunk) => watch.wrote(choice, chunk.tokens.len()),
                    Event::End(Ok(generation)) => {
                        watch.ended(generation, choice % each == 0);
                        if let Some(lessons) = &lessons {
                            lessons.learn(&prompt, generation);
                        }
                    }
                    Event::End(Err(_)) => {}
                }
                sender.send((choice, event)).is_ok()
            });
            // Those that were begun end with their guards.
            app.service
                .submit(request, listener)
                .map_err(|_| Failure::queue_full())?;
        }
        Ok(Self {
            events,
            open: choices,
            choices,
            deadline,
            limit,
            _guards: guards,
        })
    }

    /// What comes next; `None` once all choices have ended.
    pub(super) async fn next(&mut self) -> Result<Option<Step>, Failure> {
        if self.open == 0 {
            return Ok(None);
        }
        let timeout = |_| Failure::timeout(self.limit.as_secs());
        let event = timeout_at(self.deadline, self.events.recv()).await;
        match event.map_err(timeout)? {
            None => Err(Failure::ended()),
            Some((choice, Event::Chunk(chunk))) => Ok(Some(Step::Chunk(choice, chunk))),
            Some((choice, Event::End(end))) => {
                self.open -= 1;
                Ok(Some(Step::End(choice, end?)))
            }
        }
    }

    /// When its time is over.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// All choices, in their order, once they have ended.
    pub(super) async fn gather(mut self) -> Result<Vec<Generation>, Failure> {
        let mut ended: Vec<Option<Generation>> = vec![None; self.choices];
        while let Some(step) = self.next().await? {
            if let Step::End(choice, generation) = step {
                ended[choice] = Some(*generation);
            }
        }
        Ok(ended.into_iter().flatten().collect())
    }
}
