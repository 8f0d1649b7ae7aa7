//! Properties of the kernels: exact weights, the same bits on every tier, for any number of threads and rows.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::{HostRows, Mask, NormKind, Pairing, Segment};
use crate::{dequantize, quantize};

/// Pseudo-random numbers between -1 and 1, determined by the seed.
pub(super) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn stored(seed: u64, outputs: usize, inputs: usize) -> StoredTensor<'static> {
    let values = noise(seed, outputs * inputs);
    StoredTensor {
        storage: StorageType::F32,
        shape: vec![outputs, inputs],
        data: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

/// A matrix in this format.
pub(super) fn stored_as(
    format: StorageType,
    seed: u64,
    outputs: usize,
    inputs: usize,
) -> StoredTensor<'static> {
    let plain = stored(seed, outputs, inputs);
    let halves = |to_bits: fn(f32) -> u16| -> Vec<u8> {
        let values = noise(seed, outputs * inputs);
        values
            .iter()
            .flat_map(|x| to_bits(*x).to_le_bytes())
            .collect()
    };
    let data = match format {
        StorageType::F32 => return plain,
        StorageType::F16 => halves(|x| half::f16::from_f32(x).to_bits()),
        StorageType::BF16 => halves(|x| half::bf16::from_f32(x).to_bits()),
        _ if format.format().candle.is_some() => return quantize(&plain, format).unwrap(),
        // Without an encoder: random blocks after a scale of 1/256 (0x1C00 in half precision).
        _ => {
            let scale: &[u8] = match format {
                StorageType::MXFP4 => &[127 - 8],
                _ => &[0x00, 0x1C],
            };
            let blocks = outputs * inputs / format.block_elements();
            let random = noise(seed, (format.block_bytes() - scale.len()) * blocks);
            let block = |random: &[f32]| {
                let random = random.iter().map(|x| ((x + 1.0) * 127.0) as u8);
                scale.iter().copied().chain(random).collect::<Vec<u8>>()
            };
            let random = random.chunks(format.block_bytes() - scale.len());
            random.flat_map(block).collect()
        }
    };
    StoredTensor {
        storage: format,
        data: with_moderate_scales(format, data).into(),
        ..plain
    }
}

/// 1/256 in single precision.
const SINGLE: [u8; 4] = [0x00, 0x00, 0x80, 0x3B];

/// The same where the scale is another, or not at a block's start: 1/256 (0x1C00), too.
fn with_moderate_scales(format: StorageType, mut data: Vec<u8>) -> Vec<u8> {
    for block in data.chunks_exact_mut(format.block_bytes()) {
        match format {
            StorageType::TQ1_0 => block[52..54].copy_from_slice(&[0x00, 0x1C]),
            StorageType::TQ2_0 => block[64..66].copy_from_slice(&[0x00, 0x1C]),
            // In the upper bits of four words.
            StorageType::IQ1_M => {
                for (byte, bits) in [(49, 0x00), (51, 0x00), (53, 0xC0), (55, 0x10)] {
                    block[byte] = block[byte] & 0x0F | bits;
                }
            }
            // In single precision.
            StorageType::NVFP4_S => block[..4].copy_from_slice(&SINGLE),
            StorageType::INT4 => block[..8].copy_from_slice(&[SINGLE, SINGLE].concat()),
            StorageType::INT4_G => {
                for number in block.chunks_exact_mut(4) {
                    number[3] = 0x3B;
                }
            }
            StorageType::F8_E4M3 => {
                block[..4].copy_from_slice(&SINGLE);
                // These stand for no number.
                for byte in &mut block[4..] {
                    *byte = if *byte & 0x7F == 0x7F { 0 } else { *byte };
                }
            }
            _ => {}
        }
    }
    data
}

fn backend(tier: Tier, threads: usize) -> CpuBackend {
    CpuBackend::new(tier, WeightPrecision::Stored, Some(threads)).unwrap()
}

pub(super) fn tiers() -> impl Iterator<Item = Tier> {
    Tier::ALL.iter().copied().filter(|tier| tier.is_available())
}

fn best() -> Tier {
    tiers().last().unwrap()
}

fn rows_of(backend: &CpuBackend, seed: u64, rows: usize, width: usize) -> Rows {
    let mut x = Rows::new(&backend.buffers, rows, width);
    x.values_mut().copy_from_slice(&noise(seed, rows * width));
    x
}

fn linear(backend: &CpuBackend, tensor: &StoredTensor<'_>, seed: u64) -> Linear<CpuBackend> {
    Linear {
        matrix: backend.matrix(tensor).unwrap(),
        bias: Some(noise(seed + 1, tensor.shape[0])),
    }
}

#[test]
fn packed_weights_are_what_was_stored() {
    for format in StorageType::ALL {
        let (outputs, inputs) = (37, 512);
        let tensor = stored_as(format, 3, outputs, inputs);
        let expected = dequantize(&tensor).unwrap();
        let own = backend(Tier::Scalar, 1);
        let matrix = own.matrix(&tensor).unwrap();
        assert_eq!(own.footprint(&tensor), own.matrix_bytes(&matrix) as u64);
        let mut row = vec![0.0; inputs];
        for output in 0..outputs {
            matrix.packed().unwrap().read_row(output, &mut row);
            let expected = &expected[output * inputs..][..inputs];
            let largest = expected.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
            // Scales and minima are rounded to half precision, by 2^-11 of `scale * quant` and of `min`, which together
            // reach three times the largest weight. Formats without a layout are rounded to 8 bits: by half a step of 127, and their
            // scales to half precision.
            let allowed = match format {
                StorageType::F32
                | StorageType::F16
                | StorageType::BF16
                | StorageType::Q8_0
                | StorageType::MXFP4
                | StorageType::IQ4_NL
                | StorageType::Q1_0
                | StorageType::Q2_0
                | StorageType::TQ1_0
                | StorageType::TQ2_0 => 0.0,
                StorageType::Q4_0 | StorageType::Q4_1 | StorageType::Q5_0 | StorageType::Q5_1 => {
                    1e-6
                }
                StorageType::F8_E4M3 | StorageType::INT4_G => {
                    largest * (1.0 / 254.0 + 1.0 / 2048.0)
                }
                _ => 3.0 / 2048.0 * largest,
            };
            for (found, expected) in row.iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= allowed,
                    "{format}: {found}, {expected}"
                );
            }
        }
    }
}

/// A matrix that counts how often it is read.
struct Counted {
    tensor: StoredTensor<'static>,
    reads: Arc<AtomicUsize>,
    is_released: Arc<AtomicBool>,
}

impl MatrixSource for Counted {
    fn tensor(&self) -> Result<StoredTensor<'_>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.tensor.clone())
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn release(&self) {
        self.is_released.store(true, Ordering::Relaxed);
    }
}

#[test]
fn matrices_of_first_use_are_packed_by_their_first_product() {
    for precision in [
        WeightPrecision::Stored,
        WeightPrecision::F32,
        WeightPrecision::Quantized(StorageType::Q8_0),
    ] {
        let own = CpuBackend::new(best(), precision, Some(2)).unwrap();
        let tensor = stored_as(StorageType::Q4_K, 5, 45, 256);
        let (reads, is_released) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let source = Counted {
            tensor: tensor.clone(),
            reads: reads.clone(),
            is_released: is_released.clone(),
        };
        let now = own.matrix(&tensor).unwrap();
        let later = own.matrix_on_first_use("a", Box::new(source)).unwrap();
        assert_eq!(own.matrix_storage(&later), own.matrix_storage(&now));
        assert_eq!(own.matrix_bytes(&later), own.matrix_bytes(&now));
        assert_eq!(later.layout(), now.layout());
        let described = reads.load(Ordering::Relaxed);
        assert_eq!(own.first_uses(), 0);
        assert!(!is_released.load(Ordering::Relaxed));
        let x = rows_of(&own, 11, 3, 256);
        let [now, later] = [now, later].map(|matrix| Linear { matrix, bias: None });
        let expected = own.linear(&x, &now).unwrap();
        let threads: Vec<_> = std::thread::scope(|scope| {
            let product = || own.linear(&x, &later).unwrap().values().to_vec();
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(product)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        for product in threads {
            assert_eq!(product, expected.values());
        }
        assert_eq!(reads.load(Ordering::Relaxed), described + 1);
        assert_eq!(own.first_uses(), 1);
        assert!(is_released.load(Ordering::Relaxed));
    }
}

/// Compared with f64 sums over the packed weights: equal up to rounding, and for quantized weights up to the rounding of
/// activations, each by at most half a step of its block of 32.
#[test]
fn products_are_right_to_the_rounding_of_activations() {
    for format in StorageType::ALL {
        let (outputs, inputs, count) = (45, 256, 5);
        let own = backend(best(), 2);
        let layer = linear(&own, &stored_as(format, 5, outputs, inputs), 9);
        let x = rows_of(&own, 11, count, inputs);
        let y = own.linear(&x, &layer).unwrap();
        let bias = layer.bias.as_ref().unwrap();
        let mut weights = vec![0.0; inputs];
        for output in 0..outputs {
            layer
                .matrix
                .packed()
                .unwrap()
                .read_row(output, &mut weights);
            for row in 0..count {
                let (mut expected, mut allowed) = (f64::from(bias[output]), 1e-4);
                for (x, w) in x.row(row).chunks(32).zip(weights.chunks(32)) {
                    let largest = x.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
                    for (x, w) in x.iter().zip(w) {
                        expected += f64::from(*x) * f64::from(*w);
                        if format.block_elements() > 1 {
                            allowed += f64::from(largest / 254.0 * w.abs());
                        }
                    }
                }
                let found = f64::from(y.row(row)[output]);
                assert!(
                    (found - expected).abs() <= allowed,
                    "{format}: {found}, {expected}"
                );
            }
        }
    }
}

/// A layer of all operations, for properties that hold for any numbers.
#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    format: StorageType,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
    softcap: Option<f32>,
    pairing: Pairing,
    norm: NormKind,
    activation: Activation,
    gated: bool,
    cache: CachePrecision,
    /// Rows of each step, of two sequences.
    steps: Vec<(usize, usize)>,
}

fn cases() -> impl Strategy<Value = Case> {
    let shape = (
        prop::sample::select(vec![(1, 1), (3, 1), (4, 2), (8, 1), (6, 3)]),
        prop::sample::select(vec![8, 16, 20, 64, 96]),
        prop::option::of(1..90_usize),
        prop::option::of(Just(5.0_f32)),
        prop::sample::select(vec![Pairing::Halves, Pairing::Interleaved]),
    );
    let layer = (
        prop::sample::select(StorageType::ALL.to_vec()),
        prop::sample::select(vec![NormKind::Rms(1e-5), NormKind::Layer(1e-5)]),
        prop::sample::select(vec![
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::ReluSquared,
        ]),
        any::<bool>(),
        prop::sample::select(vec![
            CachePrecision::F32,
            CachePrecision::F16,
            CachePrecision::Q8_0,
        ]),
    );
    // Few rows, as in verifying drafts, or enough for tiles.
    let rows = || prop_oneof![4 => 0..20_usize, 1 => 20..60_usize];
    let steps = prop::collection::vec((rows(), 0..12_usize), 1..8);
    (any::<u64>(), shape, layer, steps).prop_map(|(seed, shape, layer, steps)| {
        let ((heads, kv_heads), head_dim, window, softcap, pairing) = shape;
        let (format, norm, activation, gated, cache) = layer;
        Case {
            seed: seed >> 8,
            format,
            heads,
            kv_heads,
            head_dim,
            window,
            softcap,
            pairing,
            norm,
            activation,
            gated,
            cache,
            // Long enough to span pages.
            steps: [vec![(70, 40)], steps].concat(),
        }
    })
}

impl Case {
    const WIDTH: usize = 256;

    #[allow(clippy::too_many_lines, reason = "a layer's operations, one by one")]
    /// Runs the layer over both sequences in the given steps; returns the first one's and the second one's rows.
    fn run(&self, backend: &CpuBackend, steps: &[(usize, usize)]) -> [Vec<f32>; 2] {
        let width = Self::WIDTH;
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let matrix = |salt: u64, outputs, inputs: usize| {
            // Rows that don't fill the format's blocks are stored in one that they do fill.
            let format = match inputs.is_multiple_of(self.format.block_elements()) {
                true => self.format,
                false => StorageType::BF16,
            };
            let seed = self.seed + salt;
            linear(backend, &stored_as(format, seed, outputs, inputs), seed)
        };
        let norm = |salt: u64, width| Norm::<CpuBackend> {
            kind: self.norm,
            weight: noise(self.seed + salt, width),
            bias: matches!(self.norm, NormKind::Layer(_))
                .then(|| noise(self.seed + salt + 1, width)),
        };
        let [q, k, v] =
            [(10, queries), (20, keys), (30, keys)].map(|(salt, n)| matrix(salt, n, width));
        let (output, up) = (matrix(40, width, queries), matrix(50, 2 * width, width));
        let (gate, down) = (matrix(60, 2 * width, width), matrix(70, width, 2 * width));
        let (first, second, head_norm) =
            (norm(80, width), norm(90, width), norm(100, self.head_dim));
        let shape = AttentionShape {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: 0.3,
            softcap: self.softcap,
        };
        let attention = Attention {
            layer: 1,
            shape,
            window: self.window,
            rope: Some(0),
            query_norm: Some(&head_norm),
            key_norm: Some(&head_norm),
            value_norm: None,
            rotated_first: false,
            sinks: None,
        };
        let rope = Rope {
            frequencies: (0..self.head_dim / 4)
                .map(|i| 0.9_f64.powi(i as i32))
                .collect(),
            magnitude: 1.0,
            pairing: self.pairing,
            stretched: None,
            growth: None,
        };
        let mut caches = [0, 1].map(|_| backend.kv_cache(&[shape; 2], self.cache, 4096).unwrap());
        let total =
            |index: usize| -> usize { steps.iter().map(|step| [step.0, step.1][index]).sum() };
        let inputs = [0, 1].map(|index| noise(self.seed + 7 * index as u64, total(index) * width));
        let (mut done, mut outputs) = ([0, 0], [Vec::new(), Vec::new()]);
        for step in steps {
            let counts = [step.0, step.1];
            let mut x = Rows::new(&backend.buffers, counts[0] + counts[1], width);
            let mut segments = Vec::new();
            for index in [0, 1] {
                let first_row = if index == 0 { 0 } else { counts[0] };
                let own = &inputs[index][done[index] * width..][..counts[index] * width];
                x.values_mut()[first_row * width..][..own.len()].copy_from_slice(own);
                if counts[index] > 0 {
                    let (past, rows) = (done[index], counts[index]);
                    segments.push(Segment {
                        past,
                        first_row,
                        rows,
                        mask: Mask::Causal,
                        provisional: 0,
                        is_stretched: false,
                    });
                }
            }
            if segments.is_empty() {
                continue;
            }
            let present = counts.map(|count| count > 0);
            let mut used: Vec<&mut KvCache> = caches
                .iter_mut()
                .zip(present)
                .filter_map(|(cache, present)| present.then_some(cache))
                .collect();
            let prepared = backend
                .begin(chains(&segments), std::slice::from_ref(&rope))
                .unwrap();
            let [q, k, v] = backend.project(&x, &first, [&q, &k, &v]).unwrap();
            let attended = backend
                .attention(q, KeysValues::Own(k, v), &attention, &mut used, &prepared)
                .unwrap();
            let x = backend
                .linear_add(&attended, &output, Some(&second), &x)
                .unwrap();
            let gate = self.gated.then_some(&gate);
            let wide = backend
                .mlp(&x, &second, gate, &up, self.activation)
                .unwrap();
            let x = backend.linear_add(&wide, &down, None, &x).unwrap();
            let x = backend
                .softcap(backend.scale(x, 1.5).unwrap(), 30.0)
                .unwrap();
            for index in [0, 1] {
                let first_row = if index == 0 { 0 } else { counts[0] };
                let own = &x.values()[first_row * width..][..counts[index] * width];
                outputs[index].extend_from_slice(own);
                done[index] += counts[index];
            }
        }
        outputs
    }
}

fn bits(outputs: &[Vec<f32>; 2]) -> [Vec<u32>; 2] {
    outputs.each_ref().map(|rows| {
        assert!(rows.iter().all(|x| x.is_finite()));
        // -0 and 0 are the same number.
        rows.iter().map(|x| (x + 0.0).to_bits()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_tier_computes_the_same_bits(case in cases()) {
        let expected = bits(&case.run(&backend(Tier::Scalar, 1), &case.steps));
        for tier in tiers() {
            let found = bits(&case.run(&backend(tier, 1), &case.steps));
            prop_assert!(found == expected, "{tier}");
        }
    }

    #[test]
    fn threads_change_no_bits(case in cases()) {
        let expected = bits(&case.run(&backend(best(), 1), &case.steps));
        for threads in [2, 3, 7] {
            let found = bits(&case.run(&backend(best(), threads), &case.steps));
            prop_assert!(found == expected, "{threads} threads");
        }
    }

    #[test]
    fn results_are_batch_invariant(case in cases()) {
        let together = bits(&case.run(&backend(best(), 2), &case.steps));
        // Each sequence alone, a row at a time.
        let singly = |index: usize| -> Vec<(usize, usize)> {
            let rows: usize = case.steps.iter().map(|step| [step.0, step.1][index]).sum();
            vec![if index == 0 { (1, 0) } else { (0, 1) }; rows]
        };
        for index in [0, 1] {
            let alone = bits(&case.run(&backend(best(), 2), &singly(index)));
            prop_assert!(alone[index] == together[index], "sequence {index}");
        }
    }
}

/// The only segment of a batch: a chain whose tokens stay.
pub(super) fn segment(past: usize, rows: usize) -> Segment {
    Segment {
        past,
        first_row: 0,
        rows,
        mask: Mask::Causal,
        provisional: 0,
        is_stretched: false,
    }
}

fn chains(segments: &[Segment]) -> Batch<'_> {
    Batch {
        segments,
        ancestors: &[],
    }
}

/// A rolled back step leaves no trace, and a fork's pages are its own.
#[test]
fn caches_survive_rollbacks_and_forks() {
    let own = backend(best(), 2);
    let shape = AttentionShape {
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        scale: 0.2,
        softcap: None,
    };
    let attention = Attention {
        layer: 0,
        shape,
        window: Some(50),
        rope: None,
        query_norm: None,
        key_norm: None,
        value_norm: None,
        rotated_first: false,
        sinks: None,
    };
    let attend = |cache: &mut KvCache, past: usize, seed: u64, rows: usize| {
        let segments = [segment(past, rows)];
        let step = own.begin(chains(&segments), &[]).unwrap();
        let [q, k, v] =
            [(1, 128), (2, 64), (3, 64)].map(|(salt, n)| rows_of(&own, seed + salt, rows, n));
        let y = own
            .attention(q, KeysValues::Own(k, v), &attention, &mut [cache], &step)
            .unwrap();
        y.values().to_vec()
    };
    let fresh = || own.kv_cache(&[shape], CachePrecision::F16, 1000).unwrap();
    let mut plain = fresh();
    attend(&mut plain, 0, 100, 100);
    let mut rolled_back = fresh();
    attend(&mut rolled_back, 0, 100, 100);
    attend(&mut rolled_back, 100, 999, 40);
    let mut fork = own.fork(&rolled_back, 100).unwrap();
    let expected = attend(&mut plain, 100, 200, 5);
    assert_eq!(attend(&mut rolled_back, 100, 200, 5), expected);
    assert_ne!(attend(&mut rolled_back, 100, 300, 5), expected);
    assert_eq!(attend(&mut fork, 100, 200, 5), expected);
}

#[test]
fn an_unavailable_tier_is_refused() {
    for tier in Tier::ALL.iter().filter(|tier| !tier.is_available()) {
        let refused = CpuBackend::new(*tier, WeightPrecision::Stored, None);
        let message = refused.err().unwrap().to_string();
        assert!(message.contains(tier.name()), "{message}");
    }
}

#[test]
fn host_rows_reuse_their_memory() {
    let own = backend(best(), 1);
    let mut host = HostRows::default();
    for round in 0..3 {
        host.clear();
        own.read(rows_of(&own, 1, 2, 8), &mut host).unwrap();
        own.read(rows_of(&own, 2, 1, 8), &mut host).unwrap();
        assert_eq!(
            host.values(),
            [noise(1, 16), noise(2, 8)].concat(),
            "round {round}"
        );
    }
}
