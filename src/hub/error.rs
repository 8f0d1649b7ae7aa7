//! Why a request to the hub failed.

use std::fmt;

use crate::error::{Error, in_words};

/// Why a request failed; the caller decides by the kind whether the cache or another source can serve instead.
#[derive(Debug)]
pub(super) enum FetchError {
    /// No answer: no network, no such host, a proxy in the way.
    Unreachable(String),
    /// A connection that broke or a server that is busy, even after retries.
    Unavailable(String),
    /// 401 or 403: no token, or one without access.
    Denied(u16),
    /// 404.
    Missing,
    /// An answer that breaks the protocol, or a file that differs from its description.
    Invalid(String),
    /// Not the hub's fault: the local disk's, or the model's.
    Local(Error),
}

/// The result of a request.
pub(super) type FetchResult<T> = Result<T, FetchError>;

impl FetchError {
    pub fn from_ureq(error: &ureq::Error) -> Self {
        use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
        match error {
            ureq::Error::Io(cause)
                if matches!(
                    cause.kind(),
                    ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof
                ) =>
            {
                Self::Unavailable(in_words(cause))
            }
            ureq::Error::Io(cause) if cause.to_string().contains("lookup address") => {
                Self::Unreachable("its name cannot be resolved".into())
            }
            ureq::Error::Io(cause) => Self::Unreachable(in_words(cause)),
            ureq::Error::Timeout(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::Rustls(_)
            | ureq::Error::Tls(_) => Self::Unreachable(error.to_string()),
            _ => Self::Invalid(error.to_string()),
        }
    }

    pub fn from_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Denied(status),
            404 => Self::Missing,
            408 | 429 | 500..=599 => Self::Unavailable(format!("status {status}")),
            _ => Self::Invalid(format!("status {status}")),
        }
    }
}

/// A predicate of which the hub's address is the subject.
impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(formatter, "cannot be reached ({reason})"),
            Self::Unavailable(reason) => write!(formatter, "is not available now ({reason})"),
            Self::Denied(status) => write!(formatter, "refuses access (status {status})"),
            Self::Missing => write!(formatter, "does not have the file"),
            Self::Invalid(reason) => write!(formatter, "sent an invalid answer: {reason}"),
            Self::Local(error) => error.fmt(formatter),
        }
    }
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        Self::Local(error)
    }
}
