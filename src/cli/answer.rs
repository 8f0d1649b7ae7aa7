//! One answer of the model, on its way to stdout.

use std::io::{self, Write};

use serde::Serialize;

use super::failure::{Failure, Outcome};
use super::interrupt;
use super::painter::Painter;
use super::terminal::show_stats;
use crate::decoder::Stream;
use crate::engine::{FinishReason, Generation};

/// How answers are shown.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Print JSON in place of text, once the answer is complete: text, tokens, finish_reason, stats
    #[arg(long)]
    json: bool,
    /// Tell on stderr how it went: speed, acceptance, speedup
    #[arg(long)]
    stats: bool,
    /// Colour each token by who wrote it first: the target itself (plain), or a draft
    #[arg(long, conflicts_with = "json")]
    show_draft: bool,
}

impl OutputArgs {
    /// Runs a generation to its end, or to Ctrl-C, and shows what it writes.
    pub(super) fn show(&self, mut stream: Stream) -> Outcome<Generation> {
        let interruptible = interrupt::ends(stream.cancel_token());
        if !self.json {
            write_text(&mut stream, self.show_draft)?;
        }
        stream.try_for_each(|chunk| chunk.map(drop))?;
        let generation = stream.into_generation()?;
        drop(interruptible);
        if self.json {
            write_json(&generation)?;
        }
        if self.stats {
            show_stats(&generation);
        }
        Ok(generation)
    }
}

/// Writes text as it comes, and a line break behind it.
fn write_text(stream: &mut Stream, coloured: bool) -> Outcome {
    let mut out = io::stdout().lock();
    let mut painter = coloured.then(Painter::default);
    let written = stream.try_for_each(|chunk| {
        let chunk = chunk?;
        let text = match &mut painter {
            Some(painter) => painter.paint(&chunk),
            None => chunk.text,
        };
        out.write_all(text.as_bytes())?;
        out.flush().map_err(Failure::from)
    });
    // After an error too: what was written stays a line of its own.
    writeln!(out)?;
    written
}

/// Writes one line of JSON.
pub(super) fn write_json(value: &impl Serialize) -> Outcome {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// Whether Ctrl-C ended it.
pub(super) fn interrupted(generation: &Generation) -> bool {
    generation.finish_reason == FinishReason::Cancelled
}
