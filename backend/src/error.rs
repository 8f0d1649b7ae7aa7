//! What can go wrong in a backend.

/// Why a backend refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor or a model that the kernels do not compute with.
    #[error("unsupported {what}: {reason}")]
    Unsupported {
        /// What is not supported.
        what: String,
        /// Why, and what is supported instead.
        reason: String,
    },
    /// A setting out of its range.
    #[error("invalid {field} = {value}: expected {expected}")]
    InvalidSetting {
        /// The setting's name, as the caller writes it.
        field: String,
        /// The offending value.
        value: String,
        /// The range of legal values.
        expected: String,
    },
    /// A device, or instructions, that this machine does not have.
    #[error("device {device:?} is unavailable: {reason}")]
    DeviceUnavailable {
        /// The device.
        device: String,
        /// Why.
        reason: String,
    },
    /// Not enough memory.
    #[error("out of memory: {reason}")]
    OutOfMemory {
        /// What needed the space, its size, and what to do.
        reason: String,
    },
    /// The computation failed.
    #[error("computation failed: {0}")]
    Compute(String),
}

/// A result whose error, if not another, is [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn unsupported(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported {
            what: what.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn invalid(
        field: impl Into<String>,
        value: impl std::fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::InvalidSetting {
            field: field.into(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Compute(error.to_string())
    }
}
