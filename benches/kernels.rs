//! CPU kernels: products by format, rows and shape, with the share of this machine's limits that they reach; recurrences
//! beside products; attention; a decode step. `cargo bench --bench kernels`; needs no model.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use specdec_rs::SpeculativeDecoder;
use specdec_rs::backend::cpu::{CpuBackend, Tier};
use specdec_rs::backend::{
    Attention, AttentionShape, Backend, Batch, CachePrecision, Convolution, DeltaRule, KeysValues,
    Linear, Mask, Recurrence, RecurrentState, Segment, StateSpace, Taps, WeightPrecision,
};
use specdec_rs::weights::{StorageType, StoredTensor, quantize};

/// Outputs and inputs: SmolLM2-135M's gate and down, Llama-3.2-1B's down.
const SHAPES: [(usize, usize); 3] = [(1536, 576), (576, 1536), (2048, 8192)];
const ROWS: [usize; 5] = [1, 4, 8, 16, 256];
const FORMATS: [StorageType; 6] = [
    StorageType::Q4_1,
    StorageType::Q5_0,
    StorageType::Q6_K,
    StorageType::Q8_0,
    StorageType::F16,
    StorageType::F32,
];

fn backend() -> CpuBackend {
    let tier = Tier::choose().expect("SPECDEC_CPU_TIER names a tier of this machine");
    CpuBackend::new(tier, WeightPrecision::Stored, None).expect("the tier is available")
}

fn matrix(format: StorageType, outputs: usize, inputs: usize) -> StoredTensor<'static> {
    let values = (0..outputs * inputs).map(|i| (i * 7919 % 1000) as f32 / 1000.0 - 0.5);
    let plain = StoredTensor {
        storage: StorageType::F32,
        shape: vec![outputs, inputs],
        data: values.clone().flat_map(f32::to_le_bytes).collect(),
    };
    match format {
        StorageType::F32 => plain,
        StorageType::F16 => StoredTensor {
            storage: format,
            data: values
                .flat_map(|x| half::f16::from_f32(x).to_le_bytes())
                .collect(),
            ..plain
        },
        _ => quantize(&plain, format).expect("rows fill blocks"),
    }
}

/// The only segment of a batch: a chain whose tokens stay.
fn segment(past: usize, rows: usize) -> Segment {
    Segment {
        past,
        first_row: 0,
        rows,
        mask: Mask::Causal,
        provisional: 0,
        is_stretched: false,
    }
}

fn fastest(mut work: impl FnMut()) -> Duration {
    let times = (0..30).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed()
    });
    times.min().unwrap_or_default()
}

/// Bytes per second that all threads together read from memory, in huge pages as weights are.
fn memory_bandwidth(threads: usize) -> f64 {
    let mut map = memmap2::MmapMut::map_anon(1 << 28).expect("memory suffices");
    #[cfg(target_os = "linux")]
    drop(map.advise(memmap2::Advice::HugePage));
    map.fill(1);
    let words = map.as_chunks::<8>().0;
    let time = fastest(|| {
        std::thread::scope(|scope| {
            for share in words.chunks(words.len().div_ceil(threads)) {
                let words = share.iter().map(|bytes| u64::from_ne_bytes(*bytes));
                scope.spawn(|| black_box(words.fold(0, |sum, word| sum ^ word)));
            }
        });
    });
    map.len() as f64 / time.as_secs_f64()
}

/// Multiply-adds of bytes per second that all threads together can do, from registers; `None` without VNNI.
fn int8_peak(threads: usize) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512vnni") {
        const ITERATIONS: usize = 1 << 20;
        let time = fastest(|| {
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    // SAFETY: the processor has the instructions.
                    #[allow(unsafe_code)]
                    scope.spawn(|| unsafe { dot_products(ITERATIONS) });
                }
            });
        });
        return Some((ITERATIONS * 8 * 64 * threads) as f64 / time.as_secs_f64());
    }
    let _ = threads;
    None
}

/// So many iterations of eight independent dot products of 64 bytes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot_products(iterations: usize) {
    use std::arch::x86_64::{_mm512_dpbusd_epi32, _mm512_set1_epi8, _mm512_setzero_si512};
    let mut sums = [_mm512_setzero_si512(); 8];
    let (a, b) = (_mm512_set1_epi8(3), black_box(_mm512_set1_epi8(1)));
    for _ in 0..iterations {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, a, b);
        }
    }
    black_box(sums);
}

/// Prints the shares of the machine's limits, which criterion does not report.
fn shares_of_the_limits() {
    let backend = backend();
    let threads = backend.threads();
    let bandwidth = memory_bandwidth(threads);
    let peak = int8_peak(threads);
    println!(
        "{} on {threads} threads; memory {:.1} GB/s; int8 peak {}",
        backend.kernels(),
        bandwidth / 1e9,
        peak.map_or("unknown".into(), |peak| format!("{:.0} GMAC/s", peak / 1e9)),
    );
    println!("format      shape  rows   GMAC/s  of int8 peak    GB/s  of bandwidth");
    for format in FORMATS {
        let fill_blocks = |shape: &(usize, usize)| format.bytes(shape.1).is_some();
        for (outputs, inputs) in SHAPES.into_iter().filter(fill_blocks) {
            let tensor = matrix(format, outputs, inputs);
            // More than any cache holds, so that weights come from memory, as in a model.
            let copies = (96 << 20) / (outputs * inputs / 2) + 1;
            let linears: Vec<Linear<CpuBackend>> = (0..copies)
                .map(|_| Linear {
                    matrix: backend.matrix(&tensor).expect("memory suffices"),
                    bias: None,
                })
                .collect();
            let bytes = copies * backend.matrix_bytes(&linears[0].matrix);
            for rows in ROWS {
                let ids: Vec<u32> = (0..rows as u32).collect();
                let x = backend.embed(&linears[0].matrix, &ids).expect("few rows");
                let time = fastest(|| {
                    for linear in &linears {
                        drop(black_box(backend.linear(&x, linear)));
                    }
                });
                let macs = (copies * outputs * inputs * rows) as f64 / time.as_secs_f64();
                let read = bytes as f64 / time.as_secs_f64();
                let share = peak.map_or("-".into(), |peak| format!("{:.0} %", 100.0 * macs / peak));
                println!(
                    "{format:>6} {:>10} {rows:>5} {:>8.0} {share:>13} {:>7.1} {:>11.0} %",
                    format!("{outputs}x{inputs}"),
                    macs / 1e9,
                    read / 1e9,
                    100.0 * read / bandwidth,
                );
            }
        }
    }
}

fn products(criterion: &mut Criterion) {
    shares_of_the_limits();
    recurrences_beside_products();
    let backend = backend();
    let mut group = criterion.benchmark_group("product 1536x512");
    for format in FORMATS {
        let matrix = backend
            .matrix(&matrix(format, 1536, 512))
            .expect("memory suffices");
        let linear = Linear { matrix, bias: None };
        for rows in ROWS {
            let ids: Vec<u32> = (0..rows as u32).collect();
            let x = backend.embed(&linear.matrix, &ids).expect("few rows");
            group.throughput(Throughput::Elements((1536 * 512 * rows) as u64));
            group.bench_with_input(BenchmarkId::new(format.name(), rows), &x, |bencher, x| {
                bencher.iter(|| backend.linear(black_box(x), &linear));
            });
        }
    }
    group.finish();
}

/// A recurrent layer of a model.
struct RecurrentLayer {
    model: &'static str,
    recurrence: Recurrence,
    /// Outputs and inputs of its projections and its MLP; a mixture's as one of the experts that a token passes.
    products: Vec<(usize, usize)>,
}

fn recurrent_layers() -> [RecurrentLayer; 3] {
    let delta = |model, width, value_heads, hidden| {
        let rule = DeltaRule {
            key_heads: 16,
            value_heads,
            key_dim: 128,
            value_dim: 128,
            is_grouped: true,
        };
        let values = 128 * value_heads;
        RecurrentLayer {
            model,
            recurrence: Recurrence::DeltaRule(rule),
            products: vec![
                (rule.channels() + values, width),
                (width, values),
                (2 * hidden, width),
                (width, hidden),
            ],
        }
    };
    let space = StateSpace {
        heads: 48,
        head_dim: 64,
        groups: 1,
        state_dim: 128,
        skip: vec![1.0; 48],
    };
    let (width, inner, hidden) = (1536, 48 * 64, 6 * 512 + 1024);
    [
        delta("Qwen3.5-0.8B", 1024, 16, 3584),
        delta("Qwen3.5-4B", 2560, 32, 9216),
        RecurrentLayer {
            model: "Granite-4-tiny",
            products: vec![
                (space.channels() + inner, width),
                (width, inner),
                (2 * hidden, width),
                (width, hidden),
            ],
            recurrence: Recurrence::StateSpace(space),
        },
    ]
}

/// Prints what a prompt of 1000 tokens takes in recurrent layers: the recurrence, with its convolution, and the products.
fn recurrences_beside_products() {
    const ROWS: usize = 1000;
    let backend = backend();
    let segment = segment(0, ROWS);
    let batch = Batch {
        segments: &[segment],
        ancestors: &[],
    };
    let recur = |recurrence: &Recurrence| {
        let width = recurrence.input_width();
        // Small and positive: no state grows, and none fades into subnormal numbers.
        let values: Vec<f32> = (0..ROWS * width)
            .map(|i| (i * 7919 % 100) as f32 / 500.0)
            .collect();
        let times = (0..30).map(|_| {
            let inputs = backend.rows(&values, width).expect("memory suffices");
            let mut state = RecurrentState::new(recurrence);
            let began = Instant::now();
            let outputs = backend.recur(inputs, recurrence, &mut [&mut state], batch);
            drop(black_box(outputs.expect("the state is new")));
            began.elapsed()
        });
        times.min().unwrap_or_default()
    };
    println!("1000 tokens       products  recurrence  convolution  of the products");
    for layer in recurrent_layers() {
        let products = layer.products.iter().map(|(outputs, inputs)| {
            let matrix = backend.matrix(&matrix(StorageType::Q4_1, *outputs, *inputs));
            let linear = Linear {
                matrix: matrix.expect("memory suffices"),
                bias: None,
            };
            let x = backend
                .rows(&vec![0.5; ROWS * inputs], *inputs)
                .expect("memory suffices");
            fastest(|| drop(black_box(backend.linear(&x, &linear))))
        });
        let products = products.sum::<Duration>().as_secs_f64() * 1e3;
        let channels = match &layer.recurrence {
            Recurrence::DeltaRule(rule) => rule.channels(),
            Recurrence::StateSpace(space) => space.channels(),
            _ => 0,
        };
        let taps = Taps::new(channels, &vec![0.25; 4 * channels], None);
        let recurrence = recur(&layer.recurrence).as_secs_f64() * 1e3;
        let convolution = recur(&Recurrence::Convolution(Convolution { taps })).as_secs_f64() * 1e3;
        println!(
            "{:14} {products:>8.1} ms {recurrence:>8.1} ms {convolution:>9.1} ms {:>14.0} %",
            layer.model,
            100.0 * (recurrence + convolution) / products,
        );
    }
}

/// One layer's attention of SmolLM2-135M: 9 heads over 3, by context and rows.
fn attention(criterion: &mut Criterion) {
    let backend = backend();
    let shape = AttentionShape {
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        scale: 0.125,
        softcap: None,
    };
    let attention = Attention::<CpuBackend> {
        layer: 0,
        shape,
        window: None,
        rope: None,
        query_norm: None,
        key_norm: None,
        value_norm: None,
        rotated_first: false,
        sinks: None,
    };
    let source = backend
        .matrix(&matrix(StorageType::F32, 256, 576))
        .expect("memory suffices");
    let narrow = backend
        .matrix(&matrix(StorageType::F32, 256, 192))
        .expect("memory suffices");
    let mut group = criterion.benchmark_group("attention");
    for context in [100, 1000, 4000] {
        let mut cache = backend
            .kv_cache(&[shape], CachePrecision::F16, 1 << 16)
            .expect("a legal shape");
        let mut attend = |past: usize, rows: usize| {
            let ids: Vec<u32> = (0..rows as u32).collect();
            let segment = segment(past, rows);
            let batch = Batch {
                segments: &[segment],
                ancestors: &[],
            };
            let step = backend.begin(batch, &[])?;
            let [q, k, v] = [
                backend.embed(&source, &ids)?,
                backend.embed(&narrow, &ids)?,
                backend.embed(&narrow, &ids)?,
            ];
            backend.attention(
                q,
                KeysValues::Own(k, v),
                &attention,
                &mut [&mut cache],
                &step,
            )
        };
        for past in (0..context).step_by(100) {
            attend(past, 100).expect("memory suffices");
        }
        for rows in [1, 8] {
            let id = BenchmarkId::new(format!("{rows} rows"), context);
            group.bench_function(id, |bencher| bencher.iter(|| attend(context, rows)));
        }
    }
    group.finish();
}

/// A whole step of a tiny model: the overhead of a step.
fn decode_step(criterion: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pair/target");
    let decoder = SpeculativeDecoder::new(&folder.to_string_lossy(), "none", None)
        .expect("the pair lies in the repository");
    let mut sequence = decoder.sequence();
    sequence
        .extend(&[7; 64], 0)
        .expect("64 tokens fit the context");
    criterion.bench_function("decode step of the tiny pair's target", |bencher| {
        bencher.iter(|| {
            let logits = sequence.extend(black_box(&[9]), 1);
            sequence.truncate(64).and(logits)
        });
    });
}

criterion_group!(benches, products, attention, decode_step);
criterion_main!(benches);
