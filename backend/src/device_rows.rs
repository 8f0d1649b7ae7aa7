//! Rows that stay where they were computed.

use std::fmt;

use crate::error::Result;
use crate::host::HostRows;

/// Rows on a device, of which the host asks for what it needs: for an argmax it needs no row.
pub trait DeviceRows: Send + Sync + fmt::Debug {
    /// Number of rows.
    fn len(&self) -> usize;

    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends all rows to those on the host.
    fn read(&self, rows: &mut HostRows) -> Result<()>;

    /// Of each row the index of its largest value, and that value.
    fn argmax(&self) -> Result<Vec<(u32, f32)>>;
}
