//! One answer of the model, on its way to stdout.

use std::io::{self, Write};

use serde::Serialize;

use super::error::{CliError, Outcome};
use super::interrupt;
use super::painter::{self, Painter};
use super::terminal::{ColourChoice, columns, show_stats};
use super::wrap::Wrapper;
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
    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        hide_possible_values = true,
        default_value_t
    )]
    color: ColourChoice,
}

impl OutputArgs {
    /// Whether answers are printed as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Runs a generation to its end, or until Ctrl-C, and prints its text, wrapped if there is a wrapper.
    pub(super) fn show(
        &self,
        mut stream: Stream,
        wrapper: Option<&mut Wrapper>,
    ) -> Outcome<Generation> {
        let interruptible = interrupt::cancels(stream.cancel_token());
        if !self.json {
            write_text(&mut stream, self.painter(), wrapper)?;
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

    /// What colours the text, if anything does.
    fn painter(&self) -> Option<Painter> {
        let coloured = self.show_draft.then(|| self.color.of_stdout())?;
        painter::explain(coloured);
        coloured.then(Painter::default)
    }
}

/// Writes text as it is generated, then a line break.
fn write_text(
    stream: &mut Stream,
    mut painter: Option<Painter>,
    mut wrapper: Option<&mut Wrapper>,
) -> Outcome {
    let mut out = io::stdout().lock();
    let mut write = |text: &str| out.write_all(text.as_bytes()).and_then(|()| out.flush());
    let written = stream.try_for_each(|chunk| {
        let chunk = chunk?;
        let mut text = match &mut painter {
            Some(painter) => painter.paint(&chunk),
            None => chunk.text,
        };
        if let Some(wrapper) = &mut wrapper {
            text = wrapper.push(&text, columns());
        }
        write(&text).map_err(CliError::from)
    });
    if let Some(wrapper) = wrapper {
        write(&wrapper.finish(columns()))?;
    }
    // After an error too, so that the error message starts on its own line.
    write("\n")?;
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
