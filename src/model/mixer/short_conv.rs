//! A gated convolution over a few tokens, each channel by itself (LFM2).

use super::Recurrent;
use crate::architecture::ShortConvSpec;
use crate::architecture::names::LayerTensor;
use crate::backend::{Backend, Recurrence, ShortConv};
use crate::error::Result;
use crate::model::loader::Loader;

/// Brings the weights of layer `index` to the backend.
pub(super) fn load<B: Backend>(
    loader: &mut Loader<'_, B>,
    index: usize,
    spec: ShortConvSpec,
) -> Result<Recurrent<B>> {
    use LayerTensor as T;
    let channels = loader.spec.hidden_size;
    let taps = loader.taps(index, channels, spec.taps)?;
    Ok(Recurrent {
        norms: loader.norms(index, T::AttentionNorm, T::PostAttentionNorm)?,
        input: loader.layer_linear(index, T::ConvInput, 3 * channels, channels)?,
        recurrence: Recurrence::ShortConv(ShortConv { taps }),
        output: loader.layer_linear(index, T::ConvOutput, channels, channels)?,
    })
}
