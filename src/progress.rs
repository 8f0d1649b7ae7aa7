//! Progress of long tasks (downloads, loading).

/// Receives the progress of long tasks, one task at a time. The default methods do nothing.
pub trait Progress: Send + Sync {
    /// A task starts: its label, and its size in bytes if known.
    fn begin(&self, _what: &str, _total: Option<u64>) {}
    /// This many more bytes are done.
    fn advance(&self, _bytes: u64) {}
    /// The task has ended.
    fn end(&self) {}
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {}
