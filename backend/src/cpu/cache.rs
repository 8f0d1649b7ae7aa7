//! Keys and values of one sequence, in pages of 64 positions.
//!
//! For each layer and head, a page holds first the keys, element by element (`[element][position]`, so that one vector
//! holds an element of sixteen positions), then the values (`[position][element]`). Elements are padded with zeros to a
//! multiple of sixteen. In eight bits, each position's key and value of a head have a scale.

use std::sync::Arc;

use bytemuck::Pod;

use super::math::load_some;
use super::memory::{Arena, Buffer, UnsafeSlice};
use super::simd::{LANES, Simd};
use crate::AttentionShape;
use crate::error::Result;

/// Positions of a page.
pub(super) const PAGE: usize = 64;

/// How the cache stores a number.
pub(super) trait Element: Pod + Send + Sync {
    const ZERO: Self;
    /// The number of elements that a scale takes: each position's key or value of a head has one. 0 without scales.
    const SCALE: usize = 0;

    fn load<S: Simd>(values: &[Self; LANES]) -> S::Floats;
    fn store<S: Simd>(vector: S::Floats, values: &mut [Self; LANES]);
    /// The scale of a head's keys or values, and its inverse, by which they are multiplied before they are stored.
    #[inline(always)]
    fn scale<S: Simd>(_values: &[f32]) -> (f32, f32) {
        (1.0, 1.0)
    }
    /// Writes a scale.
    #[inline(always)]
    fn store_scale(_scale: f32, _stored: &mut [Self]) {}
    /// The scales of sixteen positions.
    #[inline(always)]
    fn load_scales<S: Simd>(_stored: &[Self]) -> S::Floats {
        S::splat(1.0)
    }
}

impl Element for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn load<S: Simd>(values: &[f32; LANES]) -> S::Floats {
        S::load(values)
    }
    #[inline(always)]
    fn store<S: Simd>(vector: S::Floats, values: &mut [f32; LANES]) {
        S::store(vector, values);
    }
}

/// The largest finite number in half precision.
const MAX_F16: f32 = 65504.0;

/// Half precision.
impl Element for u16 {
    const ZERO: Self = 0;

    #[inline(always)]
    fn load<S: Simd>(values: &[u16; LANES]) -> S::Floats {
        S::load_f16(values)
    }
    #[inline(always)]
    fn store<S: Simd>(vector: S::Floats, values: &mut [u16; LANES]) {
        // An infinity would turn all rows that attend to its page into NaN, even those that mask it out.
        let bounded = S::max(S::splat(-MAX_F16), S::min(S::splat(MAX_F16), vector));
        S::store_f16(bounded, values);
    }
}

/// Smaller values are stored as zeros: the inverse of their scale would be infinite.
const MIN_SCALED: f32 = 1e-30;

/// Eight bits and a scale in single precision.
impl Element for i8 {
    const ZERO: Self = 0;
    const SCALE: usize = size_of::<f32>();

    #[inline(always)]
    fn load<S: Simd>(values: &[i8; LANES]) -> S::Floats {
        S::load_i8(values)
    }
    #[inline(always)]
    fn store<S: Simd>(vector: S::Floats, values: &mut [i8; LANES]) {
        S::store_i8(S::round(vector), values);
    }
    #[inline(always)]
    fn scale<S: Simd>(values: &[f32]) -> (f32, f32) {
        let (mut largest, mut not_finite) = (S::splat(0.0), S::splat(0.0));
        for values in values.chunks(LANES) {
            let x = load_some::<S>(values);
            largest = S::max(largest, S::max(x, S::sub(S::splat(0.0), x)));
            not_finite = S::fma(x, S::splat(0.0), not_finite);
        }
        // Zero, or NaN if a value is NaN or infinite: NaN must propagate.
        let not_finite = S::sum(not_finite);
        match S::largest(largest) {
            largest if largest >= MIN_SCALED => (largest / 127.0 + not_finite, 127.0 / largest),
            _ => (not_finite, 0.0),
        }
    }
    #[inline(always)]
    fn store_scale(scale: f32, stored: &mut [i8]) {
        for (stored, byte) in stored.iter_mut().zip(scale.to_ne_bytes()) {
            *stored = byte as i8;
        }
    }
    #[inline(always)]
    fn load_scales<S: Simd>(stored: &[i8]) -> S::Floats {
        let mut scales = [0.0; LANES];
        for (scale, bytes) in scales.iter_mut().zip(stored.as_chunks::<4>().0) {
            let [a, b, c, d] = *bytes;
            *scale = f32::from_ne_bytes([a as u8, b as u8, c as u8, d as u8]);
        }
        S::load(&scales)
    }
}

/// Offsets of a layer in a page: for each head the keys, their scales, the values, and their scales.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// The offset of the layer.
    first: usize,
    kv_heads: usize,
    /// A head's elements, padded.
    pub(super) padded: usize,
    /// Elements of a scale.
    scale: usize,
}

impl Layout {
    /// That of a layer at an offset.
    fn new<T: Element>(shape: &AttentionShape, first: usize) -> Self {
        Self {
            first,
            kv_heads: shape.kv_heads,
            padded: shape.head_dim.next_multiple_of(LANES),
            scale: T::SCALE,
        }
    }

    /// Those of layers one after the other.
    fn of_layers<T: Element>(shapes: &[AttentionShape]) -> Arc<[Self]> {
        let next = |first: &mut usize, shape| {
            let layout = Self::new::<T>(shape, *first);
            *first = layout.end();
            Some(layout)
        };
        shapes.iter().scan(0, next).collect()
    }

    /// The offset of what follows the layer.
    fn end(&self) -> usize {
        self.start(self.kv_heads)
    }

    /// Elements of a page's keys, or values, of one head, without their scales.
    fn unscaled(&self) -> usize {
        PAGE * self.padded
    }

    /// The same with their scales.
    fn scaled(&self) -> usize {
        self.unscaled() + PAGE * self.scale
    }

    /// The offset of the keys of a head; their values follow.
    fn start(&self, head: usize) -> usize {
        self.first + 2 * self.scaled() * head
    }

    /// The offset of an element of a position's key. Positions are counted within the page.
    pub(super) fn key(&self, head: usize, position: usize, element: usize) -> usize {
        self.start(head) + element * PAGE + position
    }

    /// The offset of an element of a position's value.
    pub(super) fn value(&self, head: usize, position: usize, element: usize) -> usize {
        self.start(head) + self.scaled() + position * self.padded + element
    }

    /// The offsets of the scales of a position's key and value.
    pub(super) fn scales(&self, head: usize, position: usize) -> [usize; 2] {
        let key = self.start(head) + self.unscaled() + position * self.scale;
        [key, key + self.scaled()]
    }

    /// The offsets of all elements and scales of a position.
    fn offsets(self, position: usize) -> impl Iterator<Item = usize> {
        (0..self.kv_heads).flat_map(move |head| {
            let elements = (0..self.padded).flat_map(move |element| {
                [
                    self.key(head, position, element),
                    self.value(head, position, element),
                ]
            });
            let scales = self.scales(head, position).into_iter();
            elements.chain(scales.flat_map(move |scale| scale..scale + self.scale))
        })
    }
}

/// The part of a page for one layer and head.
pub(super) struct Head<'a, T> {
    /// `[element][position]`, vector by vector.
    pub(super) keys: &'a [[T; LANES]],
    pub(super) key_scales: &'a [T],
    /// `[position][element]`, vector by vector.
    pub(super) values: &'a [[T; LANES]],
    pub(super) value_scales: &'a [T],
}

/// The number of pages that a sequence allocates at a time: enough for huge pages, which need fewer TLB entries.
const PAGES_PER_CHUNK: usize = 16;

/// The pages of one sequence. Pages that several sequences share are copied before one writes to them.
pub(super) struct Cache<T> {
    /// A layout a layer.
    layouts: Arc<[Layout]>,
    pages: Vec<Arc<Buffer<T>>>,
    arena: Arena,
}

impl<T: Element> Cache<T> {
    /// Without tokens, for layers of these shapes.
    pub(super) fn new(layers: &[AttentionShape]) -> Self {
        Self::with_pages(Layout::of_layers::<T>(layers), Vec::new())
    }

    fn with_pages(layouts: Arc<[Layout]>, pages: Vec<Arc<Buffer<T>>>) -> Self {
        let mut cache = Self {
            layouts,
            pages,
            arena: Arena::new(0),
        };
        let page = cache.page_elements() * size_of::<T>();
        cache.arena = Arena::new(PAGES_PER_CHUNK * page);
        cache
    }

    /// Elements of a page.
    fn page_elements(&self) -> usize {
        self.layouts.last().map_or(0, Layout::end)
    }

    /// The layout of a layer.
    #[inline(always)]
    pub(super) fn layout(&self, layer: usize) -> Layout {
        self.layouts[layer]
    }

    /// Shares the pages of the first `length` positions.
    pub(super) fn fork(&self, length: usize) -> Self {
        let pages = self.pages[..length.div_ceil(PAGE)].to_vec();
        Self::with_pages(self.layouts.clone(), pages)
    }

    /// Allocates `rows` positions from `past` on, on pages that no other sequence shares.
    pub(super) fn reserve(&mut self, past: usize, rows: usize) -> Result<()> {
        let needed = (past + rows).div_ceil(PAGE);
        let elements = self.page_elements();
        while self.pages.len() < needed {
            self.pages.push(Arc::new(self.arena.zeroed(elements)?));
        }
        for page in &mut self.pages[past / PAGE..needed] {
            if Arc::get_mut(page).is_none() {
                // Outside the arena: such copies are short-lived, and must not keep a chunk alive.
                let mut own = Arena::new(0).zeroed(elements)?;
                own.as_mut_slice().copy_from_slice(page.as_slice());
                *page = Arc::new(own);
            }
        }
        Ok(())
    }

    /// Moves the positions `past + path[i]` to `past + i`; `path` ascends.
    pub(super) fn accept(&mut self, past: usize, path: &[usize]) -> Result<()> {
        self.reserve(past, path.len())?;
        for (to, from) in path.iter().enumerate() {
            if to != *from {
                self.move_position(past + from, past + to);
            }
        }
        Ok(())
    }

    /// Copies the keys and values of a position over those of an earlier one, whose page no other sequence shares.
    fn move_position(&mut self, from: usize, to: usize) {
        let layouts = self.layouts.clone();
        let offsets = |position| {
            let layouts = layouts.iter();
            layouts.flat_map(move |layout| layout.offsets(position % PAGE))
        };
        let source = self.pages[from / PAGE].as_slice();
        let moved: Vec<T> = offsets(from).map(|offset| source[offset]).collect();
        let Some(target) = Arc::get_mut(&mut self.pages[to / PAGE]) else {
            unreachable!("the page is not shared")
        };
        let target = target.as_mut_slice();
        for (offset, moved) in offsets(to).zip(moved) {
            target[offset] = moved;
        }
    }

    /// A page that several threads write to.
    ///
    /// # Safety
    /// [`Self::reserve`] was called for the positions that are written, and no other thread reads them meanwhile.
    #[inline(always)]
    pub(super) unsafe fn page_to_write(&self, page: usize) -> UnsafeSlice<'_, T> {
        // SAFETY: the caller ensures it.
        unsafe { self.pages[page].as_unsafe_slice() }
    }

    /// The part of a page for a layer and head.
    #[inline(always)]
    pub(super) fn page(&self, page: usize, layer: usize, head: usize) -> Head<'_, T> {
        let elements = self.pages[page].as_slice();
        let layout = &self.layouts[layer];
        let (size, start) = (layout.scaled(), layout.start(head));
        let (keys, values) = elements[start..start + 2 * size].split_at(size);
        let (keys, key_scales) = keys.split_at(layout.unscaled());
        let (values, value_scales) = values.split_at(layout.unscaled());
        Head {
            keys: keys.as_chunks().0,
            key_scales,
            values: values.as_chunks().0,
            value_scales,
        }
    }
}
