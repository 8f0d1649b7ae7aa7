//! Progress of long work (downloads, loading), told to whoever shows it.

/// Told how far a piece of long work has come. The default ignores it.
pub trait Progress: Send + Sync {
    /// A piece of work begins: what it is, and its size in bytes where known.
    fn begin(&self, _what: &str, _total: Option<u64>) {}
    /// So many more bytes are done.
    fn advance(&self, _bytes: u64) {}
    /// The piece of work has ended.
    fn end(&self) {}
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {}
