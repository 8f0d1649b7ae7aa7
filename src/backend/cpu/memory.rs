//! Memory for weights and caches: pages of the system's own, huge ones where it has them.

use memmap2::MmapMut;

use crate::error::{Error, Result};

/// Plain numbers, for which every pattern of bits is a value.
///
/// # Safety
/// Holds for types without padding whose fields are integers or floats, all-zero bits being a value.
pub(super) unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: numbers.
unsafe impl Plain for u16 {}
// SAFETY: numbers.
unsafe impl Plain for f32 {}
// SAFETY: an array of numbers has no padding.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// A fixed number of elements, at first all zero.
pub(super) struct Buffer<T> {
    map: MmapMut,
    length: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// So many zeros.
    pub(super) fn zeroed(length: usize) -> Result<Self> {
        let bytes = length.checked_mul(size_of::<T>());
        let map = bytes
            .ok_or(std::io::ErrorKind::OutOfMemory.into())
            .and_then(|bytes| MmapMut::map_anon(bytes.max(1)))
            .map_err(|error| Error::OutOfMemory {
                reason: format!(
                    "{length} elements of {} bytes: {error}; use a smaller model or a coarser quantization",
                    size_of::<T>()
                ),
            })?;
        // A wish: systems without huge pages do without.
        #[cfg(target_os = "linux")]
        drop(map.advise(memmap2::Advice::HugePage));
        Ok(Self {
            map,
            length,
            element: std::marker::PhantomData,
        })
    }

    pub(super) fn as_slice(&self) -> &[T] {
        // SAFETY: the map is page-aligned, holds `length` elements, and every pattern of bits is one (`Plain`).
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.length) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.length) }
    }

    /// For several threads to write to.
    ///
    /// # Safety
    /// Elements that are written must not be read or written by anybody else meanwhile.
    pub(super) unsafe fn share(&self) -> Shared<'_, T> {
        Shared {
            start: self.map.as_ptr().cast_mut().cast(),
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
