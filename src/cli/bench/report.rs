//! The results of `specdec bench` as tables.

use std::fmt::Write;

use indicatif::HumanBytes;
use serde::Serialize;

use super::setup::Setup;
use crate::decoder::SpeculativeDecoder;
use crate::evaluation::benchmark::{Comparison, PassTimes, Summary};
use crate::model::ModelInfo;

/// Width of the table's prompt column.
const PROMPT_WIDTH: usize = 24;

/// The table's head.
pub(super) fn header() -> String {
    format!(
        "{:<PROMPT_WIDTH$} plain tok/s  speculative tok/s  speedup      range  tok/step  accepted  identical",
        "prompt"
    )
}

/// All comparisons.
#[derive(Serialize)]
pub(super) struct Report {
    /// What was measured, on what.
    setup: Setup,
    target: ModelInfo,
    draft: Option<ModelInfo>,
    #[serde(flatten)]
    all: Summary,
    /// Seconds to load the models.
    load_seconds: f64,
    /// By category, in order of appearance.
    categories: Vec<Summary>,
    /// Times of the target's forward passes; none if they were left out.
    pub(super) passes: Option<PassTimes>,
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
        setup: Setup,
        results: Vec<TurnResult>,
        passes: Option<PassTimes>,
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
            setup,
            target: decoder.info(),
            draft: decoder.draft_info(),
            all: Summary::of("all", results.iter().map(|turn| &turn.comparison)),
            load_seconds,
            categories: names.iter().map(|name| of(name)).collect(),
            passes,
            results,
        }
    }

    /// What follows the rows of the turns: the summaries by category and of all turns, and the times of passes.
    pub(super) fn text(&self) -> String {
        let mut lines: Vec<String> = self.categories.iter().map(summary_row).collect();
        lines.push(summary_row(&self.all));
        lines.push(self.legend());
        if let Some(passes) = &self.passes {
            lines.push(pass_tables(passes));
        }
        lines.push(self.footer());
        lines.join("\n")
    }

    /// What the columns of speedups mean.
    fn legend(&self) -> String {
        let mut text = String::from(
            "\nspeedup: the median of the runs, and their range;\n\
             in the last rows, all tokens over all time, and the range of the turns",
        );
        let mut sides = self.results.iter().map(|turn| &turn.comparison.speculative);
        if sides.any(|side| side.accepted == 0) {
            text += "\n-: no drafted token was accepted, so nothing was made faster";
        }
        text
    }

    fn footer(&self) -> String {
        let mut text = format!("\nloaded in {:.2} s", self.load_seconds);
        let memory = self.passes.as_ref().and_then(|passes| passes.peak_memory);
        if let Some(bytes) = memory {
            let _ = write!(text, "\npeak memory {}", HumanBytes(bytes));
        }
        text
    }
}

/// The times of the target's forward passes as tables.
fn pass_tables(passes: &PassTimes) -> String {
    let mut text = String::from("\nrows per pass   ms per pass  vs. one row\n");
    for time in &passes.verify {
        let (rows, milliseconds) = (time.rows, 1e3 * time.seconds);
        let ratio = time.ratio;
        let _ = writeln!(text, "{rows:>12}  {milliseconds:>12.2}  {ratio:>11.2}x");
    }
    text += "\ncontext length  prompt tok/s  decode tok/s";
    for time in &passes.contexts {
        let _ = write!(
            text,
            "\n{:>14}  {:>12.0}  {:>12.1}",
            time.tokens, time.prefill_tokens_per_second, time.decode_tokens_per_second,
        );
    }
    text
}

impl TurnResult {
    pub(super) fn row(&self) -> String {
        let Comparison {
            speedup,
            speedup_range,
            baseline,
            speculative,
            identical,
            ..
        } = &self.comparison;
        Row {
            name: &self.prompt,
            speeds: [baseline.tokens_per_second, speculative.tokens_per_second],
            speedup: Some((*speedup, *speedup_range)).filter(|_| speculative.accepted > 0),
            tokens_per_step: speculative.tokens_per_step,
            acceptance_rate: speculative.acceptance_rate,
            identical: *identical,
        }
        .line()
    }
}

/// The table's row of a summary.
fn summary_row(summary: &Summary) -> String {
    let Summary {
        baseline,
        speculative,
        ..
    } = summary;
    let name = match summary.turns {
        1 => format!("{}, 1 turn", summary.category),
        turns => format!("{}, {turns} turns", summary.category),
    };
    let speedup = Some((summary.speedup, summary.speedup_range));
    Row {
        name: &name,
        speeds: [baseline.tokens_per_second, speculative.tokens_per_second],
        speedup: speedup.filter(|_| speculative.accepted > 0),
        tokens_per_step: speculative.tokens_per_step,
        acceptance_rate: speculative.acceptance_rate,
        identical: summary.identical,
    }
    .line()
}

/// A row of the table.
struct Row<'a> {
    name: &'a str,
    /// Tokens per second without and with speculation.
    speeds: [f64; 2],
    /// The speedup and its range; `None` where no drafted token was accepted.
    speedup: Option<(f64, [f64; 2])>,
    tokens_per_step: f64,
    acceptance_rate: f64,
    identical: bool,
}

impl Row<'_> {
    fn line(&self) -> String {
        let Self {
            speeds: [plain, speculative],
            speedup,
            tokens_per_step,
            acceptance_rate,
            ..
        } = self;
        let none = || "-".to_owned();
        let ranged = speedup.filter(|(_, [lowest, highest])| lowest < highest);
        let range = ranged.map(|(_, [lowest, highest])| format!("{lowest:.2}-{highest:.2}"));
        let speedup = speedup.map(|(speedup, _)| format!("{speedup:.2}x"));
        format!(
            "{:<PROMPT_WIDTH$} {plain:>11.1}  {speculative:>17.1}  {:>7}  {:>9}  {tokens_per_step:>8.2}  {:>7.0}%  {:>9}",
            shortened(self.name),
            speedup.unwrap_or_else(none),
            range.unwrap_or_else(none),
            100.0 * acceptance_rate,
            if self.identical { "yes" } else { "no" },
        )
    }
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
