//! Causal self-attention, with grouped key and value heads.

use crate::architecture::names::LayerTensor;
use crate::architecture::{AttentionGate, AttentionSpec, QueryKeyNorm};
use crate::backend::{Activation, Attention, AttentionShape, Backend, KeysValues, Linear, Norm};
use crate::error::Result;
use crate::model::loader::Loader;
use crate::model::norms::Norms;
use crate::model::pass::Pass;

/// The weights of one layer's attention.
pub(in crate::model) struct SelfAttention<B: Backend> {
    spec: AttentionSpec,
    norms: Norms<B>,
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    query_key_norms: QueryKeyNorms<B>,
    /// To the gate of what is attended to.
    gate: Option<Linear<B>>,
    sinks: Option<B::Vector>,
    output: Linear<B>,
}

/// Queries, keys, values, and the gate of what is attended to.
type Projections<B> = (
    <B as Backend>::Activations,
    <B as Backend>::Activations,
    <B as Backend>::Activations,
    Option<<B as Backend>::Activations>,
);

/// Norms on queries and keys.
enum QueryKeyNorms<B: Backend> {
    None,
    PerHead {
        query: Norm<B>,
        key: Norm<B>,
        /// Whether heads are rotated before.
        rotated_first: bool,
    },
    Whole {
        query: Norm<B>,
        key: Norm<B>,
    },
}

impl<B: Backend> SelfAttention<B> {
    pub(super) fn load(
        loader: &mut Loader<'_, B>,
        index: usize,
        spec: AttentionSpec,
    ) -> Result<Self> {
        use LayerTensor as T;
        let model = loader.spec;
        let (hidden, shape) = (model.hidden_size, spec.shape);
        let (queries, keys) = (shape.query_size(), shape.kv_size());
        let norms = loader.norms(index, T::AttentionNorm, T::PostAttentionNorm)?;
        let query = loader.layer_linear(index, T::Query, queries, hidden)?;
        let key = loader.layer_linear(index, T::Key, keys, hidden)?;
        let value = loader.layer_linear(index, T::Value, keys, hidden)?;
        let mut norm = |tensor, width| loader.layer_norm(index, tensor, width);
        let query_key_norms = match model.query_key_norm {
            QueryKeyNorm::None => QueryKeyNorms::None,
            of_head @ (QueryKeyNorm::PerHead | QueryKeyNorm::PerRotatedHead) => {
                QueryKeyNorms::PerHead {
                    query: norm(T::QueryNorm, shape.head_dim)?,
                    key: norm(T::KeyNorm, shape.head_dim)?,
                    rotated_first: of_head == QueryKeyNorm::PerRotatedHead,
                }
            }
            QueryKeyNorm::Unweighted { query } => QueryKeyNorms::PerHead {
                query: loader.uniform_norm(shape.head_dim, query)?,
                key: loader.uniform_norm(shape.head_dim, 1.0)?,
                rotated_first: false,
            },
            QueryKeyNorm::Whole => QueryKeyNorms::Whole {
                query: norm(T::QueryNorm, queries)?,
                key: norm(T::KeyNorm, keys)?,
            },
        };
        let gate = match model.attention_gate {
            AttentionGate::None => None,
            AttentionGate::BesideQuery | AttentionGate::Own => {
                Some(loader.layer_linear(index, T::QueryGate, queries, hidden)?)
            }
        };
        let sinks = match model.attention_sinks {
            true => Some(loader.layer_vector(index, T::Sinks, shape.heads)?),
            false => None,
        };
        Ok(Self {
            spec,
            norms,
            query,
            key,
            value,
            query_key_norms,
            gate,
            sinks,
            output: loader.layer_linear(index, T::Output, hidden, queries)?,
        })
    }

    /// Of its heads.
    pub(super) fn shape(&self) -> AttentionShape {
        self.spec.shape
    }

    pub(super) fn forward(
        &self,
        x: &B::Activations,
        index: usize,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        let backend = pass.backend;
        let (mut q, mut k, v, gate) = self.project(backend, x)?;
        let (mut query_norm, mut key_norm, mut normed_last) = (None, None, false);
        match &self.query_key_norms {
            QueryKeyNorms::None => {}
            QueryKeyNorms::PerHead {
                query,
                key,
                rotated_first,
            } => {
                (query_norm, key_norm, normed_last) = (Some(query), Some(key), *rotated_first);
            }
            QueryKeyNorms::Whole { query, key } => {
                q = backend.norm(&q, query)?;
                k = backend.norm(&k, key)?;
            }
        }
        let attention = Attention {
            layer: index,
            shape: self.spec.shape,
            window: self.spec.window,
            rope: self.spec.rope,
            query_norm,
            key_norm,
            value_norm: None,
            rotated_first: normed_last,
            sinks: self.sinks.as_ref(),
        };
        let mut attended =
            backend.attention(q, KeysValues::Own(k, v), &attention, pass.caches, pass.step)?;
        if let Some(gate) = gate {
            attended =
                backend.multiply(&attended, &backend.activate(gate, Activation::Sigmoid)?)?;
        }
        self.norms.join(backend, &attended, &self.output, x)
    }

    /// Queries, keys, values, and the gate if there is one.
    fn project(&self, backend: &B, x: &B::Activations) -> Result<Projections<B>> {
        let (norms, [query, key, value]) = (&self.norms, [&self.query, &self.key, &self.value]);
        Ok(match &self.gate {
            None => {
                let [q, k, v] = norms.project(backend, x, [query, key, value])?;
                (q, k, v, None)
            }
            Some(gate) => {
                let [q, k, v, gate] = norms.project(backend, x, [query, key, value, gate])?;
                (q, k, v, Some(gate))
            }
        })
    }
}
