//! How embedding and feature enter a head's layer.

use std::ops::Range;

use super::files::Eagle3;
use crate::backend::{AttentionShape, Backend, Linear, Norm};
use crate::error::{Error, Result};
use crate::model::heads::tensors::HeadTensors;

/// How embedding and feature enter the layer.
pub(super) enum Entry<B: Backend> {
    /// EAGLE: a matrix over both gives the layer's input, which no norm precedes.
    Fused {
        embedding: Linear<B>,
        feature: Linear<B>,
        projections: [Linear<B>; 3],
    },
    /// EAGLE-3: queries, keys and values are projected from both, side by side, each after a norm of its own; and a matrix
    /// over the target's hidden states gives the feature.
    Paired {
        /// Before the matrix over the target's hidden states (EAGLE-3.1).
        fusion_norm: Option<Norm<B>>,
        fusion: Linear<B>,
        /// Whether the layer adds to the normalized feature.
        norm_before_residual: bool,
        embedding_norm: Norm<B>,
        feature_norm: Norm<B>,
        of_embedding: [Linear<B>; 3],
        of_feature: [Linear<B>; 3],
    },
}

impl<B: Backend> Entry<B> {
    /// Reads what is before the layer; `eagle3`: of EAGLE-3, and the width of the target's hidden states.
    pub(super) fn read(
        tensors: &HeadTensors<'_, B>,
        hidden: usize,
        shape: AttentionShape,
        eagle3: Option<(&Eagle3, usize)>,
        at: &impl Fn(&str) -> String,
    ) -> Result<Self> {
        let (queries, keys) = (shape.query_size(), shape.kv_size());
        let projections = |inputs: usize, columns: Range<usize>| {
            let linear = |name: &str, outputs| {
                let name = at(&format!("self_attn.{name}"));
                tensors.part(&name, outputs, inputs, columns.clone())
            };
            Ok::<_, Error>([
                linear("q_proj", queries)?,
                linear("k_proj", keys)?,
                linear("v_proj", keys)?,
            ])
        };
        let Some((eagle3, width)) = eagle3 else {
            return Ok(Self::Fused {
                embedding: tensors.part("fc", hidden, 2 * hidden, 0..hidden)?,
                feature: tensors.part("fc", hidden, 2 * hidden, hidden..2 * hidden)?,
                projections: projections(hidden, 0..hidden)?,
            });
        };
        let fusion_norm = eagle3
            .norm_before_fusion
            .then(|| tensors.norm("input_norm", width));
        Ok(Self::Paired {
            fusion_norm: fusion_norm.transpose()?,
            fusion: tensors.linear("fc", hidden, 0..width)?,
            norm_before_residual: eagle3.norm_before_residual,
            embedding_norm: tensors.norm(&at("input_layernorm"), hidden)?,
            feature_norm: tensors.norm(&at("hidden_norm"), hidden)?,
            of_embedding: projections(2 * hidden, 0..hidden)?,
            of_feature: projections(2 * hidden, hidden..2 * hidden)?,
        })
    }
}
