//! `SpeculativeConfig`: a request's settings.

use std::collections::BTreeSet;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::record;
use super::value::{FromPython, ToPython};
use crate::decoder::SpeculativeDecoder;
use crate::names::closest;
use crate::response_format::ResponseFormat;
use crate::settings::{
    self, DraftKind, MODEL_SETTINGS, ModelSetting, SETTINGS, Setting, Verification, settings,
};

/// So many fields may be given by position.
const POSITIONAL: usize = 5;

/// A parameter of the constructor.
pub(super) struct Parameter {
    pub(super) setting: &'static Setting,
    /// Whether it may be given by position.
    pub(super) positional: bool,
}

macro_rules! define_class {
    ($(
        #[doc = $doc:tt]
        $name:ident: $type:ty = $default:expr, $range:expr => { $($interfaces:tt)* }
    )*) => {
        /// The settings of a generation. They are immutable; None stands for the model's default.
        ///
        /// Args:
        $(#[doc = concat!("    ", stringify!($name), ":", $doc)])*
        ///
        /// Raises:
        ///     InvalidConfig: A setting is out of its range.
        ///
        /// A response_format is {"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": {...}}},
        /// {"type": "regex", "regex": "..."} or {"type": "lark", "lark": "..."}.
        ///
        /// Example:
        ///     >>> SpeculativeConfig(8, temperature=0, stop="\n").replace(gamma=4)
        ///     SpeculativeConfig(gamma=4, temperature=0.0, stop=('\n',))
        #[pyclass(module = "specdec_rs", frozen, eq)]
        #[derive(Clone, Default, PartialEq)]
        pub struct SpeculativeConfig {
            config: settings::SpeculativeConfig,
            /// The settings among those whose default is the model's that were given.
            given: BTreeSet<&'static str>,
        }

        #[pymethods]
        impl SpeculativeConfig {
            #[new]
            #[pyo3(signature = (*values, **fields), text_signature = None)]
            fn new(values: &Bound<'_, PyTuple>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
                Self::of_arguments(values, fields)
            }

            /// What `help()` and editors show of the constructor.
            #[classattr]
            fn __signature__(py: Python<'_>) -> PyResult<Py<PyAny>> {
                signature(py)
            }

            /// A copy with some fields changed.
            ///
            /// Args:
            ///     **changes: The fields.
            ///
            /// Returns:
            ///     The copy.
            ///
            /// Raises:
            ///     InvalidConfig: A field is out of its range.
            ///
            /// Example:
            ///     >>> SpeculativeConfig(temperature=0).replace(gamma=4)
            ///     SpeculativeConfig(gamma=4, temperature=0.0)
            #[pyo3(signature = (**changes))]
            fn replace(&self, changes: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
                let mut config = self.clone();
                for (name, value) in changes.into_iter().flatten() {
                    config.set(&name.extract::<String>()?, &value)?;
                }
                config.config.validate()?;
                Ok(config)
            }

            /// All fields by name.
            fn as_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
                record::as_dict(slf, names())
            }

            /// For `copy` and `pickle`.
            fn __getnewargs_ex__<'py>(
                slf: &Bound<'py, Self>,
            ) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
                Ok((PyTuple::empty(slf.py()), Self::as_dict(slf)?))
            }

            fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
                self.repr(py)
            }

            fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
                self.hash(py)
            }

            $(
                #[doc = $doc]
                #[getter]
                fn $name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                    self.get(stringify!($name), py)
                }
            )*
        }

        impl SpeculativeConfig {
            fn set(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
                let range = SETTINGS.iter().find(|setting| setting.name == name);
                let range = range.map_or(settings::Range::Any, |setting| setting.range);
                if let Some(setting) = ModelSetting::named(name) {
                    if value.is_none() {
                        self.given.remove(setting.name);
                        (setting.copy)(&settings::SpeculativeConfig::default(), &mut self.config);
                        return Ok(());
                    }
                    self.given.insert(setting.name);
                }
                match name {
                    $(stringify!($name) => {
                        self.config.$name = FromPython::from_python(name, range, value)?;
                    })*
                    _ => {
                        return Err(PyTypeError::new_err(no_field(name)));
                    }
                }
                Ok(())
            }

            /// A field's value; None for one that the model decides.
            fn get<'py>(&self, name: &str, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                match name {
                    _ if ModelSetting::named(name).is_some() && !self.given.contains(name) => {
                        Ok(py.None().into_bound(py))
                    }
                    $(stringify!($name) => self.config.$name.to_python(py),)*
                    _ => Ok(py.None().into_bound(py)),
                }
            }
        }

        /// The types of each field in stubs: of what may be given, and of what is read.
        #[cfg_attr(not(test), allow(dead_code, reason = "a test compares the stubs with them"))]
        pub(super) const TYPES: &[(&str, &str)] =
            &[$((<$type as FromPython>::ARGUMENT, <$type as ToPython>::TYPE)),*];
    };
}

settings!(define_class);

impl SpeculativeConfig {
    /// The settings of one call: those of `config`, changed by the call's own keywords; the model's where neither gives any.
    pub(super) fn of_call(
        decoder: &SpeculativeDecoder,
        config: Option<&Bound<'_, Self>>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<settings::SpeculativeConfig> {
        let base = config
            .map(|config| config.get().clone())
            .unwrap_or_default();
        let call = base.replace(overrides)?;
        let (mut config, defaults) = (call.config, decoder.default_config());
        for setting in MODEL_SETTINGS {
            if !call.given.contains(setting.name) {
                (setting.copy)(&defaults, &mut config);
            }
        }
        Ok(config)
    }

    fn of_arguments(
        values: &Bound<'_, PyTuple>,
        fields: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        if values.len() > POSITIONAL {
            let message = format!(
                "SpeculativeConfig takes at most {POSITIONAL} positional arguments; {} were given",
                values.len()
            );
            return Err(PyTypeError::new_err(message));
        }
        let mut config = Self::default();
        for (setting, value) in SETTINGS.iter().zip(values) {
            let name = setting.name;
            if let Some(fields) = fields
                && fields.contains(name)?
            {
                let message = format!("SpeculativeConfig got multiple values for {name:?}");
                return Err(PyTypeError::new_err(message));
            }
            config.set(name, &value)?;
        }
        config.replace(fields)
    }

    /// Equal settings have the same: that of all fields but dicts, which Python can't hash.
    fn hash(&self, py: Python<'_>) -> PyResult<isize> {
        let mut values = Vec::new();
        for name in names() {
            let value = self.get(name, py)?;
            if !value.is_instance_of::<PyDict>() {
                values.push(value);
            }
        }
        PyTuple::new(py, values)?.hash()
    }

    /// The fields that are not at their defaults.
    fn repr(&self, py: Python<'_>) -> PyResult<String> {
        let default = Self::default();
        let mut changed = Vec::new();
        for setting in SETTINGS {
            let name = setting.name;
            let value = self.get(name, py)?;
            if value.ne(default.get(name, py)?)? {
                let mut text = value.repr()?.to_string();
                if name == "logit_bias" {
                    // An infinite number is the one value whose repr() is no expression.
                    text = text
                        .replace("-inf", "float('-inf')")
                        .replace(": inf", ": float('inf')");
                }
                changed.push(format!("{name}={text}"));
            }
        }
        Ok(format!("SpeculativeConfig({})", changed.join(", ")))
    }
}

/// The error of a name that is no setting: the setting that was meant, by what other libraries call it or by its spelling.
fn no_field(name: &str) -> String {
    let meant = match name {
        "max_tokens" | "max_length" | "n_predict" | "num_predict" | "max_completion_tokens" => {
            Some("max_new_tokens")
        }
        "repeat_penalty" => Some("repetition_penalty"),
        "stop_strings" | "stop_sequences" => Some("stop"),
        "typical_p" => Some("top_p"),
        "num_return_sequences" | "n" | "best_of" => {
            return no_field_but(
                name,
                "generate_batch continues several prompts, each with its own seed if none is given",
            );
        }
        "do_sample" => return no_field_but(name, "temperature=0 is greedy decoding"),
        "stream" => return no_field_but(name, "stream and stream_chat give chunk by chunk"),
        "messages" | "tools" | "chat_template_kwargs" => {
            return no_field_but(name, "it is an argument of chat");
        }
        "grammar" | "json_schema" | "guided_json" | "structured_outputs" | "schema" | "regex" => {
            return no_field_but(name, "response_format constrains the output");
        }
        "assistant_model" | "draft_model" | "speculative_config" => {
            return no_field_but(name, "SpeculativeDecoder loads the draft");
        }
        "prompt_lookup_num_tokens" => {
            return no_field_but(name, "draft=\"ngram\" is prompt lookup");
        }
        "num_assistant_tokens" | "num_speculative_tokens" => Some("gamma"),
        "num_beams" => return no_field_but(name, "there is no beam search"),
        "echo" => return no_field_but(name, "the prompt is not part of the output"),
        _ => closest(name, names()),
    };
    match meant {
        Some(meant) => format!("SpeculativeConfig has no field {name:?}: did you mean {meant}?"),
        None => format!("SpeculativeConfig has no field {name:?}"),
    }
}

fn no_field_but(name: &str, advice: &str) -> String {
    format!("SpeculativeConfig has no field {name:?}: {advice}")
}

/// The default of each field, as Python writes it.
#[cfg(test)]
pub(super) fn default_texts(py: Python<'_>) -> PyResult<Vec<String>> {
    let default = SpeculativeConfig::default();
    let text = |setting: &Setting| Ok(default.get(setting.name, py)?.repr()?.to_string());
    SETTINGS.iter().map(text).collect()
}

fn names() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.name)
}

/// The constructor's parameters.
pub(super) fn parameters() -> impl Iterator<Item = Parameter> {
    let each = SETTINGS.iter().enumerate();
    each.map(|(index, setting)| Parameter {
        setting,
        positional: index < POSITIONAL,
    })
}

/// `inspect.Signature` of the constructor.
fn signature(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let inspect = py.import("inspect")?;
    let class = inspect.getattr("Parameter")?;
    let default = SpeculativeConfig::default();
    let mut signature = Vec::new();
    for parameter in parameters() {
        let kind = match parameter.positional {
            true => "POSITIONAL_OR_KEYWORD",
            false => "KEYWORD_ONLY",
        };
        let name = parameter.setting.name;
        let keywords = PyDict::new(py);
        keywords.set_item("default", default.get(name, py)?)?;
        signature.push(class.call((name, class.getattr(kind)?), Some(&keywords))?);
    }
    Ok(inspect.call_method1("Signature", (signature,))?.unbind())
}
