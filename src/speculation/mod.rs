//! Speculation: propose tokens, verify them against the target's distributions, plan what the next step drafts.

mod acceptance;
mod candidate;
mod draft;
pub mod drafter;
pub mod planner;
pub mod registry;
pub mod retrieval;
pub mod verify;

pub use acceptance::Acceptance;
pub use candidate::{Candidate, MAX_FEATURES};
pub use draft::Draft;
pub use drafter::{DraftLimit, Drafter};
pub use planner::{Controller, DraftingStatistics, Load, Plan, RetrievalDrafters};
pub use retrieval::RetrievalDrafter;
pub use verify::Verdict;
