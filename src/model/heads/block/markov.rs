//! DSpark's tail: what a token says of the next one (a bigram of low rank), and how sure a slot is.

use crate::backend::{Backend, Linear, OutputTiles};
use crate::error::{Error, Result};
use crate::model::heads::tensors::HeadTensors;
use crate::model::host::read;
use crate::weights::StoredRows;

/// What a head has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MarkovSpec {
    /// Width of what a token says.
    pub(super) rank: usize,
    /// Whether there is a matrix that says how sure a slot is, and whether it reads the token before, too.
    pub(super) confidence: Option<bool>,
}

/// The tail's weights.
pub(super) struct Markov<B: Backend> {
    /// What each of the target's tokens says.
    previous: StoredRows,
    /// From that to logits.
    next: Linear<B>,
    /// From a slot's state, and maybe what the token before says, to its confidence.
    confidence: Option<Confidence>,
}

struct Confidence {
    weights: Vec<f32>,
    bias: f32,
}

impl<B: Backend> Markov<B> {
    /// `tokens`: those that the head has logits for.
    pub(super) fn load(
        tensors: &HeadTensors<'_, B>,
        spec: MarkovSpec,
        hidden: usize,
        tokens: usize,
    ) -> Result<Self> {
        let confidence = spec.confidence.map(|reads_previous| {
            let width = hidden + if reads_previous { spec.rank } else { 0 };
            let weights = tensors.values("confidence_head.proj.weight", &[1, width])?;
            let bias = match tensors.has("confidence_head.proj.bias") {
                true => tensors.values("confidence_head.proj.bias", &[1])?[0],
                false => 0.0,
            };
            Ok::<_, Error>(Confidence { weights, bias })
        });
        Ok(Self {
            previous: tensors.table("markov_head.markov_w1.weight", spec.rank)?,
            next: tensors.linear("markov_head.markov_w2", tokens, 0..spec.rank)?,
            confidence: confidence.transpose()?,
        })
    }

    /// Adds what a token says to the logits of the next, or of some tokens.
    pub(super) fn add(
        &self,
        backend: &B,
        previous: u32,
        among: Option<&OutputTiles>,
        logits: &mut [f32],
    ) -> Result<()> {
        let said = self.said(previous)?;
        let said = backend.rows(&said, said.len())?;
        let said = match among {
            Some(outputs) => backend.linear_among(&said, &self.next, outputs)?,
            None => backend.linear(&said, &self.next)?,
        };
        for (logit, said) in logits.iter_mut().zip(read(backend, said)?) {
            *logit += said;
        }
        Ok(())
    }

    /// How probable it is that a slot's guess is right, given its state and the token before; `None` where the head doesn't say.
    pub(super) fn confidence(
        &self,
        backend: &B,
        state: &B::Activations,
        previous: u32,
    ) -> Result<Option<f32>> {
        let Some(confidence) = &self.confidence else {
            return Ok(None);
        };
        let mut values = read(backend, backend.select(state, &[0])?)?;
        if values.len() < confidence.weights.len() {
            values.extend(self.said(previous)?);
        }
        let products = values
            .iter()
            .zip(&confidence.weights)
            .map(|(x, weight)| x * weight);
        let sum: f32 = products.sum();
        Ok(Some(1.0 / (1.0 + (-(sum + confidence.bias)).exp())))
    }

    fn said(&self, token: u32) -> Result<Vec<f32>> {
        let [rows, width] = self.previous.shape();
        match (token as usize) < rows {
            true => self.previous.row(token as usize),
            false => Ok(vec![0.0; width]),
        }
    }
}
