//! Before attention: norms and rotary embedding of queries and keys, and appending keys and values to the cache.

use super::super::cache::{Cache, Element, PAGE};
use super::super::math::load_some;
use super::super::memory::{Scratch, UnsafeSlice};
use super::super::rows::{NormWeights, Rows};
use super::super::simd::{LANES, Simd};
use super::super::tier::Kernel;
use super::{LayerAttention, MAX_HEAD_ELEMENTS, Rotation};
use crate::{KeysValues, Pairing, Segment};

/// What is done to a head before it is used.
#[derive(Clone, Copy)]
struct Preparation<'a> {
    norm: Option<NormWeights<'a>>,
    rotation: Option<Rotation<'a>>,
    /// Whether it is rotated first.
    rotated_first: bool,
}

impl Preparation<'_> {
    /// Prepares and scales a head of a row.
    #[inline(always)]
    fn run<S: Simd>(self, x: &[f32], row: usize, scale: f32, output: &mut [f32]) {
        match (self.norm, self.rotated_first) {
            (Some(norm), false) => {
                norm.apply::<S>(x, output);
                self.rotate(row, output);
            }
            (Some(norm), true) => {
                let mut rotated = [0.0; MAX_HEAD_ELEMENTS];
                let rotated = &mut rotated[..x.len()];
                rotated.copy_from_slice(x);
                self.rotate(row, rotated);
                norm.apply::<S>(rotated, output);
            }
            (None, _) => {
                output.copy_from_slice(x);
                self.rotate(row, output);
            }
        }
        for x in output {
            *x *= scale;
        }
    }

    #[inline(always)]
    fn rotate(self, row: usize, x: &mut [f32]) {
        if let Some(rotation) = self.rotation {
            let angles = &rotation.angles[row * rotation.pairs..][..rotation.pairs];
            rotate(x, angles, rotation.pairing);
        }
    }
}

/// Rotates a head's pairs (2104.09864).
#[inline(always)]
fn rotate(x: &mut [f32], angles: &[(f32, f32)], pairing: Pairing) {
    let rotated = |x: f32, y: f32, (cos, sin): (f32, f32)| {
        (x.mul_add(cos, -(y * sin)), y.mul_add(cos, x * sin))
    };
    match pairing {
        Pairing::Halves => {
            let (first, second) = x.split_at_mut(angles.len());
            for ((x, y), angle) in first.iter_mut().zip(second).zip(angles) {
                (*x, *y) = rotated(*x, *y, *angle);
            }
        }
        Pairing::Interleaved => {
            for (pair, angle) in x.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
                (pair[0], pair[1]) = rotated(pair[0], pair[1], *angle);
            }
        }
    }
}

/// Prepares the queries of some rows, and writes their keys and values to the cache.
pub(super) struct Append<'a, T> {
    pub(super) attention: LayerAttention<'a>,
    pub(super) q: &'a Rows,
    pub(super) keys_values: &'a KeysValues<Rows>,
    pub(super) cache: &'a Cache<T>,
    pub(super) segment: Segment,
    /// Rows of the segment.
    pub(super) first: usize,
    pub(super) count: usize,
    /// `[rows of the step][heads][padded head]`
    pub(super) queries: UnsafeSlice<'a, f32>,
}

impl<T: Element> Kernel for Append<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let attention = self.attention;
        let (shape, rotation) = (attention.shape, attention.rotation);
        let prepare = |norm| Preparation {
            norm,
            rotation,
            rotated_first: attention.rotated_first,
        };
        let padded = self.cache.layout(attention.layer).padded;
        for index in self.first..self.first + self.count {
            let (row, slot) = (self.segment.first_row + index, self.segment.past + index);
            let factor = rotation.map_or(1.0, |rotation| rotation.query_factors[row]);
            for (head, x) in self.q.row(row).chunks(shape.head_dim).enumerate() {
                let start = (row * shape.heads + head) * padded;
                // SAFETY: every row is prepared by one thread.
                let query = unsafe { self.queries.slice_mut(start, padded) };
                let (query, padding) = query.split_at_mut(shape.head_dim);
                let scale = shape.scale * factor;
                prepare(attention.query_norm).run::<S>(x, row, scale, query);
                padding.fill(0.0);
            }
            let (keys, values) = match self.keys_values {
                KeysValues::Own(keys, values) => (keys, values),
                KeysValues::Same(keys) => (keys, keys),
                KeysValues::Borrowed => continue,
            };
            let mut scratch = Scratch::new(2 * shape.head_dim);
            let (key, normed) =
                scratch.values_mut()[..2 * shape.head_dim].split_at_mut(shape.head_dim);
            let (page, position) = (slot / PAGE, slot % PAGE);
            // SAFETY: the caller reserved the slots; each is written by one thread, and none reads it now.
            let page = unsafe { self.cache.page_to_write(page) };
            for head in 0..shape.kv_heads {
                let own = head * shape.head_dim..(head + 1) * shape.head_dim;
                let x = &keys.row(row)[own.clone()];
                prepare(attention.key_norm).run::<S>(x, row, 1.0, key);
                let mut value = &values.row(row)[own];
                if let Some(norm) = attention.value_norm {
                    norm.apply::<S>(value, normed);
                    value = normed;
                }
                // SAFETY: as above.
                unsafe { self.store::<S>(page, (head, position), key, value) };
            }
        }
    }
}

impl<T: Element> Append<'_, T> {
    /// Writes a position's key and value of a head.
    ///
    /// # Safety
    /// No other thread may be using the position.
    #[inline(always)]
    unsafe fn store<S: Simd>(
        &self,
        page: UnsafeSlice<'_, T>,
        (head, position): (usize, usize),
        key: &[f32],
        value: &[f32],
    ) {
        let layout = self.cache.layout(self.attention.layer);
        let [(key_scale, key_factor), (value_scale, value_factor)] =
            [T::scale::<S>(key), T::scale::<S>(value)];
        let mut stored = [[T::ZERO; LANES]; 2];
        for (chunk, (key, value)) in key.chunks(LANES).zip(value.chunks(LANES)).enumerate() {
            let scaled = |x, factor| S::mul(load_some::<S>(x), S::splat(factor));
            T::store::<S>(scaled(key, key_factor), &mut stored[0]);
            T::store::<S>(scaled(value, value_factor), &mut stored[1]);
            for lane in 0..key.len() {
                let element = chunk * LANES + lane;
                // SAFETY: the caller ensures it.
                unsafe {
                    page.write(layout.key(head, position, element), stored[0][lane]);
                    page.write(layout.value(head, position, element), stored[1][lane]);
                }
            }
        }
        let [key_offset, value_offset] = layout.scales(head, position);
        // SAFETY: as above.
        unsafe {
            T::store_scale(key_scale, page.slice_mut(key_offset, T::SCALE));
            T::store_scale(value_scale, page.slice_mut(value_offset, T::SCALE));
        }
    }
}
