//! Progress on the terminal, for the command line and Python.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::progress::Progress;

/// How often a spinner turns, whose work reports nothing.
const TICK: Duration = Duration::from_millis(100);

/// A progress bar for downloads and loading, shown if stderr is a terminal.
#[derive(Default)]
pub(crate) struct Bar(Mutex<Option<ProgressBar>>);

impl Bar {
    fn with(&self, change: impl FnOnce(&mut Option<ProgressBar>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The end of a long label, which says more of a path than its start.
fn ending(label: &str) -> String {
    const LONGEST: usize = 48;
    let letters = label.chars().count();
    match letters > LONGEST {
        true => format!(
            "...{}",
            label
                .chars()
                .skip(letters - LONGEST + 3)
                .collect::<String>()
        ),
        false => label.to_owned(),
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, total: Option<u64>) {
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{msg} {wide_bar} {bytes}/{total_bytes} {eta}",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}"),
        };
        if total.is_none() {
            bar.enable_steady_tick(TICK);
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(ending(what));
        self.with(|current| *current = Some(bar));
    }

    fn advance(&self, bytes: u64) {
        self.with(|bar| bar.iter().for_each(|bar| bar.inc(bytes)));
    }

    fn end(&self) {
        self.with(|bar| {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        });
    }
}
