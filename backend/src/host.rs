//! Results of a backend on the host.

/// Rows of f32 on the host. Their memory is reused when others replace them.
#[derive(Debug, Default)]
pub struct HostRows {
    /// May be longer than `length`.
    buffer: Vec<f32>,
    length: usize,
}

impl HostRows {
    /// All elements, row after row.
    pub fn values(&self) -> &[f32] {
        &self.buffer[..self.length]
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Appends rows.
    pub fn push(&mut self, rows: &[f32]) {
        self.buffer.truncate(self.length);
        self.buffer.extend_from_slice(rows);
        self.length = self.buffer.len();
    }

    /// Appends the first `length` elements of a buffer. The first rows are not copied: their memory is swapped with the
    /// buffer's.
    pub fn take(&mut self, buffer: &mut Vec<f32>, length: usize) {
        if self.length == 0 {
            std::mem::swap(&mut self.buffer, buffer);
            self.length = length;
        } else {
            self.push(&buffer[..length]);
        }
    }

    /// The elements.
    pub fn into_vec(mut self) -> Vec<f32> {
        self.buffer.truncate(self.length);
        self.buffer
    }
}
