//! The state that all requests share.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;

use super::error::ApiError;
use super::metrics::Metrics;
use super::options::ServerOptions;
use super::table_updates::TableUpdates;
use crate::decoder::SpeculativeDecoder;
use crate::engine::Service;
use crate::error::Error;

/// The state that all requests share.
pub(super) struct AppState {
    pub(super) decoder: SpeculativeDecoder,
    pub(super) service: Service,
    pub(super) table_updates: Option<Arc<TableUpdates>>,
    pub(super) options: ServerOptions,
    pub(super) metrics: Metrics,
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

    /// Runs blocking work outside the threads that serve connections.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let state = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&state)).await;
        let lost = |error| Error::Compute(format!("the request could not be read: {error}"));
        done.map_err(lost)?
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
