//! One request, from prompt to finish.

mod output;
mod session;
mod stop;

pub use output::{Chunk, FinishReason, Generation, SourceStats, Stats, Token};
pub use session::{CancelToken, Session};
