//! From prompt to finished generation: every request runs through the [`Scheduler`], alone or in a batch.
//!
//! [`Request`] is one request's state and step, [`KvCacheManager`] the memory that requests share, [`Service`] a scheduler on
//! its own thread.

mod kv_cache;
mod output;
mod owner;
mod prefill_budget;
mod prefix_cache;
mod request;
mod scheduler;
mod scope;
mod service;
mod stats;
mod stop;
mod work;
mod workers;
mod writer;

pub use kv_cache::KvCacheManager;
pub use output::{Chunk, FinishReason, Generation, Token};
pub use owner::Owner;
pub(crate) use request::check_prompt;
pub use request::{CancelToken, Request};
pub use scheduler::{Event, RequestId, Scheduler};
pub use scope::Scope;
pub use service::{Admission, Listener, QueueFull, Service};
#[cfg(feature = "server")]
pub(crate) use stats::statistics;
pub use stats::{SourceStats, Stats};
