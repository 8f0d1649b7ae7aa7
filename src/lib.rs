//! Lossless speculative decoding: a cheap draft proposes tokens, the target model verifies them in one forward pass,
//! and the output is exactly what the target alone would have generated, but sooner.
//!
//! ```no_run
//! use specdec_rs::{SpeculativeConfig, SpeculativeDecoder};
//!
//! let decoder = SpeculativeDecoder::new("smollm2-135m", "ngram", None)?;
//! let config = SpeculativeConfig { temperature: 0.8, top_p: 0.9, max_new_tokens: 8, ..Default::default() };
//! let generation = decoder.generate_with("Once upon a time,", &config)?;
//! println!("{generation} ({:.1} tokens/s)", generation.stats.tokens_per_second());
//! # Ok::<(), specdec_rs::Error>(())
//! ```
//!
//! Reading order: [`engine::Request`] (one request, step by step), [`speculation::verify`] (why the output is
//! the target's own), [`model::Transformer`] (one decoder for every architecture), [`backend::Backend`]
//! (the operations it is made of). Each module imports only those below it: `cli` and `python`, `server`,
//! `evaluation`, `distill`, `decoder`, `engine`, `speculation`, `sampling`, `model`, `architecture`, `text`, `weights`, `backend`,
//! `hub`.

pub mod architecture;
pub mod candle;
mod checked_mutex;
#[cfg(feature = "cli")]
pub mod cli;
mod decoder;
mod device;
pub mod distill;
pub mod engine;
mod error;
mod evaluation;
mod files;
mod fork;
mod hash;
pub mod hub;
mod json;
mod limits;
pub mod model;
mod names;
mod panics;
mod prefix;
pub mod progress;
#[cfg(feature = "cli")]
mod progress_bar;
#[cfg(feature = "python")]
mod python;
mod quota;
mod response_format;
pub mod sampling;
#[cfg(feature = "server")]
pub mod server;
mod settings;
pub mod speculation;
pub mod text;
mod threads;
pub mod weights;

pub use specdec_backend as backend;

pub use decoder::{Batch, DecoderBuilder, Prompt, SpeculativeDecoder, Stream};
pub use device::Device;
pub use engine::{CancelToken, Chunk, FinishReason, Generation, SourceStats, Stats, Token};
pub use error::{Error, Result};
pub use evaluation::audit::{
    Audit, AuditReport, BatchInvariance, DistributionTest, Divergence, Identity, SourceReport,
    Uniformity, Verdict,
};
pub use evaluation::benchmark::{
    Benchmark, Comparison, ContextTime, Measurement, PassTimes, VerifyTime,
};
pub use evaluation::tune;
pub use hub::DEFAULT_MODEL;
pub use model::{Extend, LanguageModel, Logits, ModelInfo, Parents, SequenceId};
pub use response_format::ResponseFormat;
pub use settings::{DraftKind, SpeculativeConfig, Verification};
pub use text::{Message, RenderOptions, Tokenizer};

/// The old name of [`DistributionTest`], kept for one release.
#[deprecated(note = "renamed to `DistributionTest`")]
pub type LawTest = DistributionTest;

/// The old name of [`BatchInvariance`], kept for one release.
#[deprecated(note = "renamed to `BatchInvariance`")]
pub type RowInvariance = BatchInvariance;

// The code on these pages needs the default models: it is marked `ignore`, and runs with `cargo test -- --include-ignored`. (Only
// as `standalone_crate`: merged with others, rustdoc compiles ignored code without running it.)
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/guide.md")]
#[doc = include_str!("../docs/losslessness.md")]
mod pages {}
