//! The state that all requests share.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::body::Room;
use super::clients::{Client, Decoders};
use super::error::ApiError;
use super::metrics::Metrics;
use super::options::ServerOptions;
use super::table_updates::TableUpdates;
use crate::decoder::SpeculativeDecoder;
use crate::engine::{Admission, QueueFull, Service};
use crate::error::Error;

/// The maximum number of answers to all prompts of a request.
const MAX_CHOICES: usize = 128;

/// Limits how much of a kind of work before the queue is done at once.
pub(super) struct Pool(Arc<Semaphore>);

impl Pool {
    /// So many tasks at once.
    pub(super) fn new(size: usize) -> Self {
        Self(Arc::new(Semaphore::new(size)))
    }
}

/// Texts that are prepared at once, and formats: few, so that the target has most of a small machine.
pub(super) const TEXTS: usize = 2;
pub(super) const FORMATS: usize = 1;

/// The state that all requests share.
pub(super) struct AppState {
    pub(super) decoder: SpeculativeDecoder,
    pub(super) decoders: Decoders,
    pub(super) service: Service,
    pub(super) table_updates: Option<Arc<TableUpdates>>,
    pub(super) options: ServerOptions,
    pub(super) metrics: Metrics,
    /// Tokenizing and chat templates.
    pub(super) texts: Pool,
    /// Compiling response formats, which may take long: so it leaves texts alone.
    pub(super) formats: Pool,
    /// Memory for the bodies of requests.
    pub(super) bodies: Arc<Room>,
    pub(super) started: u64,
}

/// The state as handlers get it.
pub(super) type SharedState = State<Arc<AppState>>;

impl AppState {
    /// The default maximum of an answer's tokens: an even share of the caches, and more after a long prompt.
    pub(super) fn default_tokens(&self, prompt: usize) -> usize {
        /// The tokens that the answer to a long prompt may have in any case.
        const MIN: usize = 1024;
        let context = self.decoder.info().context_length;
        let share = self.service.cache_capacity().map_or(context, |tokens| {
            let even = tokens / self.options.slots;
            // Without the positions of a cache's last page that may stay empty.
            even.max(prompt + MIN).min(tokens.saturating_sub(128))
        });
        share.min(context).saturating_sub(prompt).max(1)
    }

    /// Places for the answers of a request, which it takes before any work is done for it.
    pub(super) fn admit(&self, client: Client, choices: usize) -> Result<Admitted, ApiError> {
        let max = MAX_CHOICES.min(self.service.places_of_client());
        if choices > max {
            let message = format!("{choices} answers, of all prompts together: at most {max}");
            return Err(ApiError::invalid("n", message));
        }
        let owner = client.owner_of_call();
        let places = (0..choices).map(|_| self.service.admit(owner));
        let places = places.collect::<Result<_, QueueFull>>();
        Ok(Admitted {
            places: places.map_err(ApiError::queue_full)?,
            deadline: Instant::now() + self.options.timeout,
        })
    }

    /// Runs a request's blocking work outside the threads that serve connections, until its deadline. If the client leaves, work
    /// that has not begun is not done.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        pool: &Pool,
        deadline: Instant,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (state, pool) = (self.clone(), pool.0.clone());
        let prepared = async move {
            let permit = pool.acquire_owned().await;
            let work = move || {
                // Given back when the work ends, even if nobody waits for it any more.
                let _permit = permit;
                work(&state)
            };
            tokio::task::spawn_blocking(work).await
        };
        let late = |_| ApiError::timeout(self.options.timeout.as_secs());
        let done = timeout_at(deadline, prepared).await.map_err(late)?;
        let lost = |error| Error::Compute(format!("the request could not be read: {error}"));
        done.map_err(lost)?
    }
}

/// A request that may be prepared.
pub(super) struct Admitted {
    /// One for each of its answers.
    pub(super) places: Vec<Admission>,
    /// The deadline for the whole answer.
    pub(super) deadline: Instant,
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
