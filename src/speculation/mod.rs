//! Speculation: propose tokens, check them against the target's laws, learn how long to draft.

pub mod controller;
pub mod draft;
pub mod verify;

pub use controller::Controller;
pub use draft::{Draft, DraftSource, TokenSource};
pub use verify::Verdict;
