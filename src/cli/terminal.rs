//! Progress bars and statistics, which go to stderr, so that stdout has the result alone; and what the terminal can show.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::SystemTime;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::log;
use super::wrap::wrap;
use crate::engine::{Generation, Stats};
use crate::progress::{Progress, Silent};
use crate::progress_bar::Bar;

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ColourChoice {
    #[default]
    Auto,
    Always,
    Never,
}

impl ColourChoice {
    /// Whether text on stdout is coloured.
    pub(super) fn of_stdout(self) -> bool {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let forced = || set("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        match self {
            Self::Auto => forced() || (colours(&io::stdout()) && moves_cursor()),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Whether the terminal is of a kind that understands escape sequences.
pub(super) fn moves_cursor() -> bool {
    // As the line editor sees it.
    let kind = std::env::var("TERM").unwrap_or_default();
    !["dumb", "cons25", "emacs"].contains(&kind.as_str())
}

/// The width of the terminal that stdout is.
pub(super) fn columns() -> usize {
    /// Where it is not known.
    const USUAL: usize = 80;
    let size = terminal_size::terminal_size_of(io::stdout());
    size.map_or(USUAL, |(width, _)| usize::from(width.0))
}

/// How long ago something was, for people.
pub(super) fn age(since: SystemTime) -> String {
    let age = SystemTime::now().duration_since(since);
    format!("{} ago", HumanDuration(age.unwrap_or_default()))
}

/// Prints a note for the user on stderr, wrapped on a terminal.
pub(super) fn note(text: &str) {
    let mut err = io::stderr();
    // Unlike `eprintln!`, this does not panic if stderr is closed.
    let _ = match err.is_terminal() {
        true => writeln!(err, "{}", wrap(text, columns())),
        false => writeln!(err, "{text}"),
    };
}

/// Whether text for this stream may have colours: it is a terminal, and NO_COLOR is not set.
pub(super) fn colours(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused
}

/// A bar for downloads and loading, shown if stderr is a terminal and not quiet.
pub(super) fn bar() -> Arc<dyn Progress> {
    match log::is_quiet() {
        true => Arc::new(Silent),
        false => Arc::new(Bar::default()),
    }
}

/// A progress bar that counts to `total`, shown if stderr is a terminal and not quiet.
pub(super) fn counter(what: &'static str, total: usize) -> ProgressBar {
    let target = match log::is_quiet() {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    };
    let bar = ProgressBar::with_draw_target(Some(total as u64), target).with_message(what);
    let bar = match ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    // Now, not when the first part is done.
    bar.tick();
    bar
}

/// Prints the statistics of a generation on stderr.
pub(super) fn show_stats(generation: &Generation) {
    let stats = &generation.stats;
    let seconds = stats.decode.as_secs_f64();
    let speedup = match stats.speedup() {
        Some(speedup) => format!("{speedup:.2}x over plain decoding"),
        None if stats.drafted == 0 => "none: nothing was drafted".into(),
        None if stats.accepted == 0 => "none: no drafted token was accepted".into(),
        None if stats.new_tokens < Stats::MIN_COMPARED => {
            "unknown: the answer is too short to tell".into()
        }
        None => "unknown: no step without a draft was measured".into(),
    };
    let acceptance = match stats.drafted {
        0 => "nothing was drafted".into(),
        drafted => format!(
            "{:.0}% of {drafted} drafted tokens",
            100.0 * stats.acceptance_rate()
        ),
    };
    let block = format!(
        "\nprompt      {} tokens, prefill in {:.2} s\n\
         output      {} tokens in {seconds:.2} s, {:.1} tokens/s\n\
         steps       {}, {:.2} tokens each\n\
         acceptance  {acceptance}\n\
         sources     {}\n\
         speedup     {speedup}\n",
        stats.prompt_tokens,
        stats.prefill.as_secs_f64(),
        stats.new_tokens,
        stats.tokens_per_second(),
        stats.steps,
        stats.tokens_per_step(),
        sources(generation),
    );
    let _ = io::stderr().write_all(block.as_bytes());
}

/// The number of tokens from each source.
fn sources(generation: &Generation) -> String {
    let mut counts = generation.tokens_by_source();
    counts.sort_by_key(|count| std::cmp::Reverse(count.1));
    let shown = counts
        .iter()
        .map(|(source, count)| format!("{source} {count}"));
    shown.collect::<Vec<_>>().join(", ")
}
