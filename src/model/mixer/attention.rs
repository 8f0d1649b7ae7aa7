//! Causal self-attention, with grouped key and value heads.

use crate::architecture::names::LayerTensor;
use crate::architecture::{AttentionSpec, QueryKeyNorm};
use crate::backend::{Attention, AttentionShape, Backend, Linear, Norm};
use crate::error::Result;
use crate::model::layer::{Norms, Pass};
use crate::model::loader::Loader;

/// The weights of one layer's attention.
pub(in crate::model) struct SelfAttention<B: Backend> {
    spec: AttentionSpec,
    shape: AttentionShape,
    norms: Norms<B>,
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    head_norms: Option<HeadNorms<B>>,
    output: Linear<B>,
}

/// Norms on each query and key head.
struct HeadNorms<B: Backend> {
    query: Norm<B>,
    key: Norm<B>,
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
        let head_norms = match model.query_key_norm {
            QueryKeyNorm::None => None,
            QueryKeyNorm::PerHead => Some(HeadNorms {
                query: loader.layer_norm(index, T::QueryNorm, model.attention.head_dim)?,
                key: loader.layer_norm(index, T::KeyNorm, model.attention.head_dim)?,
            }),
        };
        Ok(Self {
            spec,
            shape: model.attention,
            norms,
            query,
            key,
            value,
            head_norms,
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
        let projections = [&self.query, &self.key, &self.value];
        let [q, k, v] = backend.project(x, &self.norms.before, projections)?;
        let head_norms = self.head_norms.as_ref();
        let attention = Attention {
            layer: index,
            shape: self.shape,
            window: self.spec.window,
            rope: self.spec.rope,
            query_norm: head_norms.map(|norms| &norms.query),
            key_norm: head_norms.map(|norms| &norms.key),
        };
        let attended = backend.attention(q, k, v, &attention, pass.caches, pass.step)?;
        backend.linear_add(&attended, &self.output, self.norms.after.as_ref(), x)
    }
}
