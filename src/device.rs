//! The device that a model computes on.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A device to compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// The CUDA device with this index.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

impl Device {
    /// The device that `SPECDEC_DEVICE` names, or the best one that this build supports and this machine has.
    pub fn auto() -> Result<Self> {
        if let Ok(name) = std::env::var("SPECDEC_DEVICE")
            && !name.is_empty()
        {
            return name.parse();
        }
        let accelerator = if cfg!(feature = "cuda") {
            Some(Self::Cuda(0))
        } else if cfg!(feature = "metal") {
            Some(Self::Metal)
        } else {
            None
        };
        Ok(accelerator
            .filter(|device| device.open().is_ok())
            .unwrap_or_default())
    }

    /// Candle's handle on the device.
    pub(crate) fn open(self) -> Result<candle_core::Device> {
        let (feature, opened) = match self {
            Self::Cpu => return Ok(candle_core::Device::Cpu),
            Self::Cuda(index) => ("cuda", candle_core::Device::new_cuda(index)),
            Self::Metal => ("metal", candle_core::Device::new_metal(0)),
        };
        let built = match self {
            Self::Cpu => true,
            Self::Cuda(_) => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
        };
        if !built {
            return Err(self.unavailable(format!(
                "this build lacks the `{feature}` feature: rebuild with `--features {feature}`, or use device \"cpu\""
            )));
        }
        opened.map_err(|error| self.unavailable(format!("{error}; use device \"cpu\"")))
    }

    fn unavailable(self, reason: String) -> Error {
        Error::DeviceUnavailable {
            device: self.to_string(),
            reason,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "cpu" => Ok(Self::Cpu),
            "metal" => Ok(Self::Metal),
            "cuda" => Ok(Self::Cuda(0)),
            _ => name
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| Error::invalid("device", name, "cpu, cuda, cuda:INDEX or metal")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3), Device::Metal] {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cpu:0"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_build_without_cuda_says_so() {
        let message = Device::Cuda(0).open().unwrap_err().to_string();
        assert!(message.contains("--features cuda"), "{message}");
    }
}
