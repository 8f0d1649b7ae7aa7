//! What rows of recurrent layers pass through besides recurrences and products.

use super::super::math::{activate, load_some, store_some};
use super::super::rows::{squares, sum};
use super::super::simd::{LANES, Simd};
use crate::{Activation, DeltaRule, GateOrder, GatedNorm, RowMap, StateSpace};

/// Added to the sum of squares of a delta rule's queries and keys.
const EPSILON: f32 = 1e-6;

/// The least mean square that a row is divided by.
const LEAST_MAGNITUDE: f32 = 1e-5;

/// Makes one row of others.
#[inline(always)]
pub(in crate::cpu) fn map_row<S: Simd>(map: &RowMap, parts: &[&[f32]], output: &mut [f32]) {
    match (map, parts) {
        (
            RowMap::DeltaInputs {
                rule,
                factors,
                offsets,
            },
            [mixed, decay, step],
        ) => {
            let (channels, heads) = output.split_at_mut(rule.channels());
            delta_channels::<S>(rule, mixed, channels);
            let (decays, steps) = heads.split_at_mut(rule.value_heads);
            for (head, (decay, step)) in decay.iter().zip(*step).enumerate() {
                decays[head] = libm::expf(factors[head] * softplus(decay + offsets[head]));
                steps[head] = 1.0 / (1.0 + libm::expf(-step));
            }
        }
        (
            RowMap::StateInputs {
                space,
                factors,
                offsets,
                scale,
                limits: (least, most),
            },
            [mixed, logits],
        ) => {
            let StateSpace { heads, .. } = space;
            let (channels, of_heads) = output.split_at_mut(space.channels());
            channels.copy_from_slice(mixed);
            let (decays, steps) = of_heads.split_at_mut(*heads);
            for (head, logit) in logits.iter().enumerate() {
                let step = softplus(scale * logit + offsets[head])
                    .max(*least)
                    .min(*most);
                decays[head] = libm::expf(factors[head] * step);
                steps[head] = step;
            }
        }
        (RowMap::GatedNorm(norm), [x, gate]) => gated_norm::<S>(norm, x, gate, output),
        (RowMap::Arrange(spans), parts) => {
            let mut rest = output;
            for span in spans {
                let (own, after) = rest.split_at_mut(span.count);
                own.copy_from_slice(&parts[span.part][span.first..][..span.count]);
                rest = after;
            }
        }
        (RowMap::Scale(factors), [x]) => {
            for ((output, x), factor) in output.iter_mut().zip(*x).zip(factors) {
                *output = x * factor;
            }
        }
        (RowMap::Mix { streams, width }, [all, weights]) => {
            output.copy_from_slice(all);
            let own = output
                .chunks_exact_mut(*width)
                .zip(weights.chunks_exact(*streams));
            for (output, weights) in own {
                for (stream, weight) in all.chunks_exact(*width).zip(weights) {
                    add_scaled::<S>(stream, *weight, output);
                }
            }
        }
        (RowMap::Correct { width, .. }, [all, wanted, weights]) => {
            output.copy_from_slice(all);
            let first = &all[..*width];
            for (output, weight) in output.chunks_exact_mut(*width).zip(*weights) {
                add_scaled::<S>(wanted, 1.0 + weight, output);
                add_scaled::<S>(first, -(1.0 + weight), output);
            }
        }
        (RowMap::AddToOthers { width, .. }, [all, added]) => {
            output.copy_from_slice(all);
            for output in output.chunks_exact_mut(*width).skip(1) {
                add_scaled::<S>(added, 1.0, output);
            }
        }
        (RowMap::SameMagnitude, [target, x]) => {
            let mean = |x: &[f32]| squares::<S>(x, 0.0) / x.len() as f32;
            let factor = mean(target).sqrt() / mean(x).max(LEAST_MAGNITUDE).sqrt();
            multiply::<S>(x, factor, output);
        }
        (RowMap::Excess(deviations), [x]) => {
            let width = x.len() as f32;
            let mean = sum::<S>(x) / width;
            let least = mean + (squares::<S>(x, mean) / width).sqrt() * deviations;
            for (x, output) in x.chunks(LANES).zip(output.chunks_mut(LANES)) {
                let excess = S::sub(load_some::<S>(x), S::splat(least));
                store_some::<S>(S::max(excess, S::splat(0.0)), output);
            }
        }
        _ => unreachable!("a map has its number of parts"),
    }
}

/// Adds `factor * x`.
#[inline(always)]
fn add_scaled<S: Simd>(x: &[f32], factor: f32, output: &mut [f32]) {
    for (x, output) in x.chunks(LANES).zip(output.chunks_mut(LANES)) {
        let sum = S::fma(load_some::<S>(x), S::splat(factor), load_some::<S>(output));
        store_some::<S>(sum, output);
    }
}

/// `ln(1 + e^x)`
fn softplus(x: f32) -> f32 {
    match x > 20.0 {
        true => x,
        false => libm::log1pf(libm::expf(x)),
    }
}

/// Queries and keys of unit length, and values.
#[inline(always)]
fn delta_channels<S: Simd>(rule: &DeltaRule, mixed: &[f32], output: &mut [f32]) {
    let scale = 1.0 / (rule.key_dim as f32).sqrt();
    let (heads, values) = mixed.split_at(2 * rule.key_width());
    let (outputs, output_values) = output.split_at_mut(2 * rule.key_width());
    output_values.copy_from_slice(values);
    let pairs = heads
        .chunks_exact(rule.key_dim)
        .zip(outputs.chunks_exact_mut(rule.key_dim));
    for (index, (head, output)) in pairs.enumerate() {
        let factor = 1.0 / (squares::<S>(head, 0.0) + EPSILON).sqrt();
        let factor = if index < rule.key_heads {
            factor * scale
        } else {
            factor
        };
        multiply::<S>(head, factor, output);
    }
}

#[inline(always)]
fn multiply<S: Simd>(x: &[f32], factor: f32, output: &mut [f32]) {
    for (x, output) in x.chunks(LANES).zip(output.chunks_mut(LANES)) {
        store_some::<S>(S::mul(load_some::<S>(x), S::splat(factor)), output);
    }
}

#[inline(always)]
fn gated_norm<S: Simd>(norm: &GatedNorm, x: &[f32], gate: &[f32], output: &mut [f32]) {
    output.copy_from_slice(x);
    if norm.order != GateOrder::NormFirst {
        multiply_by_gate::<S>(output, gate, norm.scale);
    }
    if norm.order != GateOrder::NoNorm {
        for (index, part) in output.chunks_mut(norm.part).enumerate() {
            let weight = &norm.weight[index * norm.part % norm.weight.len()..][..part.len()];
            normalize::<S>(part, weight, norm.epsilon);
        }
    }
    if norm.order == GateOrder::NormFirst {
        multiply_by_gate::<S>(output, gate, norm.scale);
    }
}

#[inline(always)]
fn multiply_by_gate<S: Simd>(x: &mut [f32], gate: &[f32], scale: f32) {
    for (x, gate) in x.chunks_mut(LANES).zip(gate.chunks(LANES)) {
        let gate = S::mul(load_some::<S>(gate), S::splat(scale));
        let gate = activate::<S>(gate, Activation::Silu);
        store_some::<S>(S::mul(load_some::<S>(x), gate), x);
    }
}

#[inline(always)]
fn normalize<S: Simd>(x: &mut [f32], weight: &[f32], epsilon: f32) {
    let mean = squares::<S>(x, 0.0) / x.len() as f32;
    let factor = S::splat(1.0 / (mean + epsilon).sqrt());
    for (x, weight) in x.chunks_mut(LANES).zip(weight.chunks(LANES)) {
        let normed = S::mul(load_some::<S>(x), factor);
        store_some::<S>(S::mul(normed, load_some::<S>(weight)), x);
    }
}
