//! Clusters of tokens: only those are scored whose centroids are nearest to a state.

use super::files::{AssistantFiles, ClustersSpec};
use crate::backend::{Backend, Linear, OutputTiles};
use crate::error::{Error, Result};
use crate::model::heads::tensors::HeadTensors;
use crate::model::host::read;

/// The clusters of an assistant.
pub(super) struct Clusters<B: Backend> {
    /// `[clusters, hidden]`
    centroids: Linear<B>,
    /// The cluster of each token.
    of_tokens: Vec<u32>,
    /// How many clusters are scored.
    chosen: usize,
}

impl<B: Backend> Clusters<B> {
    pub(super) fn load(
        files: &AssistantFiles,
        spec: ClustersSpec,
        tensors: &HeadTensors<'_, B>,
    ) -> Result<Self> {
        let (names, tokens) = (files.names(), files.spec.vocab_size);
        let corrupt = |reason: String| {
            let file = files.checkpoint().file_of(names.ordering);
            Error::corrupt(file, format!("tensor {:?}: {reason}", names.ordering))
        };
        let ordering = files.checkpoint().integers(names.ordering)?;
        let ordering = ordering.ok_or_else(|| corrupt("it is missing".into()))?;
        let count = spec.count;
        if ordering.len() != tokens || !tokens.is_multiple_of(count) || spec.chosen > count {
            let (found, chosen) = (ordering.len(), spec.chosen);
            let reason = format!(
                "{found} of {tokens} tokens in {count} clusters, of which {chosen} are chosen"
            );
            return Err(corrupt(reason));
        }
        let mut of_tokens = vec![0; tokens];
        for (place, token) in ordering.into_iter().enumerate() {
            let cluster = usize::try_from(token)
                .ok()
                .and_then(|token| of_tokens.get_mut(token));
            let cluster = cluster.ok_or_else(|| corrupt(format!("{token} is no token")))?;
            *cluster = (place / (tokens / count)) as u32;
        }
        Ok(Self {
            centroids: tensors.linear(names.centroids, count, 0..files.spec.hidden_size)?,
            of_tokens,
            chosen: spec.chosen,
        })
    }

    /// Leaves only the logits of tokens, all or some, in the clusters nearest to a state.
    pub(super) fn keep_nearest(
        &self,
        backend: &B,
        state: &B::Activations,
        among: Option<&OutputTiles>,
        logits: &mut [f32],
    ) -> Result<()> {
        let scores = read(backend, backend.linear(state, &self.centroids)?)?;
        let mut nearest: Vec<usize> = (0..scores.len()).collect();
        nearest.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let mut is_chosen = vec![false; scores.len()];
        for cluster in nearest.into_iter().take(self.chosen) {
            is_chosen[cluster] = true;
        }
        let keep = |token: usize, logit: &mut f32| {
            let cluster = self.of_tokens.get(token);
            if !cluster.is_some_and(|cluster| is_chosen[*cluster as usize]) {
                *logit = f32::NEG_INFINITY;
            }
        };
        match among {
            Some(among) => {
                let pairs = among.iter().zip(logits);
                pairs.for_each(|(token, logit)| keep(token as usize, logit));
            }
            None => {
                let pairs = logits.iter_mut().enumerate();
                pairs.for_each(|(token, logit)| keep(token, logit));
            }
        }
        Ok(())
    }
}
