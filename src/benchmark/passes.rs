//! What the target's passes cost on this machine: one token, several at once, long contexts, prompts.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::median;
use crate::decoder::SpeculativeDecoder;
use crate::error::Result;
use crate::model::TokenSequence;

/// Tokens in the cache where passes over several rows are timed.
const SHORT: usize = 100;
/// Lengths of context at which single tokens are timed.
const CONTEXTS: [usize; 3] = [SHORT, 1000, 4000];
/// Rows of the timed passes.
const ROWS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Passes of each kind, of which the median counts.
const PASSES: usize = 15;
/// Prompt tokens that are read at once, as generation reads them.
const PIECE: usize = 256;

/// Times of the target's passes.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PassTimes {
    /// Passes over several rows, behind 100 tokens.
    pub verify: Vec<VerifyTime>,
    /// Passes over one token, and the prompt before it, by the length of the context.
    pub contexts: Vec<ContextTime>,
    /// Most memory that this process has used, in bytes; `None` where the system doesn't say.
    pub peak_memory: Option<u64>,
}

/// A pass over several rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct VerifyTime {
    /// Rows whose logits were computed.
    pub rows: usize,
    /// Median seconds.
    pub seconds: f64,
    /// Over the time of one row.
    pub ratio: f64,
}

/// Reading a prompt and decoding behind it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ContextTime {
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Prompt tokens read a second.
    pub prefill_tokens_per_second: f64,
    /// Passes over one token a second.
    pub decode_tokens_per_second: f64,
}

impl PassTimes {
    /// Measures the target's passes; what doesn't fit its context is left out.
    pub fn measure(decoder: &SpeculativeDecoder) -> Result<Self> {
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
        }
        times.peak_memory = peak_memory();
        Ok(times)
    }
}

/// Tokens that are in every vocabulary, none like its neighbour.
fn tokens(vocab_size: usize, range: std::ops::Range<usize>) -> Vec<u32> {
    range
        .map(|place| ((place * 7919 + 17) % vocab_size) as u32)
        .collect()
}

fn fill(sequence: &mut TokenSequence, length: usize) -> Result<()> {
    for piece in tokens(sequence.vocab_size(), 0..length).chunks(PIECE) {
        sequence.extend(piece, 0)?;
    }
    Ok(())
}

/// Median seconds of a pass over so many rows, which are then forgotten.
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
    // The first one warms up.
    Ok(median(
        times[1..].iter().map(Duration::as_secs_f64).collect(),
    ))
}

/// The process's high-water mark.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
