//! Speculation: propose tokens, check them against the target's laws, learn how long to draft.

mod acceptance;
pub mod controller;
mod cost;
pub mod draft;
pub mod verify;

pub use acceptance::SharedAcceptance;
pub use controller::{Choice, Controller};
pub use cost::Costs;
pub use draft::{Draft, DraftSource, Prospect, TokenSource};
pub use verify::Verdict;
