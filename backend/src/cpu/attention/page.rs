//! Attention of queries to one page of keys and values, and folding of several pages' results.

use super::super::cache::{Element, Head};
use super::super::math::{exp, load_some, softcap};
use super::super::simd::{LANES, Simd};
use super::TILES;

/// One page of keys and values of one head.
pub(super) struct Page<'a, T> {
    pub(super) head: Head<'a, T>,
    /// Addresses of the keys and values that are probably needed next, only for prefetching.
    pub(super) next: [*const [T; LANES]; 2],
    /// Vectors of a head.
    pub(super) chunks: usize,
}

/// For each query, the weight of every position of a page.
pub(super) type Weights<const Q: usize> = [[[f32; LANES]; TILES]; Q];

/// Converts scores to weights: `exp(score - largest)` where a query sees a position, 0 elsewhere. Writes
/// `[largest score, sum of weights, ...]` at the start of each query's result.
///
/// Arrays are passed by reference: they take a few kilobytes, and copying them costs a tenth of the page's time.
#[inline(always)]
pub(super) fn weigh<S: Simd, const Q: usize>(
    scores: &mut [[S::Floats; TILES]; Q],
    seen: &[[u16; TILES]; Q],
    cap: Option<f32>,
    stride: usize,
    weights: &mut Weights<Q>,
    results: &mut [[f32; LANES]],
) {
    for query in 0..Q {
        let nothing = S::splat(f32::NEG_INFINITY);
        let mut largest = nothing;
        for tile in 0..TILES {
            let mut score = scores[query][tile];
            if let Some(cap) = cap {
                score = softcap::<S>(score, cap);
            }
            score = S::select(seen[query][tile], score, nothing);
            scores[query][tile] = score;
            largest = S::max(largest, score);
        }
        let largest = S::largest(largest);
        // If a query sees no position, all weights become 0.
        let bound = if largest > f32::NEG_INFINITY {
            largest
        } else {
            0.0
        };
        let mut sum = S::splat(0.0);
        for tile in 0..TILES {
            let weight = exp::<S>(S::sub(scores[query][tile], S::splat(bound)));
            sum = S::add(sum, weight);
            S::store(weight, &mut weights[query][tile]);
        }
        let head = &mut results[query * stride];
        head[0] = largest;
        head[1] = S::sum(sum);
    }
}

impl<T: Element> Page<'_, T> {
    /// Dot products of all positions' keys with `Q` queries.
    #[inline(always)]
    pub(super) fn scores<S: Simd, const Q: usize>(
        &self,
        queries: [&[[f32; LANES]]; Q],
    ) -> [[S::Floats; TILES]; Q] {
        let mut scores = [[S::splat(0.0); TILES]; Q];
        let (keys, _) = self.head.keys.as_chunks::<TILES>();
        for (chunk, keys) in keys.as_chunks::<LANES>().0.iter().enumerate() {
            for element in 0..LANES {
                let index = (chunk * LANES + element) * TILES;
                S::prefetch(self.next[0].wrapping_add(index));
                S::prefetch(self.next[0].wrapping_add(index + TILES / 2));
                let mut vectors = [S::splat(0.0); TILES];
                for tile in 0..TILES {
                    vectors[tile] = T::load::<S>(&keys[element][tile]);
                }
                for query in 0..Q {
                    let x = S::splat(queries[query][chunk][element]);
                    for tile in 0..TILES {
                        scores[query][tile] = S::fma(vectors[tile], x, scores[query][tile]);
                    }
                }
            }
        }
        if T::SCALE > 0 {
            for tile in 0..TILES {
                let scales = scales_of::<S, T>(self.head.key_scales, tile);
                for query in 0..Q {
                    scores[query][tile] = S::mul(scores[query][tile], scales);
                }
            }
        }
        scores
    }

    /// Writes the weighted sums of the values of the page's first `tiles` into each query's result, after its first
    /// vector; `accumulate` adds them to the result's own.
    #[inline(always)]
    pub(super) fn add_values<S: Simd, const Q: usize>(
        &self,
        weights: &mut Weights<Q>,
        tiles: usize,
        accumulate: bool,
        results: &mut [[f32; LANES]],
    ) {
        if T::SCALE > 0 {
            for tile in 0..tiles {
                let scales = scales_of::<S, T>(self.head.value_scales, tile);
                for query in 0..Q {
                    let weights = &mut weights[query][tile];
                    S::store(S::mul(S::load(weights), scales), weights);
                }
            }
        }
        let mut chunk = 0;
        while chunk + 4 <= self.chunks {
            self.add_chunks::<S, Q, 4>(weights, chunk, tiles, accumulate, results);
            chunk += 4;
        }
        while chunk < self.chunks {
            self.add_chunks::<S, Q, 1>(weights, chunk, tiles, accumulate, results);
            chunk += 1;
        }
    }

    /// `C` vectors of the weighted values.
    #[inline(always)]
    fn add_chunks<S: Simd, const Q: usize, const C: usize>(
        &self,
        weights: &Weights<Q>,
        chunk: usize,
        tiles: usize,
        accumulate: bool,
        results: &mut [[f32; LANES]],
    ) {
        let result = |query, index| query * (1 + self.chunks) + 1 + chunk + index;
        let mut sums = [[S::splat(0.0); C]; Q];
        if accumulate {
            for query in 0..Q {
                for index in 0..C {
                    sums[query][index] = S::load(&results[result(query, index)]);
                }
            }
        }
        for tile in 0..tiles {
            for lane in 0..LANES {
                let start = (tile * LANES + lane) * self.chunks + chunk;
                S::prefetch(self.next[1].wrapping_add(start));
                S::prefetch(self.next[1].wrapping_add(start + C / 2));
                let Some(values) = self.head.values[start..].first_chunk::<C>() else {
                    unreachable!("a position's values are whole");
                };
                let mut vectors = [S::splat(0.0); C];
                for index in 0..C {
                    vectors[index] = T::load::<S>(&values[index]);
                }
                for query in 0..Q {
                    let weight = S::splat(weights[query][tile][lane]);
                    for index in 0..C {
                        sums[query][index] = S::fma(vectors[index], weight, sums[query][index]);
                    }
                }
            }
        }
        for query in 0..Q {
            for index in 0..C {
                S::store(sums[query][index], &mut results[result(query, index)]);
            }
        }
    }
}

/// The scales of a tile's positions.
#[inline(always)]
fn scales_of<S: Simd, T: Element>(stored: &[T], tile: usize) -> S::Floats {
    T::load_scales::<S>(&stored[tile * LANES * T::SCALE..][..LANES * T::SCALE])
}

/// Folds a query's result for a page into that for the pages before.
#[inline(always)]
pub(super) fn fold<S: Simd>(total: &mut [[f32; LANES]], page: &[[f32; LANES]]) {
    let ([largest, sum, ..], [page_largest, page_sum, ..]) = (total[0], page[0]);
    if page_largest == f32::NEG_INFINITY {
        return;
    }
    let both = if page_largest > largest {
        page_largest
    } else {
        largest
    };
    let mut factors = [0.0; LANES];
    let distances = [largest - both, page_largest - both];
    let distances = load_some::<S>(&distances);
    S::store(exp::<S>(distances), &mut factors);
    let [before, now, ..] = factors;
    total[0][0] = both;
    total[0][1] = sum.mul_add(before, page_sum * now);
    let (before, now) = (S::splat(before), S::splat(now));
    for (total, page) in total[1..].iter_mut().zip(&page[1..]) {
        let sum = S::fma(S::load(total), before, S::mul(S::load(page), now));
        S::store(sum, total);
    }
}

/// Resets the result of a query to that for no pages.
#[inline(always)]
pub(super) fn clear(total: &mut [[f32; LANES]]) {
    total.fill([0.0; LANES]);
    total[0][0] = f32::NEG_INFINITY;
}
