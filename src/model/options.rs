//! How to load a model.

use std::str::FromStr;
use std::sync::Arc;

use crate::backend::cpu::Tier;
use crate::backend::{CachePrecision, WeightPrecision};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::progress::{Progress, Silent};

/// Whose kernels compute on the CPU. (On other devices, Candle's do.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernels {
    /// Our own, of the tier that `SPECDEC_CPU_TIER` names, or the best that the processor has.
    #[default]
    Best,
    /// Our own, of this tier.
    Tier(Tier),
    /// Candle's: what our own are tested against.
    Candle,
}

impl FromStr for Kernels {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Best),
            "candle" => Ok(Self::Candle),
            other => Err(Error::invalid("kernels", other, "auto or candle")),
        }
    }
}

/// How to load a model.
#[derive(Clone)]
pub struct LoadOptions {
    /// Where to compute; `None`: [`Device::auto`].
    pub device: Option<Device>,
    /// How to hold the weights.
    pub precision: WeightPrecision,
    /// How to hold keys and values.
    pub kv_cache: CachePrecision,
    /// With whose kernels to compute on the CPU.
    pub kernels: Kernels,
    /// Threads to compute with on the CPU; `None`: as `SPECDEC_NUM_THREADS` says, or as many as this process may
    /// use.
    pub threads: Option<usize>,
    /// Maximum number of tokens a sequence may hold; `None`: as many as the model was made for.
    pub context_length: Option<usize>,
    /// Branch, tag or commit of a hub model.
    pub revision: Option<String>,
    /// Receives the progress of downloads and loading.
    pub progress: Arc<dyn Progress>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            device: None,
            precision: WeightPrecision::default(),
            kv_cache: CachePrecision::default(),
            kernels: Kernels::default(),
            threads: None,
            context_length: None,
            revision: None,
            progress: Arc::new(Silent),
        }
    }
}
