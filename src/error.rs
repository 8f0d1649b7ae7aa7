//! The one error type. Every message says what failed, where, and what to do about it.

use std::path::PathBuf;

/// Bytes of the longest text of others that a message shows: a value, or a library's own message.
const MAX_EXCERPT: usize = 1 << 10;

/// What can go wrong in this crate; the Python exceptions of the same names mirror the variants.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model name, folder, file or hub repository that does not exist or cannot be reached.
    #[error("model {model:?} not found: {reason}")]
    ModelNotFound {
        /// The model as the caller named it.
        model: String,
        /// Where we looked, what happened there, and what to do.
        reason: String,
    },
    /// A well-formed model of a kind that this crate does not run.
    #[error("unsupported model {model:?}: {reason}")]
    UnsupportedModel {
        /// The model's name or path.
        model: String,
        /// What is unsupported, and what is supported instead.
        reason: String,
    },
    /// A conversation for a model that has no chat template.
    #[error(
        "the model has no chat template: give one by `chat_template` (a file, or one of {known}), or use a plain prompt"
    )]
    NoChatTemplate {
        /// The names of templates that come with this crate.
        known: String,
    },
    /// A file whose contents contradict themselves or its format.
    #[error("corrupt file {}: {reason}", file.display())]
    CorruptModel {
        /// The file.
        file: PathBuf,
        /// The tensor or field, what was expected there and what was found.
        reason: String,
    },
    /// A draft whose vocabulary has no token in common with the target's.
    #[error("draft and target have different vocabularies: {reason}")]
    VocabularyMismatch {
        /// What differs, and what to use instead.
        reason: String,
    },
    /// A setting out of its range.
    #[error("invalid {field} = {value}: expected {expected}")]
    InvalidConfig {
        /// The setting's name, as the caller writes it.
        field: String,
        /// The offending value.
        value: String,
        /// The range of legal values.
        expected: String,
    },
    /// More tokens than the model's context holds.
    #[error(
        "{tokens} tokens do not fit the context of {context_length}: shorten the prompt, or load the model with a larger `context_length`"
    )]
    ContextOverflow {
        /// Tokens that the request needs.
        tokens: usize,
        /// Tokens that the context holds.
        context_length: usize,
    },
    /// A device that this build or machine does not have.
    #[error("device {device:?} is unavailable: {reason}")]
    DeviceUnavailable {
        /// The device as the caller named it.
        device: String,
        /// Why, and what would work.
        reason: String,
    },
    /// Not enough memory or disk space.
    #[error("out of memory: {reason}")]
    OutOfMemory {
        /// What needed the space, its size, and what to do.
        reason: String,
    },
    /// The operating system refused to read or write a file.
    #[error("{}: {}", path.display(), in_words(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// A distribution without any token.
    #[error(
        "no token can follow: the largest logit is {highest} (the model returns no numbers, or logit_bias and response_format forbid every token)"
    )]
    NoToken {
        /// The largest of the logits after all processors.
        highest: f32,
    },
    /// The compute library failed.
    #[error("computation failed: {0}")]
    Compute(String),
    /// A model, or threads that use several, would wait for themselves.
    #[error(
        "the model is computing, and would wait for itself: it can't use its own decoder meanwhile, nor a stream or sequence of it; give it a decoder of its own"
    )]
    CircularWait,
    /// A process that was forked while other threads used this crate.
    #[error(
        "this process was forked while another thread was generating, which holds locks and does not exist here: fork while nothing is generated, or start processes anew (in Python by multiprocessing's \"spawn\")"
    )]
    Forked,
    /// A user's own [`LanguageModel`](crate::LanguageModel) failed.
    #[error("the model failed: {0}")]
    Custom(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A result whose error, if not another, is [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn corrupt(file: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::CorruptModel {
            file: file.into(),
            reason: excerpt(&reason.into()),
        }
    }

    pub(crate) fn unsupported(model: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::UnsupportedModel {
            model: model.into(),
            reason: excerpt(&reason.into()),
        }
    }

    pub(crate) fn invalid(
        field: impl Into<String>,
        value: impl std::fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::InvalidConfig {
            field: field.into(),
            value: match value.to_string() {
                empty if empty.is_empty() => "\"\"".to_owned(),
                value => excerpt(&value),
            },
            expected: excerpt(&expected.into()),
        }
    }

    pub(crate) fn not_found(model: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::ModelNotFound {
            model: model.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }
}

/// A text for a message: its first [`MAX_EXCERPT`] bytes.
pub(crate) fn excerpt(text: &str) -> String {
    if text.len() <= MAX_EXCERPT {
        return text.to_owned();
    }
    let mut end = MAX_EXCERPT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// A failure of the operating system in plain words.
pub(crate) fn in_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "there is no such file or folder".into(),
        ErrorKind::PermissionDenied => "permission is denied".into(),
        ErrorKind::IsADirectory => "it is a folder, not a file".into(),
        ErrorKind::NotADirectory => "a part of the path is a file, not a folder".into(),
        ErrorKind::StorageFull => "the disk is full".into(),
        ErrorKind::ReadOnlyFilesystem => "the disk is read-only".into(),
        // The system's own sentence, without its number.
        _ => match error.to_string().split_once(" (os error") {
            Some((sentence, _)) => sentence.to_owned(),
            None => error.to_string(),
        },
    }
}

impl From<specdec_backend::Error> for Error {
    fn from(error: specdec_backend::Error) -> Self {
        use specdec_backend::Error as Backend;
        match error {
            Backend::Unsupported { what, reason } => Self::unsupported(what, reason),
            Backend::InvalidSetting {
                field,
                value,
                expected,
            } => Self::invalid(field, value, expected),
            Backend::DeviceUnavailable { device, reason } => {
                Self::DeviceUnavailable { device, reason }
            }
            Backend::OutOfMemory { reason } => Self::OutOfMemory { reason },
            Backend::Compute(reason) => Self::Compute(reason),
            other => Self::Compute(other.to_string()),
        }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Compute(error.to_string())
    }
}
