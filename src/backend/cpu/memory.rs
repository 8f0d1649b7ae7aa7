//! Memory for weights and caches: pages of the system's own, huge ones where it has them.

use std::sync::Arc;

use memmap2::{MmapMut, MmapRaw};

use crate::error::{Error, Result};

/// Plain numbers, for which every pattern of bits is a value.
///
/// # Safety
/// Holds for types without padding whose fields are integers or floats, all-zero bits being a value.
pub(super) unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: numbers.
unsafe impl Plain for i8 {}
// SAFETY: numbers.
unsafe impl Plain for u16 {}
// SAFETY: numbers.
unsafe impl Plain for f32 {}
// SAFETY: an array of numbers has no padding.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Where a buffer begins: at a line of the processor's cache.
const ALIGNMENT: usize = 64;

/// Memory for buffers that live about as long, taken from the system in chunks: a huge page needs a place that is
/// mapped as a whole when it is first touched, and most matrices are smaller. What is never touched costs nothing.
pub(super) struct Reserve {
    /// Bytes of a chunk; larger buffers have chunks of their own.
    chunk_bytes: usize,
    /// The chunk that buffers are taken from, and how much of it is.
    current: Option<(Arc<MmapRaw>, usize)>,
}

impl Reserve {
    pub(super) fn new(chunk_bytes: usize) -> Self {
        Self {
            chunk_bytes,
            current: None,
        }
    }

    /// So many zeros.
    pub(super) fn zeroed<T: Plain>(&mut self, length: usize) -> Result<Buffer<T>> {
        let bytes = length
            .checked_mul(size_of::<T>())
            .and_then(|bytes| bytes.checked_next_multiple_of(ALIGNMENT));
        let place = bytes
            .ok_or_else(|| std::io::ErrorKind::OutOfMemory.into())
            .and_then(|bytes| self.take(bytes));
        let (chunk, start) = place.map_err(|error| Error::OutOfMemory {
            reason: format!(
                "{length} elements of {} bytes: {error}; use a smaller model, a coarser quantization or a shorter context",
                size_of::<T>()
            ),
        })?;
        Ok(Buffer {
            chunk,
            start,
            length,
            element: std::marker::PhantomData,
        })
    }

    /// A place for so many bytes, which nobody had before.
    fn take(&mut self, bytes: usize) -> std::io::Result<(Arc<MmapRaw>, usize)> {
        let (chunk, used) = match self.current.take() {
            Some((chunk, used)) if bytes <= chunk.len() - used => (chunk, used),
            _ => (Arc::new(map(bytes.max(self.chunk_bytes).max(1))?), 0),
        };
        self.current = Some((chunk.clone(), used + bytes));
        Ok((chunk, used))
    }
}

/// Fresh zeros of the system's.
fn map(bytes: usize) -> std::io::Result<MmapRaw> {
    let map = MmapMut::map_anon(bytes)?;
    // A wish: systems without huge pages do without.
    #[cfg(target_os = "linux")]
    drop(map.advise(memmap2::Advice::HugePage));
    Ok(map.into())
}

/// A fixed number of elements, at first all zero.
pub(super) struct Buffer<T> {
    /// The `length` elements from the byte `start` on are this buffer's alone.
    chunk: Arc<MmapRaw>,
    start: usize,
    length: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    fn elements(&self) -> *mut T {
        debug_assert!(self.start + self.bytes() <= self.chunk.len());
        self.chunk.as_mut_ptr().wrapping_add(self.start).cast()
    }

    pub(super) fn as_slice(&self) -> &[T] {
        // SAFETY: `length` elements lie there, aligned, this buffer's alone; every pattern of bits is one (`Plain`).
        unsafe { std::slice::from_raw_parts(self.elements(), self.length) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.elements(), self.length) }
    }

    /// For several threads to write to.
    ///
    /// # Safety
    /// Elements that are written must not be read or written by anybody else meanwhile.
    pub(super) unsafe fn share(&self) -> Shared<'_, T> {
        Shared {
            start: self.elements(),
            length: self.length,
            slice: std::marker::PhantomData,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.length * size_of::<T>()
    }
}

/// A slice whose parts are written by several threads at once.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a, T> {
    start: *mut T,
    length: usize,
    slice: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: `part` puts the duty not to overlap on its caller.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            length: slice.len(),
            slice: std::marker::PhantomData,
        }
    }

    /// `count` elements from `first` on.
    ///
    /// # Panics
    /// If there are not so many.
    ///
    /// # Safety
    /// No other part that shares an element with this one may be in use.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "parts are disjoint")]
    pub(super) unsafe fn part(&self, first: usize, count: usize) -> &mut [T] {
        assert!(
            first
                .checked_add(count)
                .is_some_and(|end| end <= self.length)
        );
        // SAFETY: within the slice, by the check; exclusive, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), count) }
    }

    /// Writes one element.
    ///
    /// # Panics
    /// If there is no such element.
    ///
    /// # Safety
    /// Nobody else may be using this element.
    #[inline(always)]
    pub(super) unsafe fn write(&self, index: usize, value: T) {
        assert!(index < self.length);
        // SAFETY: within the slice, by the check; exclusive, by the caller's promise.
        unsafe { self.start.add(index).write(value) };
    }
}
