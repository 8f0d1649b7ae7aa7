//! Causal self-attention, with grouped key and value heads.

use crate::architecture::names::LayerTensor;
use crate::architecture::{AttentionSpec, QueryKeyNorm};
use crate::backend::{Activation, Attention, AttentionShape, Backend, Linear, Norm};
use crate::error::Result;
use crate::model::loader::Loader;
use crate::model::norms::Norms;
use crate::model::pass::Pass;

/// The weights of one layer's attention.
pub(in crate::model) struct SelfAttention<B: Backend> {
    spec: AttentionSpec,
    shape: AttentionShape,
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
    PerHead { query: Norm<B>, key: Norm<B> },
    Whole { query: Norm<B>, key: Norm<B> },
}

impl<B: Backend> SelfAttention<B> {
    pub(super) fn load(
        loader: &mut Loader<'_, B>,
        index: usize,
        spec: AttentionSpec,
    ) -> Result<Self> {
        use LayerTensor as T;
        let model = loader.spec;
        let (hidden, queries, keys) = (model.hidden_size, model.query_size(), model.kv_size());
        let norms = loader.norms(index, T::AttentionNorm, T::PostAttentionNorm)?;
        let query = loader.layer_linear(index, T::Query, queries, hidden)?;
        let key = loader.layer_linear(index, T::Key, keys, hidden)?;
        let value = loader.layer_linear(index, T::Value, keys, hidden)?;
        let mut norm = |tensor, width| loader.layer_norm(index, tensor, width);
        let head_dim = model.attention.head_dim;
        let query_key_norms = match model.query_key_norm {
            QueryKeyNorm::None => QueryKeyNorms::None,
            QueryKeyNorm::PerHead => QueryKeyNorms::PerHead {
                query: norm(T::QueryNorm, head_dim)?,
                key: norm(T::KeyNorm, head_dim)?,
            },
            QueryKeyNorm::Whole => QueryKeyNorms::Whole {
                query: norm(T::QueryNorm, queries)?,
                key: norm(T::KeyNorm, keys)?,
            },
        };
        let gate = match model.attention_gate {
            true => Some(loader.layer_linear(index, T::QueryGate, queries, hidden)?),
            false => None,
        };
        let sinks = match model.attention_sinks {
            true => Some(loader.layer_vector(index, T::Sinks, model.attention.heads)?),
            false => None,
        };
        let mut shape = model.attention;
        if model.scaled_by_layer {
            shape.scale /= (index + 1) as f32;
        }
        Ok(Self {
            spec,
            shape,
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

    pub(super) fn forward(
        &self,
        x: &B::Activations,
        index: usize,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        let backend = pass.backend;
        let (mut q, mut k, v, gate) = self.project(backend, x)?;
        let (mut query_norm, mut key_norm) = (None, None);
        match &self.query_key_norms {
            QueryKeyNorms::None => {}
            QueryKeyNorms::PerHead { query, key } => {
                (query_norm, key_norm) = (Some(query), Some(key));
            }
            QueryKeyNorms::Whole { query, key } => {
                q = backend.norm(&q, query)?;
                k = backend.norm(&k, key)?;
            }
        }
        let attention = Attention {
            layer: index,
            shape: self.shape,
            window: self.spec.window,
            rope: self.spec.rope,
            query_norm,
            key_norm,
            sinks: self.sinks.as_ref(),
        };
        let mut attended = backend.attention(q, k, v, &attention, pass.caches, pass.step)?;
        if let Some(gate) = gate {
            attended =
                backend.multiply(&attended, &backend.activate(gate, Activation::Sigmoid)?)?;
        }
        let after = self.norms.after.as_ref();
        Ok(backend.linear_add(&attended, &self.output, after, x)?)
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
