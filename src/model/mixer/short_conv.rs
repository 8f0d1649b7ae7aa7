//! A gated convolution over a few tokens, each channel by itself (LFM2).

use crate::architecture::ShortConvSpec;
use crate::architecture::names::LayerTensor;
use crate::backend::{Backend, Recurrence};
use crate::error::Result;
use crate::model::loader::Loader;
use crate::model::mixer::Recurrent;

/// Channels of a block, at most.
const LANES: usize = 16;

/// `y = C * sum of taps * (B * u)`, with the inputs `[B | C | u]` of as many channels each. The state holds `B * u` of the
/// last tokens, the latest last.
struct ShortConv {
    channels: usize,
    /// Channels of a block.
    lanes: usize,
    /// `[taps, channels]`: the last one is the present token's.
    taps: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl ShortConv {
    fn taps(&self) -> usize {
        self.taps.len() / self.channels.max(1)
    }
}

impl Recurrence for ShortConv {
    fn blocks(&self) -> usize {
        self.channels / self.lanes
    }

    fn state_width(&self) -> usize {
        self.taps() * self.lanes
    }

    fn input_width(&self) -> usize {
        3 * self.channels
    }

    fn output_width(&self) -> usize {
        self.lanes
    }

    fn advance(&self, block: usize, input: &[f32], state: &mut [f32]) {
        let (lanes, first) = (self.lanes, block * self.lanes);
        state.copy_within(lanes.., 0);
        let latest = state.len() - lanes;
        let gate = &input[first..][..lanes];
        let value = &input[2 * self.channels + first..][..lanes];
        for ((state, gate), value) in state[latest..].iter_mut().zip(gate).zip(value) {
            *state = gate * value;
        }
    }

    fn output(&self, block: usize, input: &[f32], state: &[f32], output: &mut [f32]) {
        let (lanes, first) = (self.lanes, block * self.lanes);
        match &self.bias {
            Some(bias) => output.copy_from_slice(&bias[first..][..lanes]),
            None => output.fill(0.0),
        }
        let taps = self.taps.chunks_exact(self.channels);
        for (state, taps) in state.chunks_exact(lanes).zip(taps) {
            for ((output, state), tap) in output.iter_mut().zip(state).zip(&taps[first..]) {
                *output += state * tap;
            }
        }
        let gate = &input[self.channels + first..][..lanes];
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
    // Stored as [channels, taps].
    let stored = loader.layer_values(index, T::Conv, &[channels, spec.taps])?;
    let taps = (0..spec.taps).flat_map(|tap| stored.iter().skip(tap).step_by(spec.taps).copied());
    let recurrence = ShortConv {
        channels,
        lanes: (1..=LANES)
            .rev()
            .find(|lanes| channels.is_multiple_of(*lanes))
            .unwrap_or(1),
        taps: taps.collect(),
        bias: loader.optional_layer_values(index, T::Conv, "bias", channels)?,
    };
    Ok(Recurrent {
        norms: loader.norms(index, T::AttentionNorm, T::PostAttentionNorm)?,
        input: loader.layer_linear(index, T::ConvInput, 3 * channels, channels)?,
        recurrence: Box::new(recurrence),
        output: loader.layer_linear(index, T::ConvOutput, channels, channels)?,
    })
}
