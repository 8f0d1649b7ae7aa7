//! Requests, from prompt to finish: one by itself, or many at once.

mod output;
mod pace;
mod prefixes;
mod scheduler;
mod service;
mod session;
mod stop;

pub use output::{Chunk, FinishReason, Generation, SourceStats, Stats, Token};
pub use scheduler::{Event, Limits, Listener, Scheduler};
pub use service::{QueueFull, Service};
pub(crate) use session::check_prompt;
pub use session::{CancelToken, Session};
