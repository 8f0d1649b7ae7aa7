//! Answers as server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::timeout_at;
use tokio_stream::wrappers::ReceiverStream;

use crate::engine::Stats;
use crate::server::answer::{Answer, Step};
use crate::server::metrics::RequestMetrics;
use crate::server::openai::{Format, Responder};

/// How often an idle stream sends a comment, to show that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The maximum number of chunks that are buffered for a slow client.
const MAX_BUFFERED: usize = 64;

/// How long a client may take after the deadline to receive what is buffered.
const GRACE: Duration = Duration::from_secs(10);

/// Writes an answer to a client, chunk by chunk.
pub(super) struct Writer<F> {
    pub(super) responder: Responder<F>,
    pub(super) include_usage: bool,
    pub(super) prompts: usize,
    pub(super) metrics: RequestMetrics,
}

type Events = Sender<Result<Event, Infallible>>;

/// The client disconnected.
struct Disconnected;

impl<F: Format> Writer<F> {
    /// A response that is sent while the answer is computed.
    pub(super) fn respond(self, answer: Answer, choices: usize) -> Response {
        let (sender, receiver) = channel(MAX_BUFFERED);
        tokio::spawn(async move {
            // Longer than the answer's deadline, so that the client still receives the timeout error.
            let deadline = answer.deadline() + GRACE;
            // If the client disconnected, no error can be sent.
            let _ = timeout_at(deadline, self.write(answer, choices, &sender)).await;
        });
        let stream = Sse::new(ReceiverStream::new(receiver));
        let stream = stream.keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
        stream.into_response()
    }

    async fn write(
        &self,
        mut answer: Answer,
        choices: usize,
        events: &Events,
    ) -> Result<(), Disconnected> {
        for choice in 0..choices {
            if let Some(first) = self.responder.first(choice) {
                send(events, &first).await?;
            }
        }
        let mut offsets = vec![0; choices];
        let mut stats = vec![Stats::default(); choices];
        loop {
            // A client may disconnect while nothing is sent to it.
            let next = tokio::select! {
                next = answer.next() => next,
                () = events.closed() => return Err(Disconnected),
            };
            match next {
                Ok(Some(Step::Chunk(choice, chunk))) => {
                    let chunk = self.responder.next(choice, &chunk, &mut offsets[choice]);
                    if let Some(chunk) = chunk {
                        send(events, &chunk).await?;
                    }
                }
                Ok(Some(Step::End(choice, generation))) => {
                    send(events, &self.responder.last(choice, &generation)).await?;
                    stats[choice] = generation.stats;
                }
                Ok(None) => break,
                Err(error) => {
                    self.metrics.refused(error.code());
                    return send(events, &error.body()).await;
                }
            }
        }
        if self.include_usage {
            send(events, &self.responder.usage(&stats, self.prompts)).await?;
        }
        send_event(events, Event::default().data("[DONE]")).await
    }
}

async fn send(events: &Events, value: &(impl Serialize + Sync)) -> Result<(), Disconnected> {
    // Serializing these types does not fail.
    let Ok(event) = Event::default().json_data(value) else {
        return Ok(());
    };
    send_event(events, event).await
}

async fn send_event(events: &Events, event: Event) -> Result<(), Disconnected> {
    events.send(Ok(event)).await.map_err(|_| Disconnected)
}
