//! What requests are answered with, and which path leads where.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};

use super::access::{self, ApiKeys};
use super::failure::Failure;
use super::lessons::Lessons;
use super::metrics::{self, Metrics};
use super::{completions, log, models, page};
use crate::config::SpeculativeConfig;
use crate::decoder::SpeculativeDecoder;
use crate::engine::Service;

/// How a server is to run.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The address or name to listen at.
    pub host: String,
    /// The port; 0: any that is free.
    pub port: u16,
    /// The model's name in answers.
    pub model: String,
    /// Requests that are computed at once.
    pub slots: usize,
    /// Requests that may wait beside them.
    pub queue: usize,
    /// Tokens of all caches together; `None`: what half of the memory that is free holds.
    pub cache_tokens: Option<usize>,
    /// Keys of which each request must show one; none: all requests are answered.
    pub api_keys: Vec<String>,
    /// Listen beyond this machine without keys.
    pub allow_unauthenticated: bool,
    /// Origins whose pages may read answers.
    pub cors_origins: Vec<String>,
    /// The longest that a request may take.
    pub timeout: Duration,
    /// Most bytes of a body.
    pub most_body: usize,
    /// How long requests may go on once the server is asked to end.
    pub drain: Duration,
    /// The file of a table that learns from the answers, to draft from; `None`: nothing is learned from them.
    pub learn: Option<PathBuf>,
    /// What holds where a request doesn't say.
    pub defaults: SpeculativeConfig,
}

/// What all requests share.
pub(super) struct App {
    pub(super) decoder: SpeculativeDecoder,
    pub(super) service: Service,
    pub(super) lessons: Option<Arc<Lessons>>,
    pub(super) options: ServerOptions,
    /// Tokens of all caches together.
    pub(super) cache_tokens: Option<usize>,
    pub(super) metrics: Metrics,
    pub(super) started: u64,
}

pub(super) type Shared = State<Arc<App>>;

impl App {
    /// Tokens that an answer may have where its request doesn't say: an even share of the caches, and for a long prompt some
    /// more.
    pub(super) fn default_tokens(&self, prompt: usize) -> usize {
        /// What a long prompt's answer may have all the same.
        const LEAST: usize = 1024;
        let context = self.decoder.info().context_length;
        let share = self.cache_tokens.map_or(context, |tokens| {
            let even = tokens / self.options.slots;
            // As much less as a cache's last piece may be empty.
            even.max(prompt + LEAST).min(tokens.saturating_sub(128))
        });
        share.min(context).saturating_sub(prompt).max(1)
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// All paths.
pub(super) fn router(app: &Arc<App>) -> Result<Router, crate::Error> {
    let keys = Arc::new(ApiKeys::new(&app.options.api_keys));
    let closed = Router::new()
        .route("/v1/completions", post(completions::completions))
        .route("/v1/chat/completions", post(completions::chat))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*model}", get(models::one))
        .route("/tokenize", post(models::tokenize))
        .route("/detokenize", post(models::detokenize))
        .layer(from_fn_with_state(keys, access::authenticate));
    let open = Router::new()
        .route("/", get(page::show))
        .route("/health", get(models::health))
        .route("/metrics", get(metrics::show))
        .route("/openapi.json", get(models::description));
    let without_keys = app.options.api_keys.is_empty();
    let origins = Arc::new(access::Origins {
        allowed: app.options.cors_origins.clone(),
        host: (without_keys && !app.options.allow_unauthenticated)
            .then(|| app.options.host.clone()),
    });
    let mut router = closed
        .merge(open)
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(app.options.most_body))
        .layer(from_fn_with_state(origins, access::check_origin));
    if !app.options.cors_origins.is_empty() {
        router = router.layer(access::cors(&app.options.cors_origins)?);
    }
    Ok(router.layer(from_fn(log::request)).with_state(app.clone()))
}

async fn not_found(uri: Uri) -> Failure {
    let message = format!("no such path: {}; /openapi.json lists them all", uri.path());
    Failure::new(StatusCode::NOT_FOUND, "not_found", message)
}

async fn not_allowed(method: Method, uri: Uri) -> Failure {
    let message = format!("{method} is not for {}", uri.path());
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
