//! What the target's forward passes cost on this machine: one token, several at once, long contexts, prefill.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::decoder::SpeculativeDecoder;
use crate::error::Result;
use crate::evaluation::runner::median;
use crate::model::TokenSequence;

/// Context length at which forward passes over several rows are timed.
const SHORT: usize = 100;
/// Context lengths at which single tokens are timed.
const CONTEXTS: [usize; 3] = [SHORT, 1000, 4000];
/// Rows of the timed forward passes.
const ROWS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Forward passes of each kind; the median counts.
const PASSES: usize = 15;
/// Prompt tokens per forward pass, as in generation.
const CHUNK: usize = 256;

/// Times of the target's forward passes.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PassTimes {
    /// Forward passes over several rows, at context length 100.
    pub verify: Vec<VerifyTime>,
    /// Prefill and single-token decoding, by context length.
    pub contexts: Vec<ContextTime>,
    /// Peak memory of this process in bytes; `None` where the system doesn't report it.
    pub peak_memory: Option<u64>,
}

/// A forward pass over several rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct VerifyTime {
    /// Rows whose logits were computed.
    pub rows: usize,
    /// Median seconds.
    pub seconds: f64,
    /// `seconds` divided by the time of one row.
    pub ratio: f64,
}

/// Prefill of a prompt, and decoding at its context length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ContextTime {
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Prompt tokens per second.
    pub prefill_tokens_per_second: f64,
    /// Single-token forward passes per second.
    pub decode_tokens_per_second: f64,
}

impl PassTimes {
    /// The most times that [`Self::measure_with`] calls its `progress`.
    pub const MEASUREMENTS: usize = CONTEXTS.len() + ROWS.len();

    /// Measures the target's forward passes; lengths that don't fit its context are left out.
    pub fn measure(decoder: &SpeculativeDecoder) -> Result<Self> {
        Self::measure_with(decoder, || {})
    }

    /// [`Self::measure`], which calls `progress` after each measurement.
    pub fn measure_with(decoder: &SpeculativeDecoder, progress: impl Fn()) -> Result<Self> {
        let mut times = Self::default();
        let room = decoder.sequence().context_length();
        for tokens in CONTEXTS.into_iter().filter(|tokens| tokens + 1 < room) {
            let mut sequence = decoder.sequence();
            let began = Instant::now();
            fill(&mut sequence, tokens)?;
            let prefill = began.elapsed();
            times.contexts.push(ContextTime {
                tokens,
                prefill_tokens_per_second: tokens as f64 / prefill.as_secs_f64(),
                decode_tokens_per_second: 1.0 / pass(&mut sequence, 1)?,
            });
            progress();
        }
        let short = SHORT.min(room / 2);
        let mut sequence = decoder.sequence();
        fill(&mut sequence, short)?;
        for rows in ROWS.into_iter().filter(|rows| short + rows <= room) {
            let seconds = pass(&mut sequence, rows)?;
            let one = times.verify.first().map_or(seconds, |one| one.seconds);
            let ratio = seconds / one;
            times.verify.push(VerifyTime {
                rows,
                seconds,
                ratio,
            });
            progress();
        }
        times.peak_memory = peak_memory();
        Ok(times)
    }
}

/// Tokens that are in every vocabulary, each different from the one before.
fn tokens(vocab_size: usize, range: std::ops::Range<usize>) -> Vec<u32> {
    range
        .map(|position| ((position * 7919 + 17) % vocab_size) as u32)
        .collect()
}

fn fill(sequence: &mut TokenSequence, length: usize) -> Result<()> {
    for chunk in tokens(sequence.vocab_size(), 0..length).chunks(CHUNK) {
        sequence.extend(chunk, 0)?;
    }
    Ok(())
}

/// Median seconds of a forward pass over `rows` rows, which are then truncated.
fn pass(sequence: &mut TokenSequence, rows: usize) -> Result<f64> {
    let length = sequence.len();
    let appended = tokens(sequence.vocab_size(), length..length + rows);
    let mut times = Vec::with_capacity(PASSES);
    for _ in 0..=PASSES {
        let began = Instant::now();
        sequence.extend(&appended, rows)?;
        times.push(began.elapsed());
        sequence.truncate(length)?;
    }
    // The first pass warms up.
    Ok(median(
        times[1..].iter().map(Duration::as_secs_f64).collect(),
    ))
}

/// The process's peak resident memory.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
