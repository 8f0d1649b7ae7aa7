//! Memory for weights and caches: the system's pages, huge ones if it has them.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use memmap2::{Mmap, MmapMut, MmapRaw};

use crate::error::{Error, Result};

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Elements of unspecified values that a thread needs for a moment: once it has had that many, it allocates nothing. (Of two that
/// live at the same time, the second is allocated.)
pub(super) struct Scratch(Vec<f32>);

impl Scratch {
    pub(super) fn new(length: usize) -> Self {
        let mut values = SCRATCH.take();
        values.resize(length.max(values.len()), 0.0);
        Self(values)
    }

    /// The elements: `length` or more.
    #[inline(always)]
    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.0));
    }
}

/// Alignment of a buffer: a cache line.
pub(super) const ALIGNMENT: usize = 64;

/// Memory for buffers of about the same lifetime, taken from the system in chunks. A huge page needs an address range
/// that is mapped as a whole when it is first touched, and most matrices are smaller. Untouched memory costs nothing.
pub(super) struct Arena {
    /// The size of a chunk in bytes; larger buffers have chunks of their own.
    chunk_bytes: usize,
    /// The chunk that buffers are taken from, and how many of its bytes are taken.
    current: Option<(Arc<MmapRaw>, usize)>,
}

impl Arena {
    pub(super) fn new(chunk_bytes: usize) -> Self {
        Self {
            chunk_bytes,
            current: None,
        }
    }

    /// A buffer of `length` zeros.
    pub(super) fn zeroed<T: Pod>(&mut self, length: usize) -> Result<Buffer<T>> {
        let bytes = length
            .checked_mul(size_of::<T>())
            .and_then(|bytes| bytes.checked_next_multiple_of(ALIGNMENT));
        let taken = bytes
            .ok_or_else(|| std::io::ErrorKind::OutOfMemory.into())
            .and_then(|bytes| self.take(bytes));
        let (chunk, start) = taken.map_err(|error| Error::OutOfMemory {
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

    /// Takes `bytes` bytes that were never taken before; returns their chunk and their offset in it.
    fn take(&mut self, bytes: usize) -> std::io::Result<(Arc<MmapRaw>, usize)> {
        let (chunk, used) = match self.current.take() {
            Some((chunk, used)) if bytes <= chunk.len() - used => (chunk, used),
            _ => (Arc::new(map(bytes.max(self.chunk_bytes).max(1))?), 0),
        };
        self.current = Some((chunk.clone(), used + bytes));
        Ok((chunk, used))
    }
}

/// Maps zeroed pages.
fn map(bytes: usize) -> std::io::Result<MmapRaw> {
    let map = MmapMut::map_anon(bytes)?;
    // Only a hint: a system without huge pages ignores it.
    #[cfg(target_os = "linux")]
    drop(map.advise(memmap2::Advice::HugePage));
    Ok(map.into())
}

/// A fixed number of elements, initially zero.
pub(super) struct Buffer<T> {
    /// This buffer alone owns the `length` elements from the byte `start` on.
    chunk: Arc<MmapRaw>,
    start: usize,
    length: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: Pod> Buffer<T> {
    fn elements(&self) -> *mut T {
        debug_assert!(self.start + self.bytes() <= self.chunk.len());
        self.chunk.as_mut_ptr().wrapping_add(self.start).cast()
    }

    pub(super) fn as_slice(&self) -> &[T] {
        // SAFETY: the chunk holds `length` aligned elements there, which this buffer alone owns; any bits are a value.
        unsafe { std::slice::from_raw_parts(self.elements(), self.length) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.elements(), self.length) }
    }

    /// The elements, which several threads may write to.
    ///
    /// # Safety
    /// Elements that one thread writes must not be read or written by another at the same time.
    pub(super) unsafe fn as_unsafe_slice(&self) -> UnsafeSlice<'_, T> {
        UnsafeSlice {
            start: self.elements(),
            length: self.length,
            slice: std::marker::PhantomData,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.length * size_of::<T>()
    }

    /// The elements, which are not written any more.
    pub(super) fn freeze(self) -> Frozen<T> {
        let (start, length) = (self.start, self.length);
        Frozen {
            memory: FrozenMemory::Anonymous(self.chunk),
            start,
            length,
            element: std::marker::PhantomData,
        }
    }
}

/// A fixed number of elements that are never written again. Clones share them.
pub(super) struct Frozen<T> {
    memory: FrozenMemory,
    /// The byte of `memory` at which the first element starts, a multiple of [`ALIGNMENT`].
    start: usize,
    length: usize,
    element: std::marker::PhantomData<T>,
}

#[derive(Clone)]
enum FrozenMemory {
    /// Nothing writes to the elements' part of it.
    Anonymous(Arc<MmapRaw>),
    File(Arc<Mmap>),
}

impl<T> Clone for Frozen<T> {
    fn clone(&self) -> Self {
        Self {
            memory: self.memory.clone(),
            ..*self
        }
    }
}

impl<T: Pod> Frozen<T> {
    /// The elements in these bytes of a mapped file; `None` if they don't lie within it, are not aligned, or end within an element.
    pub(super) fn of_file(map: &Arc<Mmap>, bytes: Range<usize>) -> Option<Self> {
        let is_whole = bytes.start.is_multiple_of(ALIGNMENT)
            && bytes.start <= bytes.end
            && bytes.end <= map.len()
            && bytes.len().is_multiple_of(size_of::<T>());
        is_whole.then(|| Self {
            memory: FrozenMemory::File(map.clone()),
            start: bytes.start,
            length: bytes.len() / size_of::<T>(),
            element: std::marker::PhantomData,
        })
    }

    pub(super) fn as_slice(&self) -> &[T] {
        let memory = match &self.memory {
            FrozenMemory::Anonymous(chunk) => chunk.as_ptr(),
            FrozenMemory::File(map) => map.as_ptr(),
        };
        // SAFETY: by construction, the memory holds `length` aligned elements there, which nothing writes to; any
        // bits are a value.
        unsafe { std::slice::from_raw_parts(memory.wrapping_add(self.start).cast(), self.length) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.length * size_of::<T>()
    }
}

/// A slice whose disjoint ranges are written by several threads at once.
#[derive(Clone, Copy)]
pub(super) struct UnsafeSlice<'a, T> {
    start: *mut T,
    length: usize,
    slice: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: the caller of `slice_mut` or `write` ensures that ranges do not overlap.
unsafe impl<T: Send> Send for UnsafeSlice<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for UnsafeSlice<'_, T> {}

impl<'a, T> UnsafeSlice<'a, T> {
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
    /// If the slice ends before them.
    ///
    /// # Safety
    /// No other reference to any of these elements may be in use.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "ranges are disjoint")]
    pub(super) unsafe fn slice_mut(&self, first: usize, count: usize) -> &mut [T] {
        assert!(
            first
                .checked_add(count)
                .is_some_and(|end| end <= self.length)
        );
        // SAFETY: the check keeps it within the slice; the caller ensures that it is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), count) }
    }

    /// Writes one element.
    ///
    /// # Panics
    /// If there is no such element.
    ///
    /// # Safety
    /// No reference to this element may be in use.
    #[inline(always)]
    pub(super) unsafe fn write(&self, index: usize, value: T) {
        assert!(index < self.length);
        // SAFETY: the check keeps it within the slice; the caller ensures that it is exclusive.
        unsafe { self.start.add(index).write(value) };
    }
}
