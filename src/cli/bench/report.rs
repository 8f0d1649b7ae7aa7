//! What `specdec bench` found, as tables.

use std::fmt::Write;

use indicatif::HumanBytes;
use serde::Serialize;

use crate::benchmark::{Comparison, Measurement, PassTimes};
use crate::decoder::SpeculativeDecoder;
use crate::model::ModelInfo;

/// Characters of a prompt that the table shows.
const PROMPT_WIDTH: usize = 32;

pub(super) const HEADER: &str = "\
prompt                           plain tok/s  speculative tok/s  speedup  tok/step  accepted  identical";

/// All comparisons.
#[derive(Serialize)]
pub(super) struct Report {
    target: ModelInfo,
    draft: Option<ModelInfo>,
    #[serde(flatten)]
    all: Total,
    /// Seconds from the beginning of loading to a model that runs.
    load_seconds: f64,
    /// By category, in the order in which they came.
    categories: Vec<Total>,
    /// What the target's passes cost here.
    passes: PassTimes,
    results: Vec<TurnResult>,
}

/// One turn of a question.
#[derive(Serialize)]
pub(super) struct TurnResult {
    pub(super) prompt: String,
    pub(super) category: Option<String>,
    #[serde(flatten)]
    pub(super) comparison: Comparison,
}

/// Several turns together: tokens over time, so that what takes long weighs more.
#[derive(Serialize, Default)]
struct Total {
    category: String,
    turns: usize,
    /// Speculative over plain tokens a second.
    speedup: f64,
    /// The slowest and the fastest turn's.
    speedup_range: [f64; 2],
    /// Whether all texts were the same both ways.
    identical: bool,
    baseline: Side,
    speculative: Side,
}

/// One way of decoding several turns.
#[derive(Serialize, Default)]
struct Side {
    tokens_per_second: f64,
    tokens_per_step: f64,
    acceptance_rate: f64,
    new_tokens: usize,
    decode_seconds: f64,
    draft_seconds: f64,
    verify_seconds: f64,
    /// Steps that accepted 0, 1, 2, ... drafted tokens.
    accepted_lengths: Vec<usize>,
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
            Total::of(
                name,
                turns.filter(|turn| turn.category.as_deref() == Some(name)),
            )
        };
        Self {
            target: decoder.info(),
            draft: decoder.draft_info(),
            all: Total::of("all", results.iter()),
            load_seconds,
            categories: names.iter().map(|name| of(name)).collect(),
            passes,
            results,
        }
    }

    /// All turns together, and by category.
    pub(super) fn summary(&self) -> String {
        let mut lines: Vec<String> = self.categories.iter().map(Total::row).collect();
        lines.push(self.all.row());
        lines.join("\n")
    }

    /// The costs of the target's passes, as tables.
    pub(super) fn passes(&self) -> String {
        let mut text = String::from("\nrows at once     ms a pass  over one row\n");
        for time in &self.passes.verify {
            let (rows, milliseconds) = (time.rows, 1e3 * time.seconds);
            let ratio = time.ratio;
            let _ = writeln!(text, "{rows:>12}  {milliseconds:>12.2}  {ratio:>11.2}x");
        }
        text += "\ncontext tokens  prompt tok/s  decode tok/s\n";
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

impl Total {
    fn of<'a>(name: &str, turns: impl Iterator<Item = &'a TurnResult>) -> Self {
        let comparisons: Vec<&Comparison> = turns.map(|turn| &turn.comparison).collect();
        let baseline = Side::of(comparisons.iter().map(|comparison| &comparison.baseline));
        let speculative = Side::of(comparisons.iter().map(|comparison| &comparison.speculative));
        let speedups = || comparisons.iter().map(|comparison| comparison.speedup);
        Self {
            category: name.to_owned(),
            turns: comparisons.len(),
            speedup: speculative.tokens_per_second / baseline.tokens_per_second,
            speedup_range: [
                speedups().fold(f64::INFINITY, f64::min),
                speedups().fold(0.0, f64::max),
            ],
            identical: comparisons.iter().all(|comparison| comparison.identical),
            baseline,
            speculative,
        }
    }

    fn row(&self) -> String {
        let name = match self.turns {
            1 => format!("{}, 1 turn", self.category),
            turns => format!("{}, {turns} turns", self.category),
        };
        row(
            &shortened(&name),
            [
                self.baseline.tokens_per_second,
                self.speculative.tokens_per_second,
            ],
            self.speedup,
            self.speculative.tokens_per_step,
            self.speculative.acceptance_rate,
            self.identical,
        )
    }
}

impl Side {
    fn of<'a>(turns: impl Iterator<Item = &'a Measurement>) -> Self {
        let mut side = Self::default();
        let (mut steps, mut tokens, mut drafted, mut accepted) = (0, 0.0, 0, 0);
        for turn in turns {
            side.new_tokens += turn.new_tokens;
            side.decode_seconds += turn.decode_seconds;
            side.draft_seconds += turn.draft_seconds;
            side.verify_seconds += turn.verify_seconds;
            let longest = side.accepted_lengths.len().max(turn.accepted_lengths.len());
            side.accepted_lengths.resize(longest, 0);
            let sums = side.accepted_lengths.iter_mut();
            sums.zip(&turn.accepted_lengths)
                .for_each(|(sum, count)| *sum += count);
            steps += turn.steps;
            tokens += turn.tokens_per_step * turn.steps as f64;
            drafted += turn.drafted;
            accepted += turn.accepted;
        }
        side.tokens_per_second = side.new_tokens as f64 / side.decode_seconds;
        side.tokens_per_step = tokens / steps.max(1) as f64;
        side.acceptance_rate = accepted as f64 / drafted.max(1) as f64;
        side
    }
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

/// The beginning of a text, on one line.
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
