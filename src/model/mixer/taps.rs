//! The taps of a convolution over the last tokens, each channel by itself.
//!
//! Channels are cut into blocks. A block's state holds the tokens' values, the latest last: `[taps][lanes]`.

use crate::architecture::names::LayerTensor;
use crate::backend::Backend;
use crate::error::Result;
use crate::model::loader::Loader;

/// Channels of a block, at most.
pub(super) const LANES: usize = 16;

/// The most lanes that divide a number of channels.
pub(super) fn lanes_of(channels: usize) -> usize {
    let divides = |lanes: &usize| channels.is_multiple_of(*lanes);
    (1..=LANES).rev().find(divides).unwrap_or(1)
}

/// The taps of all channels.
pub(super) struct Taps {
    pub(super) channels: usize,
    /// Channels of a block.
    pub(super) lanes: usize,
    /// `[taps, channels]`: the last one is the present token's.
    values: Vec<f32>,
}

impl Taps {
    /// Those of layer `index`.
    pub(super) fn load<B: Backend>(
        loader: &mut Loader<'_, B>,
        index: usize,
        channels: usize,
        taps: usize,
    ) -> Result<Self> {
        // Stored as [channels, taps].
        let stored = loader.layer_values(index, LayerTensor::Conv, &[channels, taps])?;
        let tap = |tap| stored.iter().skip(tap).step_by(taps).copied();
        Ok(Self {
            channels,
            lanes: lanes_of(channels),
            values: (0..taps).flat_map(tap).collect(),
        })
    }

    pub(super) fn blocks(&self) -> usize {
        self.channels / self.lanes
    }

    /// Values of a block's state.
    pub(super) fn state_width(&self) -> usize {
        self.values.len() / self.blocks()
    }

    /// Makes room for a token's values in a block's state, and returns it.
    pub(super) fn next<'a>(&self, state: &'a mut [f32]) -> &'a mut [f32] {
        state.copy_within(self.lanes.., 0);
        let latest = state.len() - self.lanes;
        &mut state[latest..]
    }

    /// Adds the tokens' values times the taps.
    pub(super) fn add(&self, block: usize, state: &[f32], output: &mut [f32]) {
        let taps = self.values.chunks_exact(self.channels);
        for (state, taps) in state.chunks_exact(self.lanes).zip(taps) {
            let taps = &taps[block * self.lanes..];
            for ((output, state), tap) in output.iter_mut().zip(state).zip(taps) {
                *output += state * tap;
            }
        }
    }
}
