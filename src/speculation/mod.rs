//! Speculation: propose tokens, check them against the target's laws, learn what to draft.

mod acceptance;
pub mod controller;
mod cost;
pub mod draft;
mod lookups;
pub mod replay;
pub mod verify;

pub use acceptance::{Acceptance, SharedAcceptance};
pub use controller::Controller;
pub use cost::Costs;
pub use draft::{Draft, DraftSource, Lookup, TokenSource};
pub use lookups::Lookups;
pub use verify::Verdict;
