//! Keys and values of one sequence, in pages of 64 positions.
//!
//! Of each layer and head a page holds first the keys, element by element (`[element][position]`, so that one vector
//! holds an element of sixteen positions), then the values (`[position][element]`). Elements are filled up with
//! zeros to a multiple of sixteen.

use std::sync::Arc;

use half::f16;

use super::memory::{Buffer, Plain, Reserve, Shared};
use super::simd::{LANES, Simd};
use crate::backend::AttentionShape;
use crate::error::Result;

/// Positions of a page.
pub(super) const PAGE: usize = 64;

/// How the cache stores a number.
pub(super) trait Element: Plain {
    fn load<S: Simd>(values: &[Self; LANES]) -> S::Floats;
    fn store<S: Simd>(vector: S::Floats, values: &mut [Self; LANES]);
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn load<S: Simd>(values: &[f32; LANES]) -> S::Floats {
        S::load(values)
    }
    #[inline(always)]
    fn store<S: Simd>(vector: S::Floats, values: &mut [f32; LANES]) {
        S::store(vector, values);
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

/// Half precision.
impl Element for u16 {
    #[inline(always)]
    fn load<S: Simd>(values: &[u16; LANES]) -> S::Floats {
        S::load_f16(values)
    }
    #[inline(always)]
    fn store<S: Simd>(vector: S::Floats, values: &mut [u16; LANES]) {
        S::store_f16(vector, values);
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        f16::from_f32(value).to_bits()
    }
}

/// Where the parts of a page lie.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) kv_heads: usize,
    /// A head's elements, filled up.
    pub(super) padded: usize,
}

impl Layout {
    pub(super) fn new(shape: &AttentionShape) -> Self {
        Self {
            kv_heads: shape.kv_heads,
            padded: shape.head_dim.next_multiple_of(LANES),
        }
    }

    /// Elements of a page's keys, or values, of one layer and head.
    fn part(&self) -> usize {
        PAGE * self.padded
    }

    /// Where the keys of a layer and head begin; their values follow.
    pub(super) fn keys(&self, layer: usize, head: usize) -> usize {
        2 * self.part() * (layer * self.kv_heads + head)
    }

    pub(super) fn values(&self, layer: usize, head: usize) -> usize {
        self.keys(layer, head) + self.part()
    }
}

/// Pages that a sequence asks the system for at a time: enough that their memory comes in huge pages, whose addresses
/// the processor can keep at hand.
const RESERVED_PAGES: usize = 16;

/// The pages of one sequence. Those that several sequences share are copied before one writes to them.
pub(super) struct Cache<T> {
    /// Elements of a page.
    elements: usize,
    pub(super) layout: Layout,
    pages: Vec<Arc<Buffer<T>>>,
    memory: Reserve,
}

impl<T: Element> Cache<T> {
    pub(super) fn new(layers: usize, shape: &AttentionShape) -> Self {
        let layout = Layout::new(shape);
        Self::with_pages(layout.keys(layers, 0), layout, Vec::new())
    }

    fn with_pages(elements: usize, layout: Layout, pages: Vec<Arc<Buffer<T>>>) -> Self {
        Self {
            elements,
            layout,
            pages,
            memory: Reserve::new(RESERVED_PAGES * elements * size_of::<T>()),
        }
    }

    /// Shares the pages of the first `length` positions.
    pub(super) fn fork(&self, length: usize) -> Self {
        let pages = self.pages[..length.div_ceil(PAGE)].to_vec();
        Self::with_pages(self.elements, self.layout, pages)
    }

    /// Makes the positions from `past` on, `rows` of them, this sequence's own to write.
    pub(super) fn make_room(&mut self, past: usize, rows: usize) -> Result<()> {
        let wanted = (past + rows).div_ceil(PAGE);
        let Self {
            elements, memory, ..
        } = self;
        while self.pages.len() < wanted {
            self.pages.push(Arc::new(memory.zeroed(*elements)?));
        }
        for page in &mut self.pages[past / PAGE..wanted] {
            if Arc::get_mut(page).is_none() {
                let mut own = memory.zeroed(*elements)?;
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
        let Layout { padded, .. } = self.layout;
        let part = self.layout.part();
        // Where the elements of a position's keys and values lie in a part of keys or values.
        let key = |place: usize, element| element * PAGE + place;
        let value = |place: usize, element| place * padded + element;
        let parts = self.elements / (2 * part);
        let elements = (0..parts).flat_map(|index| (0..padded).map(move |e| (2 * index * part, e)));
        let source = self.pages[from / PAGE].as_slice();
        let moved: Vec<[T; 2]> = elements
            .clone()
            .map(|(keys, element)| {
                let place = from % PAGE;
                [
                    source[keys + key(place, element)],
                    source[keys + part + value(place, element)],
                ]
            })
            .collect();
        let target = &mut self.pages[to / PAGE];
        let Some(target) = Arc::get_mut(target) else {
            unreachable!("the page was made this sequence's own")
        };
        let target = target.as_mut_slice();
        for ((keys, element), [moved_key, moved_value]) in elements.zip(moved) {
            target[keys + key(to % PAGE, element)] = moved_key;
            target[keys + part + value(to % PAGE, element)] = moved_value;
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

    /// Keys (element by element) and values (position by position) of a page, vector by vector.
    #[inline(always)]
    pub(super) fn page(
        &self,
        page: usize,
        layer: usize,
        head: usize,
    ) -> (&[[T; LANES]], &[[T; LANES]]) {
        let elements = self.pages[page].as_slice();
        let part = self.layout.part();
        let start = self.layout.keys(layer, head);
        let (keys, values) = elements[start..start + 2 * part].split_at(part);
        (keys.as_chunks().0, values.as_chunks().0)
    }
}
