//! One answer of the model, on its way to stdout.

use std::io::{self, Write};

use serde::Serialize;

use super::error::{CliError, Outcome};
use super::interrupt;
use super::painter::Painter;
use super::terminal::show_stats;
use crate::decoder::Stream;
use crate::engine::{FinishReason, Generation};

/// How answers are shown.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Print JSON instead of text once the answer is complete: text, tokens, finish_reason, stats
    #[arg(long)]
    json: bool,
    /// Print statistics on stderr: speed, acceptance, speedup
    #[arg(long)]
    stats: bool,
    /// Colour each token by its source: the target itself (no colour) or the draft that proposed it
    #[arg(long, conflicts_with = "json")]
    show_draft: bool,
}

impl OutputArgs {
    /// Runs a generation to its end, or until Ctrl-C, and prints its text.
    pub(super) fn show(&self, mut stream: Stream) -> Outcome<Generation> {
        let interruptible = interrupt::cancels(stream.cancel_token());
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

/// Writes text as it is generated, then a line break.
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
        out.flush().map_err(CliError::from)
    });
    // After an error too, so that the error message starts on its own line.
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

/// Whether Ctrl-C ended the generation.
pub(super) fn interrupted(generation: &Generation) -> bool {
    generation.finish_reason == FinishReason::Cancelled
}
