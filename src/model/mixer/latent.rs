//! Attention over compressed keys and values (multi-head latent attention; DeepSeek-V2, 2405.04434).
//!
//! What is cached of a token is one vector `[rotated key | compressed keys and values]` for all heads. The matrices that expand
//! it to keys are multiplied with the queries in its place, and those that expand it to values with what was attended to.

use crate::architecture::LatentSpec;
use crate::architecture::names::LayerTensor;
use crate::backend::{
    Attention, AttentionShape, Backend, KeysValues, Linear, Norm, NormKind, RowMap, Span,
};
use crate::error::Result;
use crate::model::loader::Loader;
use crate::model::norms::Norms;
use crate::model::pass::Pass;

/// Of the norms on compressed queries, keys and values, whatever the other norms' is.
const EPSILON: f32 = 1e-6;

/// The weights of one layer's attention.
pub(in crate::model) struct LatentAttention<B: Backend> {
    spec: LatentSpec,
    norms: Norms<B>,
    query: Query<B>,
    /// To compressed keys and values, and to the rotated part of keys.
    key_down: Linear<B>,
    key_norm: Norm<B>,
    rotary_key: Linear<B>,
    /// Of each head: from queries to what is compared with compressed keys.
    key_up: Vec<Linear<B>>,
    /// Of each head: from compressed values.
    value_up: Vec<Linear<B>>,
    /// Of each head's queries the part that is not rotated.
    plain_queries: RowMap,
    /// Queries, and keys, as they are compared.
    queries: RowMap,
    keys: RowMap,
    /// Of what was attended to, the compressed values.
    attended: RowMap,
    output: Linear<B>,
}

/// To queries.
enum Query<B: Backend> {
    Direct(Linear<B>),
    Compressed {
        down: Linear<B>,
        norm: Norm<B>,
        up: Linear<B>,
    },
}

impl<B: Backend> LatentAttention<B> {
    /// Brings the weights of layer `index` to the backend.
    pub(super) fn load(loader: &mut Loader<'_, B>, index: usize, spec: LatentSpec) -> Result<Self> {
        use LayerTensor as T;
        let (hidden, heads) = (loader.spec.hidden_size, spec.heads);
        let (plain, rotary, rank) = (spec.plain_dim, spec.rotary_dim, spec.rank);
        let queries = heads * (plain + rotary);
        let kind = NormKind::Rms(EPSILON);
        let query = match spec.query_rank {
            None => Query::Direct(loader.layer_linear(index, T::QueryUp, queries, hidden)?),
            Some(rank) => Query::Compressed {
                down: loader.layer_linear(index, T::QueryDown, rank, hidden)?,
                norm: loader.layer_norm_of_kind(index, T::QueryDownNorm, rank, kind)?,
                up: loader.layer_linear(index, T::QueryUp, queries, rank)?,
            },
        };
        let key_up = (0..heads).map(|head| loader.transposed_key_up(index, head, rank, plain));
        let key_up = key_up.collect::<Result<_>>()?;
        let value_up = (0..heads).map(|head| {
            let tensor = T::ValueUp(head);
            loader.layer_linear(index, tensor, spec.value_dim, rank)
        });
        let value_up = value_up.collect::<Result<_>>()?;
        let each = |spans: &dyn Fn(usize) -> Vec<Span>| {
            RowMap::Arrange((0..heads).flat_map(spans).collect())
        };
        let of_head = plain + rotary;
        Ok(Self {
            norms: loader.norms(index, T::AttentionNorm, T::PostAttentionNorm)?,
            query,
            key_down: loader.layer_linear(index, T::KeyDown, rank, hidden)?,
            key_norm: loader.layer_norm_of_kind(index, T::KeyDownNorm, rank, kind)?,
            rotary_key: loader.layer_linear(index, T::RotaryKey, rotary, hidden)?,
            key_up,
            value_up,
            plain_queries: each(&|head| vec![Span::new(0, head * of_head, plain)]),
            queries: each(&|head| {
                let rotated = Span::new(0, head * of_head + plain, rotary);
                vec![rotated, Span::new(1, head * rank, rank)]
            }),
            keys: RowMap::Arrange(vec![Span::new(0, 0, rotary), Span::new(1, 0, rank)]),
            attended: each(&|head| vec![Span::new(0, head * (rotary + rank) + rotary, rank)]),
            output: loader.layer_linear(index, T::Output, hidden, heads * spec.value_dim)?,
            spec,
        })
    }

    /// The shape of the keys and values that a sequence has of it.
    pub(super) fn shape(&self) -> AttentionShape {
        self.spec.shape()
    }

    pub(super) fn forward(
        &self,
        x: &B::Activations,
        index: usize,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        let backend = pass.backend;
        let (queries, compressed, rotary) = self.project(backend, x)?;
        let all = (0..backend.row_count(x)).collect::<Vec<_>>();
        let plain = backend.select(&queries, &all)?;
        let plain = backend.map_rows([plain], &self.plain_queries)?;
        let absorbed = backend.linear_heads(&plain, &self.key_up)?;
        let queries = backend.map_rows([queries, absorbed], &self.queries)?;
        let compressed = backend.norm(&compressed, &self.key_norm)?;
        let keys = backend.map_rows([rotary, compressed], &self.keys)?;
        let attention = Attention {
            layer: index,
            shape: self.spec.shape(),
            window: None,
            rope: Some(self.spec.rope),
            query_norm: None,
            key_norm: None,
            value_norm: None,
            rotated_first: false,
            sinks: None,
        };
        let keys_values = KeysValues::Same(keys);
        let attended =
            backend.attention(queries, keys_values, &attention, pass.caches, pass.step)?;
        let attended = backend.map_rows([attended], &self.attended)?;
        let values = backend.linear_heads(&attended, &self.value_up)?;
        self.norms.join(backend, &values, &self.output, x)
    }

    /// Queries, compressed keys and values, and the rotated part of keys.
    fn project(
        &self,
        backend: &B,
        x: &B::Activations,
    ) -> Result<(B::Activations, B::Activations, B::Activations)> {
        let keys = [&self.key_down, &self.rotary_key];
        Ok(match &self.query {
            Query::Direct(query) => {
                let linears = [query, keys[0], keys[1]];
                let [queries, compressed, rotary] = self.norms.project(backend, x, linears)?;
                (queries, compressed, rotary)
            }
            Query::Compressed { down, norm, up } => {
                let linears = [down, keys[0], keys[1]];
                let [down, compressed, rotary] = self.norms.project(backend, x, linears)?;
                let [queries] = backend.project(&down, norm, [up])?;
                (queries, compressed, rotary)
            }
        })
    }
}
