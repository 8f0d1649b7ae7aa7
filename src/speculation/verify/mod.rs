//! Verification: which drafted tokens the target would have written itself.
//!
//! Pure functions of laws and chance: no model, no cache, no I/O.

mod rejection;

pub use rejection::rejection;

/// What verification decided about a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// How many of the draft's tokens stand.
    pub accepted: usize,
    /// The target's own token behind them.
    pub next: u32,
}
