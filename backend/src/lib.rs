//! The operations that a decoder needs, over the rows of a ragged batch.
//!
//! A row is one token of one sequence. Primitives come first; the fused operations after them have default bodies made of
//! primitives, which a backend overrides with faster ones.

mod best;
pub mod candle;
pub mod cpu;
mod dequantize;
mod device_rows;
mod error;
mod experts;
pub mod formats;
mod host;
mod output_tiles;
mod precision;
mod quantize;
mod recurrent;
mod rotary;
mod shapes;
mod tensor;

pub use best::{argmax, largest, top_k};
use cpu::HostRecurrence;
pub use dequantize::dequantize;
pub use device_rows::DeviceRows;
pub use error::{Error, Result};
pub use experts::{Expert, Routes};
pub use formats::StorageType;
pub use host::HostRows;
pub use output_tiles::OutputTiles;
pub use precision::{CachePrecision, WeightPrecision};
pub use quantize::quantize;
pub use recurrent::{
    Convolution, DeltaRule, GateOrder, GatedNorm, Recurrence, RecurrentState, RowMap, ShortConv,
    Span, StateSpace, Taps,
};
pub use rotary::{Pairing, QueryGrowth, Rope, Stretched};
pub use shapes::{Activation, AttentionShape, Gating, NormKind};
pub use tensor::{MatrixSource, StoredTensor, elements};

/// Rows of a tree, at most: the rows that a row sees are the bits of a word.
pub const MAX_TREE_ROWS: usize = 64;

/// One sequence's share of a batch: consecutive rows that follow what its cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Tokens in the cache before this step; the first row's position.
    pub past: usize,
    /// Index of the first row in the batch.
    pub first_row: usize,
    /// Number of rows.
    pub rows: usize,
    /// Which of its rows a row sees.
    pub mask: Mask,
    /// How many tokens before the segment's end may yet be rolled back; recurrent layers commit the others. Those of a tree's
    /// rows may all be.
    pub provisional: usize,
    /// Whether its text is longer than those trained on, for rotary embeddings with other frequencies then
    /// ([`Rope::stretched`]): the same for all of a text's tokens.
    pub is_stretched: bool,
}

impl Segment {
    /// The position of a row, counted within the segment, as are `ancestors` ([`Batch::ancestors_of`]).
    pub fn position(&self, row: usize, ancestors: &[u64]) -> usize {
        match self.mask {
            Mask::Tree => self.past + ancestors[row].count_ones() as usize - 1,
            Mask::Causal | Mask::Full | Mask::Past => self.past + row,
        }
    }

    /// The last position that a row sees.
    pub fn last_seen(&self, row: usize, ancestors: &[u64]) -> usize {
        match self.mask {
            Mask::Causal | Mask::Tree => self.position(row, ancestors),
            Mask::Full => self.past + self.rows - 1,
            Mask::Past => self.past.saturating_sub(1),
        }
    }
}

/// Which rows of its segment a row sees, besides all tokens in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Itself and those before it.
    Causal,
    /// Its ancestors in a tree of at most [`MAX_TREE_ROWS`], and itself: the rows are appended to the cache in their order, but
    /// each has the position of its depth.
    Tree,
    /// All of them: a block of tokens that are guessed at once.
    Full,
    /// None of them: they only read the cache, which holds at least one token.
    Past,
}

/// The rows of a step.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Contiguous, in the order of their rows.
    pub segments: &'a [Segment],
    /// For each row of the step, the rows of its segment that it sees, itself included, as bits; read if a segment is a
    /// tree, and empty if none is.
    pub ancestors: &'a [u64],
}

impl Batch<'_> {
    /// The ancestors of one segment's rows, if it is a tree.
    pub fn ancestors_of(&self, segment: usize) -> &[u64] {
        let segment = &self.segments[segment];
        match segment.mask {
            Mask::Tree => &self.ancestors[segment.first_row..segment.first_row + segment.rows],
            Mask::Causal | Mask::Full | Mask::Past => &[],
        }
    }

    /// The positions of all rows, in their order.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.rotations().map(|(position, _)| position)
    }

    /// The same, each with whether its text is stretched.
    pub fn rotations(&self) -> impl Iterator<Item = (usize, bool)> {
        let segments = self.segments.iter().enumerate();
        segments.flat_map(|(index, segment)| {
            let ancestors = self.ancestors_of(index);
            let position = move |row| (segment.position(row, ancestors), segment.is_stretched);
            (0..segment.rows).map(position)
        })
    }
}

/// A linear layer: `x * matrix^T + bias`.
pub struct Linear<B: Backend> {
    /// `[out, in]`
    pub matrix: B::Matrix,
    /// `[out]`
    pub bias: Option<B::Vector>,
}

/// A normalization layer.
pub struct Norm<B: Backend> {
    /// Root mean square or mean and variance, with its epsilon.
    pub kind: NormKind,
    /// `[width]`
    pub weight: B::Vector,
    /// `[width]`
    pub bias: Option<B::Vector>,
}

/// One layer's attention, without its rows.
pub struct Attention<'a, B: Backend> {
    /// The layer, as an index into the cache.
    pub layer: usize,
    /// Heads.
    pub shape: AttentionShape,
    /// A row sees itself and the `window - 1` tokens before it; `None`: all before it.
    pub window: Option<usize>,
    /// Index of the rotary embedding among those given to [`Backend::begin`].
    pub rope: Option<usize>,
    /// Norm of each query head.
    pub query_norm: Option<&'a Norm<B>>,
    /// Norm of each key head.
    pub key_norm: Option<&'a Norm<B>>,
    /// Norm of each value head.
    pub value_norm: Option<&'a Norm<B>>,
    /// Whether queries and keys are rotated before they are normalized (Hunyuan).
    pub rotated_first: bool,
    /// Of each query head, a score that takes part in the softmax and has no value (an attention sink).
    pub sinks: Option<&'a B::Vector>,
}

/// The keys and values of a step's rows, `[rows, kv_heads * head_dim]` each.
pub enum KeysValues<A> {
    /// Of the layer's own projections.
    Own(A, A),
    /// The values are the keys, as they are before those are normalized and rotated (Gemma 4).
    Same(A),
    /// Another layer has appended them (Gemma 3n, Gemma 4).
    Borrowed,
}

/// The first position that a row at `position` sees, through a window if there is one.
fn first_seen(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}

/// `activation(gate(norm(x))) * up(norm(x))`, made of primitives.
fn gated<B: Backend>(
    backend: &B,
    x: &B::Activations,
    norm: &Norm<B>,
    gate: &Linear<B>,
    up: &Linear<B>,
    activation: Activation,
) -> Result<B::Activations> {
    let [gated, up] = backend.project(x, norm, [gate, up])?;
    backend.multiply(&backend.activate(gated, activation)?, &up)
}

/// Storage and arithmetic of one kind of device.
///
/// Shapes are given as `[rows, width]`; every activation is f32.
pub trait Backend: Sized + Send + Sync + 'static {
    /// A batch of rows.
    type Activations: Send;
    /// A weight matrix, in the device's own layout.
    type Matrix: Send + Sync;
    /// A bias or norm weight.
    type Vector: Send + Sync;
    /// Keys and values of one sequence, all layers.
    type KvCache: Send;
    /// What all layers of one step share: positions, rotations, masks.
    type Step;

    /// Up to how many rows a step is batch invariant: each row's results are the same bits as if it were computed alone.
    fn batch_invariant_rows(&self) -> usize;

    /// Bytes that a weight, matrix or vector, will take on the device.
    fn footprint(&self, tensor: &StoredTensor<'_>) -> u64;
    /// Brings a weight matrix `[out, in]` to the device.
    fn matrix(&self, tensor: &StoredTensor<'_>) -> Result<Self::Matrix>;
    /// Brings a weight matrix to the device whose values are not converted, whatever the precision of others: a router's.
    fn exact_matrix(&self, tensor: &StoredTensor<'_>) -> Result<Self::Matrix>;
    /// Brings a matrix to the device when it is first used: an expert's, of which a text may need few. It is
    /// [kept](Self::keep_matrix) under this name.
    ///
    /// The default body brings it now.
    fn matrix_on_first_use(
        &self,
        name: &str,
        source: Box<dyn MatrixSource>,
    ) -> Result<Self::Matrix> {
        let matrix = self.matrix(&source.tensor()?)?;
        source.check()?;
        source.release();
        self.keep_matrix(name, &matrix)?;
        Ok(matrix)
    }
    /// How many matrices of [`Self::matrix_on_first_use`] were used so far: each took time that later uses don't take.
    fn first_uses(&self) -> usize {
        0
    }
    /// The matrix of that name and shape `[out, in]`, if an earlier process brought it to this kind of device and kept it.
    fn kept_matrix(&self, name: &str, shape: [usize; 2]) -> Option<Self::Matrix> {
        let _ = (name, shape);
        None
    }
    /// Keeps a matrix of [`Self::matrix`] for later processes, if the backend can.
    fn keep_matrix(&self, name: &str, matrix: &Self::Matrix) -> Result<()> {
        let _ = (name, matrix);
        Ok(())
    }
    /// Brings a vector to the device.
    fn vector(&self, values: Vec<f32>) -> Result<Self::Vector>;
    /// The precision of keys and values that suits most weights being stored like this.
    fn cache_precision(&self, weights: StorageType) -> CachePrecision;
    /// An empty cache for layers of these shapes, which may grow to `context_length` tokens.
    fn kv_cache(
        &self,
        layers: &[AttentionShape],
        precision: CachePrecision,
        context_length: usize,
    ) -> Result<Self::KvCache>;
    /// A copy of a cache's first `length` tokens.
    fn fork(&self, cache: &Self::KvCache, length: usize) -> Result<Self::KvCache>;
    /// Accepts a path of the tokens after the first `past`: token `path[i]` of them becomes token `past + i`. `path` ascends.
    fn accept(&self, cache: &mut Self::KvCache, past: usize, path: &[usize]) -> Result<()>;
    /// Prepares a step over these rows.
    fn begin(&self, batch: Batch<'_>, ropes: &[Rope]) -> Result<Self::Step>;

    /// Rows from the host: `[rows, width]`.
    fn rows(&self, values: &[f32], width: usize) -> Result<Self::Activations>;
    /// Rows of a table: `[ids, width]`.
    fn embed(&self, table: &Self::Matrix, ids: &[u32]) -> Result<Self::Activations>;
    /// Normalizes each row.
    fn norm(&self, x: &Self::Activations, norm: &Norm<Self>) -> Result<Self::Activations>;
    /// `[rows, in]` to `[rows, out]`.
    fn linear(&self, x: &Self::Activations, linear: &Linear<Self>) -> Result<Self::Activations>;
    /// `[rows, in]` to some outputs, `[rows, outputs.len()]`, in their order.
    fn linear_among(
        &self,
        x: &Self::Activations,
        linear: &Linear<Self>,
        outputs: &OutputTiles,
    ) -> Result<Self::Activations>;
    /// Head norms, rotary embedding, and append to the caches at each segment's `past`; what [`attention`](Self::attention)
    /// does, without queries.
    fn append(
        &self,
        keys_values: KeysValues<Self::Activations>,
        attention: &Attention<'_, Self>,
        caches: &mut [&mut Self::KvCache],
        step: &Self::Step,
    ) -> Result<()>;
    /// Head norms, rotary embedding, append to the caches at each segment's `past`, and attention.
    ///
    /// `q` is `[rows, heads * head_dim]`; `caches` are those of the step's segments, in their order.
    fn attention(
        &self,
        q: Self::Activations,
        keys_values: KeysValues<Self::Activations>,
        attention: &Attention<'_, Self>,
        caches: &mut [&mut Self::KvCache],
        step: &Self::Step,
    ) -> Result<Self::Activations>;
    /// A recurrent layer: advances `states`, those of the batch's segments, by their rows' inputs, `[rows, input_width]`, to
    /// outputs of `[rows, output_width]`. Where it fails, a state may be committed up to its segment's `past`.
    ///
    /// The default body computes on the host.
    fn recur(
        &self,
        inputs: Self::Activations,
        recurrence: &Recurrence,
        states: &mut [&mut RecurrentState],
        batch: Batch<'_>,
    ) -> Result<Self::Activations> {
        let mut host = HostRows::default();
        self.read(inputs, &mut host)?;
        let outputs = HostRecurrence::new().recur(host.values(), recurrence, states, batch)?;
        self.rows(outputs.values(), recurrence.output_width())
    }
    /// What else rows of recurrent layers pass through, each by itself: `parts` of as many rows each.
    ///
    /// The default body computes on the host.
    fn map_rows<const N: usize>(
        &self,
        parts: [Self::Activations; N],
        map: &RowMap,
    ) -> Result<Self::Activations> {
        let rows = parts.first().map_or(0, |part| self.row_count(part));
        let read = |part| {
            let mut host = HostRows::default();
            self.read(part, &mut host)?;
            Ok(host)
        };
        let parts = parts.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        let output = HostRecurrence::new().map_rows(&parts, rows, map)?;
        self.rows(output.values(), output.values().len() / rows.max(1))
    }
    /// A mixture of experts: of each row the weighted sum, in the experts' order, of what its experts make of it, `[rows,
    /// width]`.
    fn experts(
        &self,
        x: &Self::Activations,
        width: usize,
        experts: &[Expert<Self>],
        routes: &Routes,
        gating: Gating,
    ) -> Result<Self::Activations> {
        experts::experts(self, x, width, experts, routes, gating)
    }
    /// A linear layer for each head: `[rows, heads * in]` to `[rows, heads * out]`.
    fn linear_heads(
        &self,
        x: &Self::Activations,
        heads: &[Linear<Self>],
    ) -> Result<Self::Activations>;
    /// The nonlinearity, elementwise.
    fn activate(&self, x: Self::Activations, activation: Activation) -> Result<Self::Activations>;
    /// Elementwise product.
    fn multiply(&self, a: &Self::Activations, b: &Self::Activations) -> Result<Self::Activations>;
    /// Elementwise sum.
    fn add(&self, a: &Self::Activations, b: &Self::Activations) -> Result<Self::Activations>;
    /// Every element times a factor.
    fn scale(&self, x: Self::Activations, factor: f32) -> Result<Self::Activations>;
    /// `cap * tanh(x / cap)`, elementwise.
    fn softcap(&self, x: Self::Activations, cap: f32) -> Result<Self::Activations>;
    /// How many rows there are.
    fn row_count(&self, x: &Self::Activations) -> usize;
    /// These rows, in this order.
    fn select(&self, x: &Self::Activations, rows: &[usize]) -> Result<Self::Activations>;
    /// Appends all rows to those on the host.
    fn read(&self, x: Self::Activations, rows: &mut HostRows) -> Result<()>;

    /// The rows, to be asked for what is needed of them; `None`: it is cheapest to [read](Self::read) them.
    fn leave_on_device(&self, x: &Self::Activations) -> Option<Box<dyn DeviceRows>> {
        let _ = x;
        None
    }

    /// Bytes of a matrix on the device.
    fn matrix_bytes(&self, matrix: &Self::Matrix) -> usize;
    /// How a matrix is stored on the device.
    fn matrix_storage(&self, matrix: &Self::Matrix) -> StorageType;
    /// The device, as [`crate::Device`] prints it.
    fn device_name(&self) -> String;
    /// The kernels' name.
    fn kernels(&self) -> String;
    /// Number of CPU threads.
    fn threads(&self) -> usize;

    /// Fused: one norm, then several linear layers on its result.
    fn project<const N: usize>(
        &self,
        x: &Self::Activations,
        norm: &Norm<Self>,
        linears: [&Linear<Self>; N],
    ) -> Result<[Self::Activations; N]> {
        let normed = self.norm(x, norm)?;
        let outputs = linears
            .into_iter()
            .map(|linear| self.linear(&normed, linear))
            .collect::<Result<Vec<_>>>()?;
        outputs
            .try_into()
            .map_err(|_| crate::Error::Compute("a projection lost an output".into()))
    }

    /// Fused: a linear layer (and a norm on its result) added to the residual stream.
    fn linear_add(
        &self,
        x: &Self::Activations,
        linear: &Linear<Self>,
        post_norm: Option<&Norm<Self>>,
        residual: &Self::Activations,
    ) -> Result<Self::Activations> {
        let output = self.linear(x, linear)?;
        match post_norm {
            Some(norm) => self.add(&self.norm(&output, norm)?, residual),
            None => self.add(&output, residual),
        }
    }

    /// Fused: norm, then `activation(gate(x)) * up(x)`, or `activation(up(x))` without a gate.
    fn mlp(
        &self,
        x: &Self::Activations,
        norm: &Norm<Self>,
        gate: Option<&Linear<Self>>,
        up: &Linear<Self>,
        activation: Activation,
    ) -> Result<Self::Activations> {
        match gate {
            Some(gate) => gated(self, x, norm, gate, up, activation),
            None => {
                let [up] = self.project(x, norm, [up])?;
                self.activate(up, activation)
            }
        }
    }
}
