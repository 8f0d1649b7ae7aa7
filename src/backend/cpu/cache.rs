//! Keys and values of one sequence, in pages of 64 positions.
//!
//! Of each layer and head a page holds first the keys, element by element (`[element][position]`, so that one vector
//! holds an element of sixteen positions), then the values (`[position][element]`). Elements are filled up with
//! zeros to a multiple of sixteen. In eight bits, each position's key and value of a head have a scale.

use std::sync::Arc;

use super::math::load_some;
use super::memory::{Buffer, Plain, Reserve, Shared};
use super::simd::{LANES, Simd};
use crate::backend::AttentionShape;
use crate::error::Result;

/// Positions of a page.
pub(super) const PAGE: usize = 64;

/// How the cache stores a number.
pub(super) trait Element: Plain {
    const ZERO: Self;
    /// Elements of the scale that a position's keys, or values, of one head have; 0: they have none.
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

/// The largest number in half precision.
const LARGEST_F16: f32 = 65504.0;

/// Half precision.
impl Element for u16 {
    const ZERO: Self = 0;

    #[inline(always)]
    fn load<S: Simd>(values: &[u16; LANES]) -> S::Floats {
        S::load_f16(values)
    }
    #[inline(always)]
    fn store<S: Simd>(vector: S::Floats, values: &mut [u16; LANES]) {
        // An infinite value would spoil all rows that read its page, even those that don't see it.
        let bounded = S::max(
            S::splat(-LARGEST_F16),
            S::min(S::splat(LARGEST_F16), vector),
        );
        S::store_f16(bounded, values);
    }
}

/// What is smaller is nothing in eight bits: the inverse of its scale would be infinite.
const SMALLEST_SCALED: f32 = 1e-30;

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
        S::store_bytes(S::round(vector), values);
    }
    #[inline(always)]
    fn scale<S: Simd>(values: &[f32]) -> (f32, f32) {
        let (mut largest, mut broken) = (S::splat(0.0), S::splat(0.0));
        for values in values.chunks(LANES) {
            let x = load_some::<S>(values);
            largest = S::max(largest, S::max(x, S::sub(S::splat(0.0), x)));
            broken = S::fma(x, S::splat(0.0), broken);
        }
        // Zero, or NaN where any number is none: that must stay to be seen.
        let broken = S::sum(broken);
        match S::largest(largest) {
            largest if largest >= SMALLEST_SCALED => (largest / 127.0 + broken, 127.0 / largest),
            _ => (broken, 0.0),
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

/// Where the parts of a page lie: of each layer and head the keys, their scales, the values, and their scales.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    kv_heads: usize,
    /// A head's elements, filled up.
    pub(super) padded: usize,
    /// Elements of a scale.
    scale: usize,
}

impl Layout {
    fn new<T: Element>(shape: &AttentionShape) -> Self {
        Self {
            kv_heads: shape.kv_heads,
            padded: shape.head_dim.next_multiple_of(LANES),
            scale: T::SCALE,
        }
    }

    /// Elements of a page's keys, or values, of one layer and head, without their scales.
    fn unscaled(&self) -> usize {
        PAGE * self.padded
    }

    /// With their scales.
    fn part(&self) -> usize {
        self.unscaled() + PAGE * self.scale
    }

    /// Where the keys of a layer and head begin; their values follow.
    fn start(&self, layer: usize, head: usize) -> usize {
        2 * self.part() * (layer * self.kv_heads + head)
    }

    /// Where an element of a position's key lies.
    pub(super) fn key(&self, layer: usize, head: usize, place: usize, element: usize) -> usize {
        self.start(layer, head) + element * PAGE + place
    }

    /// Where an element of a position's value lies.
    pub(super) fn value(&self, layer: usize, head: usize, place: usize, element: usize) -> usize {
        self.start(layer, head) + self.part() + place * self.padded + element
    }

    /// Where the scales of a position's key and value begin.
    pub(super) fn scales(&self, layer: usize, head: usize, place: usize) -> [usize; 2] {
        let key = self.start(layer, head) + self.unscaled() + place * self.scale;
        [key, key + self.part()]
    }

    /// Where everything of a position lies, in all layers.
    fn places(self, layers: usize, place: usize) -> impl Iterator<Item = usize> {
        let heads = (0..layers).flat_map(move |l| (0..self.kv_heads).map(move |h| (l, h)));
        heads.flat_map(move |(layer, head)| {
            let elements = (0..self.padded).flat_map(move |element| {
                [
                    self.key(layer, head, place, element),
                    self.value(layer, head, place, element),
                ]
            });
            let scales = self.scales(layer, head, place).into_iter();
            elements.chain(scales.flat_map(move |scale| scale..scale + self.scale))
        })
    }
}

/// What a page holds of one layer and head.
pub(super) struct Head<'a, T> {
    /// `[element][position]`, vector by vector.
    pub(super) keys: &'a [[T; LANES]],
    pub(super) key_scales: &'a [T],
    /// `[position][element]`, vector by vector.
    pub(super) values: &'a [[T; LANES]],
    pub(super) value_scales: &'a [T],
}

/// Pages that a sequence asks the system for at a time: enough that their memory comes in huge pages, whose addresses
/// the processor can keep at hand.
const RESERVED_PAGES: usize = 16;

/// The pages of one sequence. Those that several sequences share are copied before one writes to them.
pub(super) struct Cache<T> {
    layers: usize,
    pub(super) layout: Layout,
    pages: Vec<Arc<Buffer<T>>>,
    memory: Reserve,
}

impl<T: Element> Cache<T> {
    pub(super) fn new(layers: usize, shape: &AttentionShape) -> Self {
        Self::with_pages(layers, Layout::new::<T>(shape), Vec::new())
    }

    fn with_pages(layers: usize, layout: Layout, pages: Vec<Arc<Buffer<T>>>) -> Self {
        let page = layout.start(layers, 0) * size_of::<T>();
        Self {
            layers,
            layout,
            pages,
            memory: Reserve::new(RESERVED_PAGES * page),
        }
    }

    /// Shares the pages of the first `length` positions.
    pub(super) fn fork(&self, length: usize) -> Self {
        let pages = self.pages[..length.div_ceil(PAGE)].to_vec();
        Self::with_pages(self.layers, self.layout, pages)
    }

    /// Makes the positions from `past` on, `rows` of them, this sequence's own to write.
    pub(super) fn make_room(&mut self, past: usize, rows: usize) -> Result<()> {
        let wanted = (past + rows).div_ceil(PAGE);
        let elements = self.layout.start(self.layers, 0);
        let memory = &mut self.memory;
        while self.pages.len() < wanted {
            self.pages.push(Arc::new(memory.zeroed(elements)?));
        }
        for page in &mut self.pages[past / PAGE..wanted] {
            if Arc::get_mut(page).is_none() {
                // In memory of its own: such copies come and go, and must not keep a chunk alive.
                let mut own = Reserve::new(0).zeroed(elements)?;
                own.as_mut_slice().copy_from_slice(page.as_slice());
                *page = Arc::new(own);
            }
        }
        Ok(())
    }

    /// Of the positions from `past` on, moves those at these places, which ascend, to the front.
    pub(super) fn keep(&mut self, past: usize, path: &[usize]) -> Result<()> {
        self.make_room(past, path.len())?;
        for (to, from) in path.iter().enumerate() {
            if to != *from {
                self.move_position(past + from, past + to);
            }
        }
        Ok(())
    }

    /// Copies the keys and values of a position over those of an earlier one, whose page is this sequence's own.
    fn move_position(&mut self, from: usize, to: usize) {
        let places = |position| self.layout.places(self.layers, position % PAGE);
        let source = self.pages[from / PAGE].as_slice();
        let moved: Vec<T> = places(from).map(|place| source[place]).collect();
        let Some(target) = Arc::get_mut(&mut self.pages[to / PAGE]) else {
            unreachable!("the page was made this sequence's own")
        };
        let target = target.as_mut_slice();
        for (place, moved) in places(to).zip(moved) {
            target[place] = moved;
        }
    }

    /// A page for several threads to write to.
    ///
    /// # Safety
    /// [`Self::make_room`] was called for the positions that are written, and nobody reads them meanwhile.
    #[inline(always)]
    pub(super) unsafe fn share_page(&self, page: usize) -> Shared<'_, T> {
        // SAFETY: the caller's promise.
        unsafe { self.pages[page].share() }
    }

    /// What a page holds of a layer and head.
    #[inline(always)]
    pub(super) fn page(&self, page: usize, layer: usize, head: usize) -> Head<'_, T> {
        let elements = self.pages[page].as_slice();
        let part = self.layout.part();
        let start = self.layout.start(layer, head);
        let (keys, values) = elements[start..start + 2 * part].split_at(part);
        let (keys, key_scales) = keys.split_at(self.layout.unscaled());
        let (values, value_scales) = values.split_at(self.layout.unscaled());
        Head {
            keys: keys.as_chunks().0,
            key_scales,
            values: values.as_chunks().0,
            value_scales,
        }
    }
}
