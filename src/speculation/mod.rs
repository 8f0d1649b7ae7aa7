//! Speculation: propose tokens, check them against the target's laws, learn what to draft.

mod acceptance;
pub mod controller;
mod cost;
pub mod draft;
mod experience;
mod lookups;
mod prospect;
mod timed;
pub mod verify;

pub use acceptance::Acceptance;
pub use controller::Controller;
pub use draft::{Draft, DraftSource, Lookup, TokenSource};
pub use experience::Experience;
pub use lookups::{Lookups, Plan};
pub use prospect::Load;
pub use verify::Verdict;
