//! A gated convolution over a few tokens, each channel by itself (LFM2).

use super::Recurrent;
use super::taps::Taps;
use crate::architecture::ShortConvSpec;
use crate::architecture::names::LayerTensor;
use crate::backend::{Backend, Recurrence};
use crate::error::Result;
use crate::model::loader::Loader;

/// `y = C * sum of taps * (B * u)`, with the inputs `[B | C | u]` of as many channels each. The state holds `B * u`.
struct ShortConv {
    taps: Taps,
    bias: Option<Vec<f32>>,
}

impl Recurrence for ShortConv {
    fn blocks(&self) -> usize {
        self.taps.blocks()
    }

    fn state_width(&self) -> usize {
        self.taps.state_width()
    }

    fn input_width(&self) -> usize {
        3 * self.taps.channels
    }

    fn output_width(&self) -> usize {
        self.taps.lanes
    }

    fn advance(&self, block: usize, input: &[f32], state: &mut [f32]) {
        let first = block * self.taps.lanes;
        let gate = &input[first..];
        let value = &input[2 * self.taps.channels + first..];
        for ((state, gate), value) in self.taps.next(state).iter_mut().zip(gate).zip(value) {
            *state = gate * value;
        }
    }

    fn output(&self, block: usize, input: &[f32], state: &[f32], output: &mut [f32]) {
        let first = block * self.taps.lanes;
        match &self.bias {
            Some(bias) => output.copy_from_slice(&bias[first..][..self.taps.lanes]),
            None => output.fill(0.0),
        }
        self.taps.add(block, state, output);
        let gate = &input[self.taps.channels + first..];
        for (output, gate) in output.iter_mut().zip(gate) {
            *output *= gate;
        }
    }
}

/// Brings the weights of layer `index` to the backend.
pub(super) fn load<B: Backend>(
    loader: &mut Loader<'_, B>,
    index: usize,
    spec: ShortConvSpec,
) -> Result<Recurrent<B>> {
    use LayerTensor as T;
    let channels = loader.spec.hidden_size;
    let recurrence = ShortConv {
        taps: Taps::load(loader, index, channels, spec.taps)?,
        bias: loader.optional_layer_values(index, T::Conv, "bias", channels)?,
    };
    Ok(Recurrent {
        norms: loader.norms(index, T::AttentionNorm, T::PostAttentionNorm)?,
        input: loader.layer_linear(index, T::ConvInput, 3 * channels, channels)?,
        recurrence: Box::new(recurrence),
        output: loader.layer_linear(index, T::ConvOutput, channels, channels)?,
    })
}
