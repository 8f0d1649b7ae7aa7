//! Evaluation: speculative decoding compared with plain decoding of the same model.
//!
//! - [`audit`] checks that the output is the target's own ([`Audit`](audit::Audit), `specdec verify`).
//! - [`benchmark`] measures the speedup ([`Benchmark`](benchmark::Benchmark), `specdec bench`).
//! - [`tune`] finds the fastest draft settings (`specdec tune`).
//!
//! All three run their requests through [`runner`] and add up what the requests report in its
//! [`Totals`](runner::Totals).

pub mod audit;
pub mod benchmark;
mod runner;
pub mod tune;

#[cfg(feature = "python")]
pub(crate) use runner::Totals;
