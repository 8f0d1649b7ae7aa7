//! Own CPU kernels, designed so that verifying several tokens costs little more than computing one.
//!
//! Reading order: [`simd`] (what the kernels are written in), [`tier`] (how they are compiled), [`layouts`] and [`pack`]
//! (how weights are stored), [`blocks`] and [`matmul`] (products), [`cache`] and [`attention`]. A row's results are the same bits
//! for every tier, number of threads, and batch (batch invariance).

// Kernels are compiled for each tier by being inlined into it; their loops run over lanes, rows and vectors of
// several arrays at once.
#![allow(unsafe_code, clippy::inline_always, clippy::needless_range_loop)]

mod attention;
mod blocks;
mod cache;
mod experts;
mod kv_cache;
mod layouts;
mod map;
mod math;
mod matmul;
mod matrix;
mod matrix_cache;
mod memory;
mod pack;
mod pool;
mod product;
mod recurrent;
mod rows;
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only AMX tiles use some operations")
)]
mod simd;
mod step;
#[cfg(test)]
mod tests;
mod tier;
#[cfg(target_arch = "x86_64")]
mod tiles;
mod weights;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use attention::LayerAttention;
use kv_cache::Pages;
use map::{Add, EachLane, Multiply, Parts, RowWork, Scale, Softcap, map_rows};
use matmul::multiply;
use matrix::Packer;
use pack::Packed;
use pool::Pool;
use product::{Epilogue, Layer, Product};
use rows::{BufferPool, NormWeights, PackedActivations};
use smallvec::SmallVec;
use step::ReusableTables;

use super::{
    Activation, Attention, AttentionShape, Backend, Batch, CachePrecision, Expert, Gating,
    HostRows, KeysValues, Linear, Norm, Recurrence, RecurrentState, Rope, Routes, RowMap,
    WeightPrecision, gated,
};
use crate::error::{Error, Result};
use crate::{MatrixSource, OutputTiles, StorageType, StoredTensor};
pub use kv_cache::KvCache;
pub use matrix::Matrix;
pub use matrix_cache::{FindFolder, LAYOUT_VERSION, MatrixCache, WritableFolder};
pub(crate) use recurrent::HostRecurrence;
pub use rows::Rows;
pub use step::Step;
pub use tier::Tier;

/// Own kernels on the CPU.
pub struct CpuBackend {
    tier: Tier,
    pool: Arc<Pool>,
    packer: Arc<Packer>,
    buffers: Arc<BufferPool>,
    tables: ReusableTables,
    /// Packed activations of products that were computed, for others.
    activations: Mutex<Vec<PackedActivations>>,
}

impl CpuBackend {
    /// A backend of this tier with this number of threads; `None`: as many as this process may use.
    ///
    /// Fails if the processor lacks the tier's instructions.
    pub fn new(tier: Tier, precision: WeightPrecision, threads: Option<usize>) -> Result<Self> {
        if !tier.is_available() {
            return Err(Error::DeviceUnavailable {
                device: format!("cpu ({tier})"),
                reason: "this processor lacks the tier's instructions".into(),
            });
        }
        let pool = Pool::shared(threads);
        Ok(Self {
            tier,
            packer: Arc::new(Packer::new(precision, pool.clone(), None)),
            pool,
            buffers: Arc::default(),
            tables: Arc::default(),
            activations: Mutex::default(),
        })
    }

    /// The same backend, with matrices that outlive the process.
    #[must_use]
    pub fn with_cache(self, cache: Option<MatrixCache>) -> Self {
        let packer = Packer::new(self.packer.precision, self.pool.clone(), cache);
        Self {
            packer: Arc::new(packer),
            ..self
        }
    }

    /// Activations to pack rows into.
    fn unused_activations(&self) -> PackedActivations {
        self.all_unused().pop().unwrap_or_default()
    }

    /// Keeps activations that are not used any more, so that others need no new memory.
    fn keep_activations(&self, activations: PackedActivations) {
        self.all_unused().push(activations);
    }

    fn all_unused(&self) -> MutexGuard<'_, Vec<PackedActivations>> {
        self.activations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Packs rows, normalized if there is a norm, for products with some matrices.
    fn pack<const N: usize>(
        &self,
        activations: &mut PackedActivations,
        x: &Rows,
        norm: Option<NormWeights<'_>>,
        linears: [&Linear<Self>; N],
    ) {
        let formats = matmul::activation_formats(linears.map(|linear| linear.matrix.layout()));
        activations.pack(x, norm, formats, self.tier, &self.pool);
    }

    fn empty(&self, rows: usize, width: usize) -> Rows {
        Rows::new(&self.buffers, rows, width)
    }

    /// Applies `work` to every row, into new rows.
    fn each_row(&self, x: &Rows, work: &impl RowWork) -> Rows {
        let mut output = self.empty(x.rows, x.width);
        map_rows(x, &mut output, work, self.tier, &self.pool);
        output
    }

    /// One layer's attention over a step's rows.
    fn attention_of<'a>(
        &'a self,
        q: &'a Rows,
        keys_values: &'a KeysValues<Rows>,
        attention: &Attention<'a, Self>,
        step: &'a Step,
    ) -> attention::Attention<'a> {
        attention::Attention {
            layer: LayerAttention {
                layer: attention.layer,
                shape: attention.shape,
                window: attention.window,
                rotation: attention.rope.and_then(|rope| step.rotation(rope)),
                query_norm: attention.query_norm.map(norm_weights),
                key_norm: attention.key_norm.map(norm_weights),
                value_norm: attention.value_norm.map(norm_weights),
                rotated_first: attention.rotated_first,
                sinks: attention.sinks.map(Vec::as_slice),
            },
            q,
            keys_values,
            batch: step.batch(),
            buffers: &self.buffers,
            tier: self.tier,
            pool: &self.pool,
        }
    }

    /// One product with these rows, normalized if there is a norm. A gate in its epilogue has its layout.
    fn product(
        &self,
        x: &Rows,
        norm: Option<NormWeights<'_>>,
        linear: &Linear<Self>,
        epilogue: Epilogue<'_>,
    ) -> Result<Rows> {
        self.product_among(x, norm, linear, epilogue, None)
    }

    /// The same, of some outputs alone if they are named.
    fn product_among(
        &self,
        x: &Rows,
        norm: Option<NormWeights<'_>>,
        linear: &Linear<Self>,
        epilogue: Epilogue<'_>,
        among: Option<&OutputTiles>,
    ) -> Result<Rows> {
        let layer = layer(linear)?;
        let outputs = among.map_or(linear.matrix.outputs, OutputTiles::len);
        let mut output = self.empty(x.rows, outputs);
        let mut activations = self.unused_activations();
        self.pack(&mut activations, x, norm, [linear]);
        let product = Product {
            x: &activations,
            layer,
            epilogue,
            among: among.map(OutputTiles::tiles),
            output: &mut output,
        };
        multiply(&mut [product], self.tier, &self.pool);
        self.keep_activations(activations);
        Ok(output)
    }
}

fn layer(linear: &Linear<CpuBackend>) -> Result<Layer<'_>> {
    Ok(Layer {
        matrix: linear.matrix.packed()?,
        bias: linear.bias.as_deref(),
    })
}

/// Grows the caches for a step's rows.
fn reserve(caches: &mut [&mut KvCache], step: &Step) -> Result<()> {
    let mut pairs = caches.iter_mut().zip(step.batch().segments);
    pairs.try_for_each(|(cache, segment)| cache.reserve(segment.past, segment.rows))
}

fn norm_weights(norm: &Norm<CpuBackend>) -> NormWeights<'_> {
    NormWeights {
        kind: norm.kind,
        weight: &norm.weight,
        bias: norm.bias.as_deref(),
    }
}

impl Backend for CpuBackend {
    type Activations = Rows;
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type KvCache = KvCache;
    type Step = Step;

    fn batch_invariant_rows(&self) -> usize {
        usize::MAX
    }

    fn footprint(&self, tensor: &StoredTensor<'_>) -> u64 {
        match *tensor.shape.as_slice() {
            [outputs, inputs] => {
                Packed::footprint(self.packer.precision.held(tensor), outputs, inputs)
            }
            // One for each expert. (Of a convolution too much, which is little.)
            [experts, outputs, inputs] => {
                let one = Packed::footprint(self.packer.precision.held(tensor), outputs, inputs);
                one.saturating_mul(experts as u64)
            }
            _ => size_of::<f32>() as u64 * tensor.elements().unwrap_or(usize::MAX) as u64,
        }
    }

    fn matrix(&self, tensor: &StoredTensor<'_>) -> Result<Matrix> {
        self.packer.pack(tensor).map(Matrix::from)
    }

    fn exact_matrix(&self, tensor: &StoredTensor<'_>) -> Result<Matrix> {
        let packed = self.packer.pack_as_stored(&tensor.widened()?)?;
        Ok(packed.into())
    }

    fn matrix_on_first_use(&self, name: &str, source: Box<dyn MatrixSource>) -> Result<Matrix> {
        self.packer.later(name, source)
    }

    fn first_uses(&self) -> usize {
        self.packer.first_uses()
    }

    fn kept_matrix(&self, name: &str, shape: [usize; 2]) -> Option<Matrix> {
        self.packer.kept(name, shape).map(Matrix::from)
    }

    fn keep_matrix(&self, name: &str, matrix: &Matrix) -> Result<()> {
        self.packer.keep(name, matrix.packed()?);
        Ok(())
    }

    fn vector(&self, values: Vec<f32>) -> Result<Vec<f32>> {
        Ok(values)
    }

    fn cache_precision(&self, weights: StorageType) -> CachePrecision {
        // Unquantized weights are computed with in single precision.
        match weights.block_elements() {
            1 => CachePrecision::F32,
            _ => CachePrecision::F16,
        }
    }

    fn kv_cache(
        &self,
        layers: &[AttentionShape],
        precision: CachePrecision,
        _context_length: usize,
    ) -> Result<KvCache> {
        KvCache::new(layers, precision)
    }

    fn fork(&self, cache: &KvCache, length: usize) -> Result<KvCache> {
        Ok(cache.fork(length))
    }

    fn accept(&self, cache: &mut KvCache, past: usize, path: &[usize]) -> Result<()> {
        cache.accept(past, path)
    }

    fn begin(&self, batch: Batch<'_>, ropes: &[Rope]) -> Result<Step> {
        Ok(Step::new(&self.tables, batch, ropes))
    }

    fn rows(&self, values: &[f32], width: usize) -> Result<Rows> {
        Ok(Rows::of_values(&self.buffers, values, width))
    }

    fn embed(&self, table: &Matrix, ids: &[u32]) -> Result<Rows> {
        let table = table.packed()?;
        let mut output = self.empty(ids.len(), table.inputs);
        for (id, row) in ids.iter().zip(output.values_mut().chunks_mut(table.inputs)) {
            table.read_row(*id as usize, row);
        }
        Ok(output)
    }

    fn norm(&self, x: &Rows, norm: &Norm<Self>) -> Result<Rows> {
        Ok(self.each_row(x, &norm_weights(norm)))
    }

    fn linear(&self, x: &Rows, linear: &Linear<Self>) -> Result<Rows> {
        self.product(x, None, linear, Epilogue::Store)
    }

    fn linear_among(&self, x: &Rows, linear: &Linear<Self>, outputs: &OutputTiles) -> Result<Rows> {
        self.product_among(x, None, linear, Epilogue::Store, Some(outputs))
    }

    fn attention(
        &self,
        q: Rows,
        keys_values: KeysValues<Rows>,
        attention: &Attention<'_, Self>,
        caches: &mut [&mut KvCache],
        step: &Step,
    ) -> Result<Rows> {
        reserve(caches, step)?;
        let run = self.attention_of(&q, &keys_values, attention, step);
        // All caches of a model have the same precision.
        macro_rules! run {
            ($kind:ident) => {
                run.run(|index| match &caches[index].0 {
                    Pages::$kind(cache) => cache,
                    _ => unreachable!("a model's caches have one precision"),
                })
            };
        }
        Ok(match caches.first().map(|cache| &cache.0) {
            Some(Pages::F32(_)) => run!(F32),
            Some(Pages::Q8(_)) => run!(Q8),
            _ => run!(F16),
        })
    }

    fn append(
        &self,
        keys_values: KeysValues<Rows>,
        attention: &Attention<'_, Self>,
        caches: &mut [&mut KvCache],
        step: &Step,
    ) -> Result<()> {
        reserve(caches, step)?;
        let rows = step.batch().segments.iter().map(|segment| segment.rows);
        let no_queries = self.empty(rows.sum(), 0);
        let run = self.attention_of(&no_queries, &keys_values, attention, step);
        macro_rules! append {
            ($kind:ident) => {
                run.append_only(|index| match &caches[index].0 {
                    Pages::$kind(cache) => cache,
                    _ => unreachable!("a model's caches have one precision"),
                })
            };
        }
        match caches.first().map(|cache| &cache.0) {
            Some(Pages::F32(_)) => append!(F32),
            Some(Pages::Q8(_)) => append!(Q8),
            _ => append!(F16),
        }
        Ok(())
    }

    fn recur(
        &self,
        inputs: Rows,
        recurrence: &Recurrence,
        states: &mut [&mut RecurrentState],
        batch: Batch<'_>,
    ) -> Result<Rows> {
        let on_all_threads = |items: usize, work: &(dyn Fn(usize) + Sync)| {
            self.pool.for_each(items, work);
        };
        let memory = (self.tier, &self.buffers);
        let inputs = inputs.values();
        recurrent::recur(inputs, recurrence, states, batch, memory, &on_all_threads)
    }

    fn map_rows<const N: usize>(&self, parts: [Rows; N], map: &RowMap) -> Result<Rows> {
        let [x, more @ ..] = &parts[..] else {
            return Err(Error::Compute("a map of rows without any".into()));
        };
        let mut output = self.empty(x.rows, map.width(x.width));
        let work = Parts { map, more };
        map::map_rows(x, &mut output, &work, self.tier, &self.pool);
        Ok(output)
    }

    fn linear_heads(&self, x: &Rows, heads: &[Linear<Self>]) -> Result<Rows> {
        let inputs = x.width / heads.len().max(1);
        let mut parts = Vec::with_capacity(heads.len());
        for (head, linear) in heads.iter().enumerate() {
            let mut own = self.empty(x.rows, inputs);
            for (row, own) in own.values_mut().chunks_exact_mut(inputs.max(1)).enumerate() {
                own.copy_from_slice(&x.row(row)[head * inputs..][..inputs]);
            }
            let mut activations = self.unused_activations();
            self.pack(&mut activations, &own, None, [linear]);
            parts.push((activations, self.empty(x.rows, linear.matrix.outputs)));
        }
        let products = heads.iter().zip(&mut parts);
        let products = products.map(|(linear, (activations, output))| {
            Ok(Product {
                x: activations,
                layer: layer(linear)?,
                epilogue: Epilogue::Store,
                among: None,
                output,
            })
        });
        let mut products = products.collect::<Result<Vec<_>>>()?;
        multiply(&mut products, self.tier, &self.pool);
        let width = parts.iter().map(|(_, output)| output.width).sum();
        let mut outputs = self.empty(x.rows, width);
        for (row, output) in outputs
            .values_mut()
            .chunks_exact_mut(width.max(1))
            .enumerate()
        {
            let mut rest = output;
            for (_, part) in &parts {
                let (own, after) = rest.split_at_mut(part.width);
                own.copy_from_slice(part.row(row));
                rest = after;
            }
        }
        for (activations, _) in parts.into_iter().rev() {
            self.keep_activations(activations);
        }
        Ok(outputs)
    }

    fn experts(
        &self,
        x: &Rows,
        width: usize,
        experts: &[Expert<Self>],
        routes: &Routes,
        gating: Gating,
    ) -> Result<Rows> {
        match experts::are_fusible(experts) {
            true => experts::experts(self, x, experts, routes, gating),
            false => crate::experts::experts(self, x, width, experts, routes, gating),
        }
    }

    fn activate(&self, x: Rows, activation: Activation) -> Result<Rows> {
        Ok(self.each_row(&x, &EachLane(activation)))
    }

    fn multiply(&self, a: &Rows, b: &Rows) -> Result<Rows> {
        Ok(self.each_row(a, &EachLane(Multiply(b))))
    }

    fn add(&self, a: &Rows, b: &Rows) -> Result<Rows> {
        Ok(self.each_row(a, &EachLane(Add(b))))
    }

    fn scale(&self, x: Rows, factor: f32) -> Result<Rows> {
        Ok(self.each_row(&x, &EachLane(Scale(factor))))
    }

    fn softcap(&self, x: Rows, cap: f32) -> Result<Rows> {
        Ok(self.each_row(&x, &EachLane(Softcap(cap))))
    }

    fn row_count(&self, x: &Rows) -> usize {
        x.rows
    }

    fn select(&self, x: &Rows, rows: &[usize]) -> Result<Rows> {
        let mut output = self.empty(rows.len(), x.width);
        for (row, output) in rows.iter().zip(output.values_mut().chunks_mut(x.width)) {
            output.copy_from_slice(x.row(*row));
        }
        Ok(output)
    }

    fn read(&self, mut x: Rows, rows: &mut HostRows) -> Result<()> {
        x.move_to(rows);
        Ok(())
    }

    fn matrix_bytes(&self, matrix: &Matrix) -> usize {
        matrix.bytes() as usize
    }

    fn matrix_storage(&self, matrix: &Matrix) -> StorageType {
        matrix.storage
    }

    fn device_name(&self) -> String {
        "cpu".into()
    }

    fn kernels(&self) -> String {
        self.tier.to_string()
    }

    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn project<const N: usize>(
        &self,
        x: &Rows,
        norm: &Norm<Self>,
        linears: [&Linear<Self>; N],
    ) -> Result<[Rows; N]> {
        let mut outputs = linears.map(|linear| self.empty(x.rows, linear.matrix.outputs));
        let mut activations = self.unused_activations();
        self.pack(&mut activations, x, Some(norm_weights(norm)), linears);
        let products = linears.into_iter().zip(&mut outputs);
        let products = products.map(|(linear, output)| {
            Ok(Product {
                x: &activations,
                layer: layer(linear)?,
                epilogue: Epilogue::Store,
                among: None,
                output,
            })
        });
        let mut products = products.collect::<Result<SmallVec<[_; 4]>>>()?;
        multiply(&mut products, self.tier, &self.pool);
        drop(products);
        self.keep_activations(activations);
        Ok(outputs)
    }

    fn linear_add(
        &self,
        x: &Rows,
        linear: &Linear<Self>,
        post_norm: Option<&Norm<Self>>,
        residual: &Rows,
    ) -> Result<Rows> {
        if let Some(norm) = post_norm {
            let output = self.norm(&self.linear(x, linear)?, norm)?;
            return self.add(&output, residual);
        }
        self.product(x, None, linear, Epilogue::Add(residual))
    }

    fn mlp(
        &self,
        x: &Rows,
        norm: &Norm<Self>,
        gate: Option<&Linear<Self>>,
        up: &Linear<Self>,
        activation: Activation,
    ) -> Result<Rows> {
        let epilogue = match gate {
            Some(gate) if gate.matrix.layout() != up.matrix.layout() => {
                return gated(self, x, norm, gate, up, activation);
            }
            Some(gate) => Epilogue::Gate(layer(gate)?, Gating::Product(activation)),
            None => Epilogue::Activate(activation),
        };
        self.product(x, Some(norm_weights(norm)), up, epilogue)
    }
}
