//! /v1/completions and /v1/chat/completions.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::timeout_at;
use tokio_stream::wrappers::ReceiverStream;

use super::answer::{Answer, Step};
use super::app::{App, Shared, now};
use super::body::Body;
use super::dialect::{Dialect, Kind};
use super::failure::Failure;
use super::metrics::Watch;
use super::request::{ChatRequest, Common, CompletionRequest, PromptField};
use crate::config::SpeculativeConfig;
use crate::decoder::Prompt;
use crate::engine::Stats;
use crate::error::Error;

/// How often a stream that has nothing to say shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Pieces of a stream that wait for a client that reads slowly.
const UNREAD_PIECES: usize = 64;

/// How long a client may take to read what waits for it when its time is over.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Prompts of one request at most.
const MOST_PROMPTS: usize = 128;

/// What a request asks for.
struct Asked {
    prompts: Vec<Vec<u32>>,
    config: SpeculativeConfig,
    common: Common,
    dialect: Dialect,
}

/// Answers a conversation.
pub(super) async fn chat(
    State(app): Shared,
    body: Result<Body, Failure>,
) -> Result<Response, Failure> {
    let asked = async { app.read_chat(&body?).await };
    app.clone().answer(asked).await
}

/// Continues texts.
pub(super) async fn completions(
    State(app): Shared,
    body: Result<Body, Failure>,
) -> Result<Response, Failure> {
    let asked = async { app.read_completion(&body?).await };
    app.clone().answer(asked).await
}

impl App {
    async fn read_chat(self: &Arc<Self>, body: &Body) -> Result<Asked, Failure> {
        let mut request: ChatRequest = body.parse()?;
        let mut common: Common = body.parse()?;
        let messages = request.take_messages()?;
        let prompt = self.blocking(move |app| {
            let prompt = app.decoder.chat_prompt(&messages)?;
            Ok(app.decoder.prompt_tokens(prompt)?)
        });
        let prompt = prompt.await?;
        let defaults = SpeculativeConfig {
            max_new_tokens: self.default_tokens(prompt.len()),
            ..self.options.defaults.clone()
        };
        let config = request.config(&mut common, defaults)?;
        let dialect = Dialect::new(self, Kind::Chat, &common, &config);
        Ok(Asked {
            prompts: vec![prompt],
            config,
            common,
            dialect,
        })
    }

    async fn read_completion(self: &Arc<Self>, body: &Body) -> Result<Asked, Failure> {
        let request: CompletionRequest = body.parse()?;
        let mut common: Common = body.parse()?;
        let config = request.config(&mut common, self.options.defaults.clone())?;
        let echo = request.echo.unwrap_or(false);
        if echo && config.logprobs.is_some() {
            let message = "echo with logprobs: the prompt's own log-probabilities are not computed";
            return Err(Failure::invalid("echo", message));
        }
        let prompts: Vec<Prompt> = match request.prompt {
            PromptField::Text(text) => vec![text.into()],
            PromptField::Tokens(tokens) => vec![tokens.into()],
            PromptField::Texts(texts) => texts.into_iter().map(Prompt::from).collect(),
            PromptField::TokenLists(lists) => lists.into_iter().map(Prompt::from).collect(),
        };
        if prompts.is_empty() || prompts.len() > MOST_PROMPTS {
            let message = format!("{} prompts: expected 1 to {MOST_PROMPTS}", prompts.len());
            return Err(Failure::invalid("prompt", message));
        }
        let mut dialect = Dialect::new(self, Kind::Completion, &common, &config);
        let each = common.choices();
        let (prompts, echoed) = self
            .blocking(move |app| {
                let mut echoed = Vec::new();
                let mut tokens = Vec::with_capacity(prompts.len());
                for prompt in prompts {
                    let prompt = app.decoder.prompt_tokens(prompt)?;
                    if echo {
                        let text = app.decoder.tokenizer().decode(&prompt, true)?;
                        echoed.extend(std::iter::repeat_n(text, each));
                    }
                    tokens.push(prompt);
                }
                Ok((tokens, echoed))
            })
            .await?;
        dialect.echoed = echoed;
        Ok(Asked {
            prompts,
            config,
            common,
            dialect,
        })
    }

    /// Answers what is asked, and counts it.
    async fn answer(
        self: Arc<Self>,
        asked: impl Future<Output = Result<Asked, Failure>>,
    ) -> Result<Response, Failure> {
        let watch = self.metrics.watch();
        let begun = async { self.begin(asked.await?, watch.clone()).await }.await;
        if let Err(failure) = &begun {
            watch.refused(failure.code());
        }
        begun
    }

    async fn begin(&self, asked: Asked, watch: Watch) -> Result<Response, Failure> {
        let prompts = asked.prompts.len();
        let each = asked.common.choices();
        let answer = Answer::begin(self, asked.prompts, asked.config, each, &watch).await?;
        if !asked.common.stream.unwrap_or(false) {
            let generations = answer.gather().await?;
            return Ok(Json(asked.dialect.response(&generations, prompts)).into_response());
        }
        let (sender, receiver) = channel(UNREAD_PIECES);
        let writer = Writer {
            dialect: asked.dialect,
            include_usage: asked.common.include_usage(),
            prompts,
            sender,
            watch,
        };
        tokio::spawn(writer.write(answer, prompts * each));
        let stream = Sse::new(ReceiverStream::new(receiver));
        let stream = stream.keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
        Ok(stream.into_response())
    }

    /// Does what takes too long for a thread that serves others, too.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let app = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&app)).await;
        let lost = |error| Error::Compute(format!("the request could not be read: {error}"));
        done.map_err(lost)?
    }
}

impl Dialect {
    fn new(app: &App, kind: Kind, common: &Common, config: &SpeculativeConfig) -> Self {
        Self {
            kind,
            id: format!("{}{}", kind.id_prefix(), fresh_id()),
            created: now(),
            model: app.options.model.clone(),
            return_tokens: common.return_tokens(),
            logprobs: config.logprobs.is_some(),
            tokenizer: app.decoder.tokenizer().clone(),
            echoed: Vec::new(),
        }
    }
}

/// An id that no other request has.
pub(super) fn fresh_id() -> String {
    let random = || RandomState::new().hash_one(Instant::now());
    format!("{:016x}{:016x}", random(), random())
}

/// Writes an answer to a client, piece by piece.
struct Writer {
    dialect: Dialect,
    include_usage: bool,
    prompts: usize,
    sender: Sender<Result<Event, Infallible>>,
    watch: Watch,
}

/// The client is gone.
struct Gone;

impl Writer {
    async fn write(self, answer: Answer, choices: usize) {
        // Some more than its time: an answer that is late is told so.
        let deadline = answer.deadline() + LAST_WORDS;
        // Where nobody reads any more there is nobody to tell.
        let _ = timeout_at(deadline, self.write_all(answer, choices)).await;
    }

    async fn write_all(&self, mut answer: Answer, choices: usize) -> Result<(), Gone> {
        for choice in 0..choices {
            if let Some(first) = self.dialect.first(choice) {
                self.send(&first).await?;
            }
        }
        let mut offsets = vec![0; choices];
        let mut stats = vec![Stats::default(); choices];
        loop {
            // A client may leave while nothing is said to it.
            let next = tokio::select! {
                next = answer.next() => next,
                () = self.sender.closed() => return Err(Gone),
            };
            match next {
                Ok(Some(Step::Chunk(choice, chunk))) => {
                    let piece = self.dialect.piece(choice, &chunk, &mut offsets[choice]);
                    if let Some(piece) = piece {
                        self.send(&piece).await?;
                    }
                }
                Ok(Some(Step::End(choice, generation))) => {
                    self.send(&self.dialect.last(choice, &generation)).await?;
                    stats[choice] = generation.stats;
                }
                Ok(None) => break,
                Err(failure) => {
                    self.watch.refused(failure.code());
                    return self.send(&failure.body()).await;
                }
            }
        }
        if self.include_usage {
            self.send(&self.dialect.usage(&stats, self.prompts)).await?;
        }
        self.send_text("[DONE]".into()).await
    }

    async fn send(&self, value: &Value) -> Result<(), Gone> {
        self.send_text(value.to_string()).await
    }

    async fn send_text(&self, text: String) -> Result<(), Gone> {
        let event = Event::default().data(text);
        self.sender.send(Ok(event)).await.map_err(|_| Gone)
    }
}
