//! The backend on Candle's tensors: CUDA, Metal, and on the CPU the reference for all others.
//!
//! On the CPU it computes in f32, and is batch invariant: matrices, f32 ones too, go through Candle's quantized kernels, which
//! compute row by row, and short segments attend row by row. Accelerators compute in 16 bits ([`half_precision`]): weights stay
//! as they are stored, activations, keys and values are bf16 or f16, and softmax is computed in f32.

mod attention;
mod device_rows;
mod matrix;

use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};
use candle_nn::ops;

use super::{
    Activation, Attention, AttentionShape, Backend, Batch, CachePrecision, DeviceRows, HostRows,
    KeysValues, Linear, Norm, NormKind, Pairing, Rope, Segment, WeightPrecision,
};
use crate::error::{Error, Result};
use crate::{OutputTiles, StorageType, StoredTensor, dequantize, quantize};
pub use attention::KvCache;
use attention::{CACHE_STEP, Seen, softcap};
use device_rows::TensorRows;
pub use matrix::{Matrix, half_precision};

/// Steps of at most so many rows are computed row by row on the CPU, so that a verified row gets the bits that it would
/// get alone. Larger steps prefill prompts, in the same chunks with and without speculation.
const ROW_BY_ROW: usize = 32;

/// Candle on one device.
pub struct CandleBackend {
    device: Device,
    precision: WeightPrecision,
    /// The type of activations, keys and values.
    compute: DType,
}

/// What the layers of one step share.
pub struct Step {
    segments: Vec<Segment>,
    ancestors: Vec<u64>,
    /// One entry a rotary embedding; cosines and sines are `[rows, pairs]`.
    rotations: Vec<Rotation>,
}

/// One rotary embedding at the rows' positions.
struct Rotation {
    cos: Tensor,
    sin: Tensor,
    pairing: Pairing,
    /// A factor on each row's queries, `[rows, 1, 1]`.
    query_factors: Option<Tensor>,
}

impl CandleBackend {
    /// A backend on that device, which computes in f32.
    pub fn new(device: Device, precision: WeightPrecision) -> Self {
        Self {
            device,
            precision,
            compute: DType::F32,
        }
    }

    /// The same, which computes in this type.
    #[must_use]
    pub fn computing_in(self, compute: DType) -> Self {
        Self { compute, ..self }
    }

    /// Fails in a process that was forked after Candle computed: its threads, and the device's state, stay with the parent.
    fn check_process() -> Result<()> {
        static FIRST: OnceLock<u32> = OnceLock::new();
        let this = std::process::id();
        match *FIRST.get_or_init(|| this) == this {
            true => Ok(()),
            false => Err(Error::Compute(
                "this process was forked after Candle's kernels were used, whose threads do not exist here: fork before, or start \
                 processes anew (in Python by multiprocessing's \"spawn\")"
                    .into(),
            )),
        }
    }

    /// Whether it is the reference of the other kernels: in f32 on the CPU.
    fn is_reference(&self) -> bool {
        self.device.is_cpu() && self.compute == DType::F32
    }
}

impl Backend for CandleBackend {
    type Activations = Tensor;
    type Matrix = Matrix;
    type Vector = Tensor;
    type KvCache = KvCache;
    type Step = Step;

    fn batch_invariant_rows(&self) -> usize {
        if self.is_reference() {
            ROW_BY_ROW
        } else {
            // Vendors' matrix kernels depend on the shape, whatever its size: smaller steps would not help.
            usize::MAX
        }
    }

    fn footprint(&self, tensor: &StoredTensor<'_>) -> u64 {
        let held = self.precision.held(tensor);
        let packed = tensor.shape.len() > 1 && held.format().candle.is_some();
        let held = if packed { held } else { StorageType::F32 };
        let bytes = tensor.elements().and_then(|elements| held.bytes(elements));
        bytes.unwrap_or(usize::MAX) as u64
    }

    fn matrix(&self, tensor: &StoredTensor<'_>) -> Result<Matrix> {
        match self.precision.held(tensor) {
            held if held == tensor.storage => self.stored_matrix(tensor),
            StorageType::F32 => self.float_matrix(dequantize(tensor)?, &tensor.shape),
            held => self.stored_matrix(&quantize(tensor, held)?),
        }
    }

    fn exact_matrix(&self, tensor: &StoredTensor<'_>) -> Result<Matrix> {
        self.exact(dequantize(tensor)?, &tensor.shape)
    }

    fn vector(&self, values: Vec<f32>) -> Result<Tensor> {
        let length = values.len();
        let vector = Tensor::from_vec(values, length, &self.device)?;
        Ok(vector.to_dtype(self.compute)?)
    }

    fn cache_precision(&self, _weights: StorageType) -> CachePrecision {
        match self.compute {
            DType::F32 => CachePrecision::F32,
            DType::F16 => CachePrecision::F16,
            _ => CachePrecision::Auto,
        }
    }

    fn kv_cache(
        &self,
        layers: &[AttentionShape],
        precision: CachePrecision,
        context_length: usize,
    ) -> Result<KvCache> {
        let held = match precision {
            CachePrecision::Auto => Some(self.compute),
            CachePrecision::F32 => Some(DType::F32),
            CachePrecision::F16 => Some(DType::F16),
            CachePrecision::Q8_0 => None,
        };
        if held != Some(self.compute) {
            let compute = self.compute.as_str();
            let reason = format!(
                "these kernels keep keys and values in {compute}: leave kv_cache_dtype at auto"
            );
            return Err(Error::unsupported("the cache's type", reason));
        }
        let capacity = CACHE_STEP.min(context_length);
        let empty = |shape: &AttentionShape| {
            let dims = (shape.kv_heads, capacity, shape.head_dim);
            Tensor::zeros(dims, self.compute, &self.device)
        };
        let layers = layers.iter();
        let layers = layers
            .map(|shape| Ok((empty(shape)?, empty(shape)?)))
            .collect::<Result<_>>()?;
        Ok(KvCache {
            layers,
            context_length,
        })
    }

    fn fork(&self, cache: &KvCache, _length: usize) -> Result<KvCache> {
        let copy = |(keys, values): &(Tensor, Tensor)| Ok((keys.copy()?, values.copy()?));
        Ok(KvCache {
            layers: cache.layers.iter().map(copy).collect::<Result<_>>()?,
            context_length: cache.context_length,
        })
    }

    fn accept(&self, cache: &mut KvCache, past: usize, path: &[usize]) -> Result<()> {
        if path.iter().enumerate().all(|(to, from)| to == *from) {
            return Ok(());
        }
        let slots: Vec<u32> = path.iter().map(|token| (past + token) as u32).collect();
        let slots = Tensor::new(slots, &self.device)?;
        for (keys, values) in &cache.layers {
            for cached in [keys, values] {
                cached.slice_set(&cached.index_select(&slots, 1)?, 1, past)?;
            }
        }
        Ok(())
    }

    fn begin(&self, batch: Batch<'_>, ropes: &[Rope]) -> Result<Step> {
        Self::check_process()?;
        let positions: Vec<(usize, bool)> = batch.rotations().collect();
        let rotations = ropes
            .iter()
            .map(|rope| {
                let (cos, sin): (Vec<f32>, Vec<f32>) = positions
                    .iter()
                    .flat_map(|&(position, is_stretched)| {
                        rope.angles(position as u32, is_stretched)
                    })
                    .unzip();
                let shape = (positions.len(), rope.frequencies.len());
                let factors = positions
                    .iter()
                    .map(|(position, _)| rope.query_factor(*position));
                let factors = rope.growth.map(|_| {
                    let factors = Tensor::from_iter(factors, &self.device)?;
                    let factors = factors.reshape((positions.len(), 1, 1))?;
                    Ok::<_, Error>(factors.to_dtype(self.compute)?)
                });
                Ok(Rotation {
                    cos: Tensor::from_vec(cos, shape, &self.device)?.to_dtype(self.compute)?,
                    sin: Tensor::from_vec(sin, shape, &self.device)?.to_dtype(self.compute)?,
                    pairing: rope.pairing,
                    query_factors: factors.transpose()?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Step {
            segments: batch.segments.to_vec(),
            ancestors: batch.ancestors.to_vec(),
            rotations,
        })
    }

    fn rows(&self, values: &[f32], width: usize) -> Result<Tensor> {
        let shape = (values.len() / width.max(1), width);
        let rows = Tensor::from_slice(values, shape, &self.device)?;
        Ok(rows.to_dtype(self.compute)?)
    }

    fn embed(&self, table: &Matrix, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::new(ids, &self.device)?;
        Ok(table.rows(&ids)?.to_dtype(self.compute)?)
    }

    fn norm(&self, x: &Tensor, norm: &Norm<Self>) -> Result<Tensor> {
        Ok(match (norm.kind, &norm.bias) {
            (NormKind::Rms(epsilon), _) => ops::rms_norm(x, &norm.weight, epsilon)?,
            (NormKind::Layer(epsilon), Some(bias)) => {
                ops::layer_norm(x, &norm.weight, bias, epsilon)?
            }
            (NormKind::Layer(epsilon), None) => {
                ops::layer_norm(x, &norm.weight, &norm.weight.zeros_like()?, epsilon)?
            }
        })
    }

    fn linear(&self, x: &Tensor, linear: &Linear<Self>) -> Result<Tensor> {
        let product = self.matmul(x, &linear.matrix)?;
        match &linear.bias {
            Some(bias) => Ok(product.broadcast_add(bias)?),
            None => Ok(product),
        }
    }

    fn linear_among(
        &self,
        x: &Tensor,
        linear: &Linear<Self>,
        outputs: &OutputTiles,
    ) -> Result<Tensor> {
        let ids: Vec<u32> = outputs.iter().collect();
        let ids = Tensor::new(ids, x.device())?;
        Ok(self.linear(x, linear)?.index_select(&ids, 1)?)
    }

    fn linear_heads(&self, x: &Tensor, heads: &[Linear<Self>]) -> Result<Tensor> {
        let inputs = x.dim(1)? / heads.len().max(1);
        let outputs = heads.iter().enumerate().map(|(head, linear)| {
            let own = x.narrow(1, head * inputs, inputs)?.contiguous()?;
            self.linear(&own, linear)
        });
        Ok(Tensor::cat(&outputs.collect::<Result<Vec<_>>>()?, 1)?)
    }

    fn attention(
        &self,
        q: Tensor,
        keys_values: KeysValues<Tensor>,
        attention: &Attention<'_, Self>,
        caches: &mut [&mut KvCache],
        step: &Step,
    ) -> Result<Tensor> {
        let shape = &attention.shape;
        let rows = q.dim(0)?;
        let rotation = attention.rope.map(|rope| &step.rotations[rope]);
        let q = q.reshape((rows, shape.heads, shape.head_dim))?;
        let mut q = self.prepare(q, attention.query_norm, rotation, attention.rotated_first)?;
        if let Some(factors) = rotation.and_then(|rotation| rotation.query_factors.as_ref()) {
            q = q.broadcast_mul(factors)?;
        }
        self.append(keys_values, attention, caches, step)?;
        let batch = Batch {
            segments: &step.segments,
            ancestors: &step.ancestors,
        };
        let outputs = step
            .segments
            .iter()
            .zip(caches)
            .enumerate()
            .map(|(index, (segment, cache))| {
                let cached = &cache.layers[attention.layer];
                let seen = Seen {
                    segment,
                    ancestors: batch.ancestors_of(index),
                    window: attention.window,
                };
                let own = q.narrow(0, segment.first_row, segment.rows)?;
                self.attend_segment(&own, cached, &seen, &attention.shape, attention.sinks)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&outputs, 0)?)
    }

    fn append(
        &self,
        keys_values: KeysValues<Tensor>,
        attention: &Attention<'_, Self>,
        caches: &mut [&mut KvCache],
        step: &Step,
    ) -> Result<()> {
        let (k, v) = match keys_values {
            KeysValues::Own(k, v) => (k, v),
            KeysValues::Same(k) => (k.clone(), k),
            KeysValues::Borrowed => return Ok(()),
        };
        let rotation = attention.rope.map(|rope| &step.rotations[rope]);
        let heads = (
            k.dim(0)?,
            attention.shape.kv_heads,
            attention.shape.head_dim,
        );
        let (k, v) = (k.reshape(heads)?, v.reshape(heads)?);
        let k = self.prepare(k, attention.key_norm, rotation, attention.rotated_first)?;
        let v = self.prepare(v, attention.value_norm, None, false)?;
        for (segment, cache) in step.segments.iter().zip(caches) {
            let own = |x: &Tensor| x.narrow(0, segment.first_row, segment.rows);
            cache.append(attention.layer, segment.past, &own(&k)?, &own(&v)?)?;
        }
        Ok(())
    }

    fn activate(&self, x: Tensor, activation: Activation) -> Result<Tensor> {
        Ok(match activation {
            Activation::Silu => x.silu()?,
            Activation::Gelu => x.gelu_erf()?,
            Activation::GeluTanh => x.gelu()?,
            Activation::Relu => x.relu()?,
            Activation::ReluSquared => x.relu()?.sqr()?,
            Activation::Sigmoid => candle_nn::ops::sigmoid(&x)?,
        })
    }

    fn multiply(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        Ok((a * b)?)
    }

    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        Ok((a + b)?)
    }

    fn scale(&self, x: Tensor, factor: f32) -> Result<Tensor> {
        Ok((x * f64::from(factor))?)
    }

    fn softcap(&self, x: Tensor, cap: f32) -> Result<Tensor> {
        softcap(&x, cap)
    }

    fn row_count(&self, x: &Tensor) -> usize {
        x.dim(0).unwrap_or(0)
    }

    fn select(&self, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        Ok(x.index_select(&Tensor::new(rows, &self.device)?, 0)?)
    }

    fn read(&self, x: Tensor, rows: &mut HostRows) -> Result<()> {
        TensorRows(x).read(rows)
    }

    fn leave_on_device(&self, x: &Tensor) -> Option<Box<dyn DeviceRows>> {
        Some(Box::new(TensorRows(x.clone())))
    }

    fn matrix_bytes(&self, matrix: &Matrix) -> usize {
        matrix.bytes()
    }

    fn matrix_storage(&self, matrix: &Matrix) -> StorageType {
        matrix.storage()
    }

    fn device_name(&self) -> String {
        match &self.device {
            Device::Cpu => "cpu".into(),
            Device::Cuda(_) => "cuda".into(),
            Device::Metal(_) => "metal".into(),
        }
    }

    fn kernels(&self) -> String {
        "candle".into()
    }

    fn threads(&self) -> usize {
        candle_core::utils::get_num_threads()
    }
}
