//! Functions of sixteen numbers at once, and sums in a fixed order.

use super::simd::{LANES, Simd};
use crate::{Activation, Gating};

/// e^x to about 1 ulp; 0 below the smallest normal result.
#[inline(always)]
pub(super) fn exp<S: Simd>(x: S::Floats) -> S::Floats {
    // Cody and Waite: x = n ln 2 + r, |r| <= ln 2 / 2; n stays below 128.
    const MIN_INPUT: f32 = -87.0;
    const MAX_INPUT: f32 = 88.0;
    let bounded = S::max(S::min(x, S::splat(MAX_INPUT)), S::splat(MIN_INPUT));
    let n = S::round(S::mul(bounded, S::splat(std::f32::consts::LOG2_E)));
    let n_float = S::to_floats(n);
    let r = S::fma(n_float, S::splat(-0.693_359_4), bounded);
    let r = S::fma(n_float, S::splat(2.121_944_4e-4), r);
    // Taylor's series: its next term is below 2^-26 here.
    let mut sum = S::splat(1.0 / 5040.0);
    for coefficient in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = S::fma(sum, r, S::splat(coefficient));
    }
    let result = S::scale_by_power(sum, n);
    S::select_less(x, S::splat(MIN_INPUT), S::splat(0.0), result)
}

/// Hyperbolic tangent, to about 1e-7 of 1.
#[inline(always)]
pub(super) fn tanh<S: Simd>(x: S::Floats) -> S::Floats {
    // Beyond 20 it is 1 to the last bit.
    let x = S::max(S::min(x, S::splat(20.0)), S::splat(-20.0));
    let e = exp::<S>(S::add(x, x));
    let one = S::splat(1.0);
    S::div(S::sub(e, one), S::add(e, one))
}

/// The error function to 1.5e-7 (Abramowitz & Stegun, 7.1.26).
#[inline(always)]
fn erf<S: Simd>(x: S::Floats) -> S::Floats {
    let zero = S::splat(0.0);
    let one = S::splat(1.0);
    let negative = S::sub(zero, x);
    let absolute = S::select_less(x, zero, negative, x);
    let t = S::div(one, S::fma(S::splat(0.327_591_1), absolute, one));
    let mut sum = S::splat(1.061_405_4);
    for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        sum = S::fma(sum, t, S::splat(coefficient));
    }
    let square = S::mul(x, x);
    let rest = S::mul(S::mul(sum, t), exp::<S>(S::sub(zero, square)));
    let result = S::sub(one, rest);
    S::select_less(x, zero, S::sub(zero, result), result)
}

/// The MLP's nonlinearity.
#[inline(always)]
pub(super) fn activate<S: Simd>(x: S::Floats, activation: Activation) -> S::Floats {
    let one = S::splat(1.0);
    let half = S::mul(x, S::splat(0.5));
    match activation {
        Activation::Silu => {
            let e = exp::<S>(S::sub(S::splat(0.0), x));
            S::div(x, S::add(one, e))
        }
        Activation::Gelu => {
            let scaled = S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2));
            S::mul(half, S::add(one, erf::<S>(scaled)))
        }
        Activation::GeluTanh => {
            // sqrt(2 / pi) * (x + 0.044715 x^3)
            let cubic = S::fma(S::mul(S::mul(x, x), S::splat(0.044_715)), x, x);
            let scaled = S::mul(cubic, S::splat(0.797_884_6));
            S::mul(half, S::add(one, tanh::<S>(scaled)))
        }
        Activation::Relu => S::max(x, S::splat(0.0)),
        Activation::ReluSquared => {
            let positive = S::max(x, S::splat(0.0));
            S::mul(positive, positive)
        }
        Activation::Sigmoid => {
            let e = exp::<S>(S::sub(S::splat(0.0), x));
            S::div(one, S::add(one, e))
        }
    }
}

/// The two halves of a gated MLP, joined.
#[inline(always)]
pub(super) fn join<S: Simd>(gate: S::Floats, up: S::Floats, gating: Gating) -> S::Floats {
    match gating {
        Gating::Product(activation) => S::mul(activate::<S>(gate, activation), up),
        Gating::Clamped { limit, alpha } => {
            let (one, limits) = (S::splat(1.0), [S::splat(-limit), S::splat(limit)]);
            let gate = S::min(gate, limits[1]);
            let up = S::max(S::min(up, limits[1]), limits[0]);
            let e = exp::<S>(S::mul(gate, S::splat(-alpha)));
            S::mul(S::add(up, one), S::div(gate, S::add(one, e)))
        }
    }
}

/// `cap * tanh(x / cap)`
#[inline(always)]
pub(super) fn softcap<S: Simd>(x: S::Floats, cap: f32) -> S::Floats {
    let cap = S::splat(cap);
    S::mul(cap, tanh::<S>(S::div(x, cap)))
}

/// Up to sixteen values; the lanes after them are 0.
#[inline(always)]
pub(super) fn load_some<S: Simd>(values: &[f32]) -> S::Floats {
    match values.first_chunk() {
        Some(all) => S::load(all),
        None => {
            let mut lanes = [0.0; LANES];
            lanes[..values.len()].copy_from_slice(values);
            S::load(&lanes)
        }
    }
}

/// Stores as many lanes as `values` holds, at most sixteen.
#[inline(always)]
pub(super) fn store_some<S: Simd>(vector: S::Floats, values: &mut [f32]) {
    match values.first_chunk_mut() {
        Some(all) => S::store(vector, all),
        None => {
            let mut lanes = [0.0; LANES];
            S::store(vector, &mut lanes);
            values.copy_from_slice(&lanes[..values.len()]);
        }
    }
}
