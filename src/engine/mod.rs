//! One request, from prompt to finish.

mod output;
mod session;
mod stop;

pub use output::{Chunk, FinishReason, Generation, Stats, Token};
pub use session::{CancelToken, Session};
