//! How much the programs tell on stderr besides errors, and in which form: sentences, as errors are, for a person at a
//! terminal; records with time and origin for a server and wherever `RUST_LOG` asks for them; JSON by `SPECDEC_LOG_FORMAT`.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::terminal::colours;
use crate::error::{Error, Result};

/// How much to tell.
#[derive(Debug, Default, clap::Args)]
pub(super) struct LogArgs {
    /// Print informational messages on stderr; -vv prints debug messages, too
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Print only errors on stderr: no warnings and no progress bars
    #[arg(short, long, global = true)]
    quiet: bool,
}

/// In which form, where the environment names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Sentences,
    Records,
}

/// Process-wide, as is the subscriber.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Whether only errors are told.
pub(super) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

impl LogArgs {
    /// Sends log records to stderr: flags go before `RUST_LOG`, which goes before warnings.
    pub(super) fn start(&self, form: Form) -> Result<()> {
        QUIET.store(self.quiet, Ordering::Relaxed);
        let variable = |name| std::env::var(name).unwrap_or_default();
        let named = variable("RUST_LOG");
        let directives = match (self.quiet, self.verbose) {
            (true, _) => "error",
            (false, 0) if named.is_empty() => "warn",
            (false, 0) => &named,
            (false, 1) => "info",
            (false, _) => "info,specdec_rs=debug,specdec_backend=debug",
        };
        let filter = EnvFilter::builder().parse(directives).map_err(|_| {
            let expected = "a filter such as info or specdec_rs=debug";
            Error::invalid("RUST_LOG", directives, expected)
        })?;
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(colours(&io::stderr()));
        let form = match named.is_empty() {
            true => form,
            false => Form::Records,
        };
        let format = variable("SPECDEC_LOG_FORMAT");
        // If this process has a subscriber already, it keeps receiving the records.
        let _ = match (format.as_str(), form) {
            ("" | "text", Form::Sentences) => logs.event_format(Sentences).try_init(),
            ("" | "text", Form::Records) => logs.try_init(),
            ("json", _) => logs.json().try_init(),
            _ => return Err(Error::invalid("SPECDEC_LOG_FORMAT", format, "text or json")),
        };
        Ok(())
    }
}

/// `specdec: warning: ...`, beside the `specdec: ...` of errors.
struct Sentences;

impl<S, N> FormatEvent<S, N> for Sentences
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        write!(writer, "specdec: {level}: ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
