//! How a server is to run.

use std::path::PathBuf;
use std::time::Duration;

use crate::settings::SpeculativeConfig;

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
    /// The longest time that a request may take.
    pub timeout: Duration,
    /// Most bytes of a request's body.
    pub max_body: usize,
    /// How long requests may go on once the server is asked to end.
    pub drain: Duration,
    /// The file of an n-gram table that is updated from the answers, to draft from; `None`: it is not updated.
    pub learn: Option<PathBuf>,
    /// What holds where a request doesn't say.
    pub defaults: SpeculativeConfig,
}
