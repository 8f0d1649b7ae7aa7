//! The results of `specdec bench` as tables.

use std::fmt::Write;

use indicatif::HumanBytes;
use serde::Serialize;

use crate::decoder::SpeculativeDecoder;
use crate::evaluation::benchmark::{Comparison, PassTimes, Summary};
use crate::model::ModelInfo;

/// Width of the table's prompt column.
const PROMPT_WIDTH: usize = 32;

pub(super) const HEADER: &str = "\
prompt                           plain tok/s  speculative tok/s  speedup  tok/step  accepted  identical";

/// All comparisons.
#[derive(Serialize)]
pub(super) struct Report {
    target: ModelInfo,
    draft: Option<ModelInfo>,
    #[serde(flatten)]
    all: Summary,
    /// Seconds to load the models.
    load_seconds: f64,
    /// By category, in order of appearance.
    categories: Vec<Summary>,
    /// Times of the target's forward passes.
    passes: PassTimes,
    results: Vec<TurnResult>,
}

/// One turn of a conversation.
#[derive(Serialize)]
pub(super) struct TurnResult {
    pub(super) prompt: String,
    pub(super) category: Option<String>,
    #[serde(flatten)]
    pub(super) comparison: Comparison,
}

impl Report {
    pub(super) fn new(
        decoder: &SpeculativeDecoder,
        results: Vec<TurnResult>,
        passes: PassTimes,
        load_seconds: f64,
    ) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for name in results
            .iter()
            .filter_map(|result| result.category.as_deref())
        {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let of = |name: &str| {
            let turns = results.iter();
            let turns = turns.filter(|turn| turn.category.as_deref() == Some(name));
            Summary::of(name, turns.map(|turn| &turn.comparison))
        };
        Self {
            target: decoder.info(),
            draft: decoder.draft_info(),
            all: Summary::of("all", results.iter().map(|turn| &turn.comparison)),
            load_seconds,
            categories: names.iter().map(|name| of(name)).collect(),
            passes,
            results,
        }
    }

    /// The summaries by category and of all turns.
    pub(super) fn summary(&self) -> String {
        let mut lines: Vec<String> = self.categories.iter().map(summary_row).collect();
        lines.push(summary_row(&self.all));
        lines.join("\n")
    }

    /// The times of the target's forward passes as tables.
    pub(super) fn passes(&self) -> String {
        let mut text = String::from("\nrows per pass   ms per pass  vs. one row\n");
        for time in &self.passes.verify {
            let (rows, milliseconds) = (time.rows, 1e3 * time.seconds);
            let ratio = time.ratio;
            let _ = writeln!(text, "{rows:>12}  {milliseconds:>12.2}  {ratio:>11.2}x");
        }
        text += "\ncontext length  prompt tok/s  decode tok/s\n";
        for time in &self.passes.contexts {
            let _ = writeln!(
                text,
                "{:>14}  {:>12.0}  {:>12.1}",
                time.tokens, time.prefill_tokens_per_second, time.decode_tokens_per_second,
            );
        }
        let _ = write!(text, "\nloaded in {:.2} s", self.load_seconds);
        if let Some(bytes) = self.passes.peak_memory {
            let _ = write!(text, "\npeak memory {}", HumanBytes(bytes));
        }
        text
    }
}

impl TurnResult {
    pub(super) fn row(&self) -> String {
        let Comparison {
            speedup,
            baseline,
            speculative,
            identical,
            ..
        } = &self.comparison;
        row(
            &shortened(&self.prompt),
            [baseline.tokens_per_second, speculative.tokens_per_second],
            *speedup,
            speculative.tokens_per_step,
            speculative.acceptance_rate,
            *identical,
        )
    }
}

/// The table's row of a summary.
fn summary_row(summary: &Summary) -> String {
    let name = match summary.turns {
        1 => format!("{}, 1 turn", summary.category),
        turns => format!("{}, {turns} turns", summary.category),
    };
    row(
        &shortened(&name),
        [
            summary.baseline.tokens_per_second,
            summary.speculative.tokens_per_second,
        ],
        summary.speedup,
        summary.speculative.tokens_per_step,
        summary.speculative.acceptance_rate,
        summary.identical,
    )
}

fn row(
    name: &str,
    [plain, speculative]: [f64; 2],
    speedup: f64,
    tokens_per_step: f64,
    acceptance_rate: f64,
    identical: bool,
) -> String {
    format!(
        "{name:<PROMPT_WIDTH$} {plain:>11.1}  {speculative:>17.1}  {speedup:>6.2}x  {tokens_per_step:>8.2}  {:>7.0}%  {:>9}",
        100.0 * acceptance_rate,
        if identical { "yes" } else { "no" },
    )
}

/// The start of a text, on one line.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= PROMPT_WIDTH {
        return line;
    }
    line.chars()
        .take(PROMPT_WIDTH - 3)
        .chain("...".chars())
        .collect()
}
