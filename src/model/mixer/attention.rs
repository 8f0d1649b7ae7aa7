//! Causal self-attention, with grouped key and value heads.

use crate::architecture::names::LayerTensor;
use crate::architecture::{AttentionGate, AttentionSpec, KeyValueSource, QueryKeyNorm};
use crate::backend::{Activation, Attention, AttentionShape, Backend, KeysValues, Linear, Norm};
use crate::error::{Error, Result};
use crate::model::loader::Loader;
use crate::model::norms::Norms;
use crate::model::pass::Pass;

/// The weights of one layer's attention.
pub(in crate::model) struct SelfAttention<B: Backend> {
    spec: AttentionSpec,
    norms: Norms<B>,
    query: Linear<B>,
    keys_values: KeyValueProjections<B>,
    query_key_norms: QueryKeyNorms<B>,
    value_norm: Option<Norm<B>>,
    /// To the gate of what is attended to.
    gate: Option<Linear<B>>,
    sinks: Option<B::Vector>,
    output: Linear<B>,
}

/// To keys and values.
enum KeyValueProjections<B: Backend> {
    Both(Linear<B>, Linear<B>),
    /// To both at once.
    One(Linear<B>),
    /// Another layer has them.
    Borrowed,
}

/// Queries, keys and values, and the gate of what is attended to.
type Projections<B> = (
    <B as Backend>::Activations,
    KeysValues<<B as Backend>::Activations>,
    Option<<B as Backend>::Activations>,
);

/// Norms on queries and keys.
enum QueryKeyNorms<B: Backend> {
    None,
    PerHead {
        query: Norm<B>,
        key: Option<Norm<B>>,
        /// Whether heads are rotated before.
        rotated_first: bool,
    },
    Whole {
        query: Norm<B>,
        key: Option<Norm<B>>,
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
        let mut norms = loader.norms(index, T::AttentionNorm, T::PostAttentionNorm)?;
        norms.scale *= spec.output_scale;
        let query = loader.layer_linear(index, T::Query, queries, hidden)?;
        let mut linear = |tensor| loader.layer_linear(index, tensor, keys, hidden);
        let keys_values = match spec.source {
            KeyValueSource::Projections => {
                KeyValueProjections::Both(linear(T::Key)?, linear(T::Value)?)
            }
            KeyValueSource::OneProjection => KeyValueProjections::One(linear(T::Key)?),
            KeyValueSource::Layer(_) | KeyValueSource::Target => KeyValueProjections::Borrowed,
        };
        let query_key_norms = Self::query_key_norms(loader, index, spec)?;
        let value_norm = match model.value_norm {
            true => Some(loader.uniform_norm(shape.head_dim, 1.0)?),
            false => None,
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
            keys_values,
            query_key_norms,
            value_norm,
            gate,
            sinks,
            output: loader.layer_linear(index, T::Output, hidden, queries)?,
        })
    }

    fn query_key_norms(
        loader: &mut Loader<'_, B>,
        index: usize,
        spec: AttentionSpec,
    ) -> Result<QueryKeyNorms<B>> {
        use LayerTensor as T;
        let (kind, shape) = (loader.spec.query_key_norm, spec.shape);
        // Keys that another layer appends are normalized there.
        let borrows = !spec.source.is_own();
        let mut norms = |query, key| {
            let query = loader.layer_norm(index, T::QueryNorm, query)?;
            let key = (!borrows).then(|| loader.layer_norm(index, T::KeyNorm, key));
            Ok::<_, Error>((query, key.transpose()?))
        };
        let of_head = |(query, key), rotated_first| QueryKeyNorms::PerHead {
            query,
            key,
            rotated_first,
        };
        let head = shape.head_dim;
        Ok(match kind {
            QueryKeyNorm::None => QueryKeyNorms::None,
            QueryKeyNorm::PerHead => of_head(norms(head, head)?, false),
            QueryKeyNorm::PerRotatedHead => of_head(norms(head, head)?, true),
            QueryKeyNorm::Unweighted { query } => {
                let query = loader.uniform_norm(head, query)?;
                let key = loader.uniform_norm(head, 1.0)?;
                of_head((query, Some(key)), false)
            }
            QueryKeyNorm::Whole => {
                let (query, key) = norms(shape.query_size(), shape.kv_size())?;
                QueryKeyNorms::Whole { query, key }
            }
        })
    }

    /// The shape of the keys and values that a sequence has of it, unless they are another layer's.
    pub(super) fn cached_shape(&self) -> Option<AttentionShape> {
        match self.keys_values {
            KeyValueProjections::Borrowed => None,
            KeyValueProjections::Both(..) | KeyValueProjections::One(_) => Some(self.spec.shape),
        }
    }

    pub(super) fn forward(
        &self,
        x: &B::Activations,
        index: usize,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        let backend = pass.backend;
        let (mut q, mut keys_values, gate) = self.project(backend, x)?;
        if let QueryKeyNorms::Whole { query, .. } = &self.query_key_norms {
            q = backend.norm(&q, query)?;
        }
        self.norm_whole_keys(backend, &mut keys_values)?;
        let attention = self.of_step(index);
        let mut attended = backend.attention(q, keys_values, &attention, pass.caches, pass.step)?;
        if let Some(gate) = gate {
            attended =
                backend.multiply(&attended, &backend.activate(gate, Activation::Sigmoid)?)?;
        }
        self.norms.join(backend, &attended, &self.output, x)
    }

    /// Appends the keys and values of rows of the residual stream.
    pub(in crate::model) fn append_stream(
        &self,
        x: &B::Activations,
        index: usize,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<()> {
        match &self.norms.before {
            Some(norm) => self.append(&pass.backend.norm(x, norm)?, index, pass),
            None => self.append(x, index, pass),
        }
    }

    /// Appends the keys and values of rows as they are: the layer's norm is not applied.
    pub(in crate::model) fn append(
        &self,
        x: &B::Activations,
        index: usize,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<()> {
        let backend = pass.backend;
        let mut keys_values = match &self.keys_values {
            KeyValueProjections::Both(key, value) => {
                KeysValues::Own(backend.linear(x, key)?, backend.linear(x, value)?)
            }
            KeyValueProjections::One(both) => KeysValues::Same(backend.linear(x, both)?),
            KeyValueProjections::Borrowed => return Ok(()),
        };
        self.norm_whole_keys(backend, &mut keys_values)?;
        let attention = self.of_step(index);
        Ok(backend.append(keys_values, &attention, pass.caches, pass.step)?)
    }

    /// Normalizes keys that have one norm over all heads.
    fn norm_whole_keys(
        &self,
        backend: &B,
        keys_values: &mut KeysValues<B::Activations>,
    ) -> Result<()> {
        if let (
            QueryKeyNorms::Whole {
                key: Some(norm), ..
            },
            KeysValues::Own(keys, _),
        ) = (&self.query_key_norms, keys_values)
        {
            *keys = backend.norm(keys, norm)?;
        }
        Ok(())
    }

    /// What the backend's attention is told.
    fn of_step(&self, index: usize) -> Attention<'_, B> {
        let (mut query_norm, mut key_norm, mut normed_last) = (None, None, false);
        if let QueryKeyNorms::PerHead {
            query,
            key,
            rotated_first,
        } = &self.query_key_norms
        {
            (query_norm, key_norm, normed_last) = (Some(query), key.as_ref(), *rotated_first);
        }
        Attention {
            layer: index,
            shape: self.spec.shape,
            window: self.spec.window,
            rope: self.spec.rope,
            query_norm,
            key_norm,
            value_norm: self.value_norm.as_ref(),
            rotated_first: normed_last,
            sinks: self.sinks.as_ref(),
        }
    }

    /// Queries, keys and values, and the gate if there is one.
    fn project(&self, backend: &B, x: &B::Activations) -> Result<Projections<B>> {
        let (norms, query) = (&self.norms, &self.query);
        Ok(match (&self.keys_values, &self.gate) {
            (KeyValueProjections::Both(key, value), None) => {
                let [q, k, v] = norms.project(backend, x, [query, key, value])?;
                (q, KeysValues::Own(k, v), None)
            }
            (KeyValueProjections::Both(key, value), Some(gate)) => {
                let [q, k, v, gate] = norms.project(backend, x, [query, key, value, gate])?;
                (q, KeysValues::Own(k, v), Some(gate))
            }
            (KeyValueProjections::One(both), None) => {
                let [q, k] = norms.project(backend, x, [query, both])?;
                (q, KeysValues::Same(k), None)
            }
            (KeyValueProjections::One(both), Some(gate)) => {
                let [q, k, gate] = norms.project(backend, x, [query, both, gate])?;
                (q, KeysValues::Same(k), Some(gate))
            }
            (KeyValueProjections::Borrowed, None) => {
                let [q] = norms.project(backend, x, [query])?;
                (q, KeysValues::Borrowed, None)
            }
            (KeyValueProjections::Borrowed, Some(gate)) => {
                let [q, gate] = norms.project(backend, x, [query, gate])?;
                (q, KeysValues::Borrowed, Some(gate))
            }
        })
    }
}
