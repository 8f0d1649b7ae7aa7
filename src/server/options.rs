//! The options of a server.

use std::path::PathBuf;
use std::time::Duration;

use crate::settings::SpeculativeConfig;

/// The options of a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The address or name to listen on.
    pub host: String,
    /// The port; 0: any that is free.
    pub port: u16,
    /// The model's name in answers.
    pub model: String,
    /// The maximum number of requests that are computed at once.
    pub slots: usize,
    /// The maximum number of requests that wait.
    pub queue: usize,
    /// The maximum number of tokens in all caches together; `None`: as many as fit in half of the free memory.
    pub cache_tokens: Option<usize>,
    /// The API keys, of which each request must send one; if there are none, all requests are answered.
    pub api_keys: Vec<String>,
    /// Lets requests with different keys share cached prefixes, and what drafts learn from texts.
    pub share_cache: bool,
    /// Allows listening on addresses that other machines can reach, without keys.
    pub allow_unauthenticated: bool,
    /// The origins whose pages may read answers.
    pub cors_origins: Vec<String>,
    /// Refuse requests with unknown fields, which are ignored otherwise.
    pub strict: bool,
    /// The longest time that a request may take.
    pub timeout: Duration,
    /// The maximum number of connections at once.
    pub max_connections: usize,
    /// How long a client may take to send a request's headers, or its body, to read more of an answer, or to ask again.
    pub client_timeout: Duration,
    /// The maximum size of a request's body, in bytes.
    pub max_body: usize,
    /// How long running requests may continue once the server shuts down.
    pub drain: Duration,
    /// The file of an n-gram table that is updated from the answers, to draft from; `None`: it is not updated.
    pub learn: Option<PathBuf>,
    /// The settings that requests do not give themselves.
    pub defaults: SpeculativeConfig,
}
