//! How embedding and feature enter a head's layer.

use std::ops::Range;

use super::files::Third;
use crate::backend::{AttentionShape, Backend, Linear, Norm};
use crate::error::{Error, Result};
use crate::model::heads::reader::Reader;

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
    /// Reads what is before the layer; `third`: of EAGLE-3, and the width of the target's hidden states.
    pub(super) fn read(
        reader: &Reader<'_, B>,
        hidden: usize,
        shape: AttentionShape,
        third: Option<(&Third, usize)>,
        at: &impl Fn(&str) -> String,
    ) -> Result<Self> {
        let (queries, keys) = (shape.query_size(), shape.kv_size());
        let projections = |inputs: usize, columns: Range<usize>| {
            let linear = |name: &str, outputs| {
                let name = at(&format!("self_attn.{name}"));
                reader.part(&name, outputs, inputs, columns.clone())
            };
            Ok::<_, Error>([
                linear("q_proj", queries)?,
                linear("k_proj", keys)?,
                linear("v_proj", keys)?,
            ])
        };
        let Some((third, width)) = third else {
            return Ok(Self::Fused {
                embedding: reader.part("fc", hidden, 2 * hidden, 0..hidden)?,
                feature: reader.part("fc", hidden, 2 * hidden, hidden..2 * hidden)?,
                projections: projections(hidden, 0..hidden)?,
            });
        };
        let fusion_norm = third
            .norm_before_fusion
            .then(|| reader.norm("input_norm", width));
        Ok(Self::Paired {
            fusion_norm: fusion_norm.transpose()?,
            fusion: reader.linear("fc", hidden, 0..width)?,
            norm_before_residual: third.norm_before_residual,
            embedding_norm: reader.norm(&at("input_layernorm"), hidden)?,
            feature_norm: reader.norm(&at("hidden_norm"), hidden)?,
            of_embedding: projections(2 * hidden, 0..hidden)?,
            of_feature: projections(2 * hidden, hidden..2 * hidden)?,
        })
    }
}
