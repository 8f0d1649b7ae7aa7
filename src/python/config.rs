//! `SpeculativeConfig`: a request's settings.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::convert::{field, from_json, to_json};
use super::record;
use crate::config;
use crate::response_format::ResponseFormat;

const SIZE: &str = "an integer >= 0";
const NUMBER: &str = "a number";

/// How to generate.
///
/// gamma: most tokens drafted a step (exactly so many if not adaptive); 0 is plain decoding.
/// temperature: divides the logits; 0 is greedy.
/// top_k, top_p, min_p: sample among the likeliest tokens only; 0, 1 and 0 are off.
/// max_new_tokens: most tokens generated.
/// adaptive: whether each step drafts what pays, up to gamma tokens.
/// repetition_penalty, presence_penalty, frequency_penalty: against repeating; 1, 0 and 0 are off.
/// logit_bias: {token id: number added to its logit}.
/// seed: makes sampling repeatable; with "rejection" and "block" only where drafts are the same, too (adaptive=False).
/// stop: a text, or several; generation ends before the first of them.
/// ignore_eos: go on past end-of-text tokens.
/// logprobs: report each token's log-probability and those of so many alternatives.
/// draft: where drafts come from: "auto" (all there is), "none", "ngram", "recycling", "table", "model" or "prediction"; None
/// is the decoder's own choice. A prediction is used beside any but "none".
/// verification: how drafts are checked against the target: "coupled" (with a seed, the very text of plain sampling),
/// "rejection" or "block" (the same law, and more accepted tokens).
/// prediction: a text that the output is likely to resemble.
/// response_format: hold the output to {"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": {...}}},
/// {"type": "regex", "regex": "..."} or {"type": "lark", "lark": "..."}.
///
/// >>> SpeculativeConfig(8, temperature=0, stop="\n").replace(gamma=4)
/// SpeculativeConfig(gamma=4, temperature=0.0, stop=('\n',))
#[pyclass(module = "specdec_rs", frozen, eq)]
#[derive(Clone, Default, PartialEq)]
pub struct SpeculativeConfig(pub(super) config::SpeculativeConfig);

/// The fields, in the order of the constructor's parameters.
const FIELDS: [&str; 19] = [
    "gamma",
    "temperature",
    "top_k",
    "top_p",
    "max_new_tokens",
    "adaptive",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "seed",
    "stop",
    "ignore_eos",
    "logprobs",
    "draft",
    "verification",
    "prediction",
    "response_format",
];

/// So many of them may be given by position.
const POSITIONAL: usize = 5;

#[pymethods]
impl SpeculativeConfig {
    #[new]
    #[pyo3(
        signature = (*values, **fields),
        text_signature = "(gamma=16, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=128, *, \
            adaptive=True, min_p=0.0, repetition_penalty=1.0, presence_penalty=0.0, \
            frequency_penalty=0.0, logit_bias=None, seed=None, stop=(), ignore_eos=False, \
            logprobs=None, draft=None, verification='coupled', prediction=None, \
            response_format=None)"
    )]
    fn new(values: &Bound<'_, PyTuple>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        if values.len() > POSITIONAL {
            let message = format!(
                "SpeculativeConfig takes at most {POSITIONAL} positional arguments; {} were given",
                values.len()
            );
            return Err(PyTypeError::new_err(message));
        }
        let mut config = Self::default();
        for (name, value) in FIELDS.iter().zip(values) {
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

    /// A copy with these fields changed.
    #[pyo3(signature = (**changes))]
    fn replace(&self, changes: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let mut config = self.clone();
        for (name, value) in changes.into_iter().flatten() {
            config.set(&name.extract::<String>()?, &value)?;
        }
        config.0.validate()?;
        Ok(config)
    }

    /// All fields by name.
    fn as_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        record::as_dict(slf, &FIELDS)
    }

    /// For `copy` and `pickle`.
    fn __getnewargs_ex__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        Ok((PyTuple::empty(slf.py()), Self::as_dict(slf)?))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let default = Bound::new(slf.py(), Self::default())?;
        let mut changed = Vec::new();
        for name in FIELDS {
            let value = slf.getattr(name)?;
            if value.ne(default.getattr(name)?)? {
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

    #[getter]
    fn gamma(&self) -> usize {
        self.0.gamma
    }

    #[getter]
    fn temperature(&self) -> f64 {
        self.0.temperature
    }

    #[getter]
    fn top_k(&self) -> usize {
        self.0.top_k
    }

    #[getter]
    fn top_p(&self) -> f64 {
        self.0.top_p
    }

    #[getter]
    fn max_new_tokens(&self) -> usize {
        self.0.max_new_tokens
    }

    #[getter]
    fn adaptive(&self) -> bool {
        self.0.adaptive
    }

    #[getter]
    fn min_p(&self) -> f64 {
        self.0.min_p
    }

    #[getter]
    fn repetition_penalty(&self) -> f64 {
        self.0.repetition_penalty
    }

    #[getter]
    fn presence_penalty(&self) -> f64 {
        self.0.presence_penalty
    }

    #[getter]
    fn frequency_penalty(&self) -> f64 {
        self.0.frequency_penalty
    }

    #[getter]
    fn logit_bias<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        if self.0.logit_bias.is_empty() {
            return Ok(None);
        }
        let biases = PyDict::new(py);
        for (token, bias) in &self.0.logit_bias {
            biases.set_item(token, bias)?;
        }
        Ok(Some(biases))
    }

    #[getter]
    fn seed(&self) -> Option<u64> {
        self.0.seed
    }

    #[getter]
    fn stop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.0.stop)
    }

    #[getter]
    fn ignore_eos(&self) -> bool {
        self.0.ignore_eos
    }

    #[getter]
    fn logprobs(&self) -> Option<usize> {
        self.0.logprobs
    }

    #[getter]
    fn draft(&self) -> Option<String> {
        self.0.draft.map(|draft| draft.to_string())
    }

    #[getter]
    fn verification(&self) -> String {
        self.0.verification.to_string()
    }

    #[getter]
    fn prediction(&self) -> Option<String> {
        self.0.prediction.clone()
    }

    #[getter]
    fn response_format<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let format = self.0.response_format.as_ref();
        format
            .map(|format| from_json(py, &format.to_json()))
            .transpose()
    }
}

impl SpeculativeConfig {
    /// The settings of one call: those of `config`, changed by the call's own keywords.
    pub(super) fn of_call(
        config: Option<&Bound<'_, Self>>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<config::SpeculativeConfig> {
        let base = config
            .map(|config| config.get().clone())
            .unwrap_or_default();
        Ok(base.replace(overrides)?.0)
    }

    fn set(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let config = &mut self.0;
        match name {
            "gamma" => config.gamma = field(name, value, SIZE)?,
            "temperature" => config.temperature = field(name, value, NUMBER)?,
            "top_k" => config.top_k = field(name, value, SIZE)?,
            "top_p" => config.top_p = field(name, value, NUMBER)?,
            "max_new_tokens" => config.max_new_tokens = field(name, value, SIZE)?,
            "adaptive" => config.adaptive = field(name, value, "True or False")?,
            "min_p" => config.min_p = field(name, value, NUMBER)?,
            "repetition_penalty" => config.repetition_penalty = field(name, value, NUMBER)?,
            "presence_penalty" => config.presence_penalty = field(name, value, NUMBER)?,
            "frequency_penalty" => config.frequency_penalty = field(name, value, NUMBER)?,
            "logit_bias" => config.logit_bias = logit_bias(value)?,
            "seed" => config.seed = field(name, value, "None or an integer from 0 to 2**64 - 1")?,
            "stop" => config.stop = stop(value)?,
            "ignore_eos" => config.ignore_eos = field(name, value, "True or False")?,
            "logprobs" => config.logprobs = field(name, value, "None or an integer from 0 to 20")?,
            "draft" => {
                let draft: Option<String> = field(name, value, "None or a text")?;
                config.draft = draft.map(|draft| draft.parse()).transpose()?;
            }
            "verification" => {
                config.verification = field::<String>(name, value, "a text")?.parse()?;
            }
            "prediction" => config.prediction = field(name, value, "None or a text")?,
            "response_format" => config.response_format = response_format(value)?,
            _ => {
                let message = format!("SpeculativeConfig has no field {name:?}");
                return Err(PyTypeError::new_err(message));
            }
        }
        Ok(())
    }
}

fn logit_bias(value: &Bound<'_, PyAny>) -> PyResult<Vec<(u32, f64)>> {
    let name = "logit_bias";
    let biases: Option<Bound<'_, PyDict>> = field(name, value, "None or {token id: number}")?;
    let biases = biases.into_iter().flatten();
    let bias = |(token, bias): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        let token = field(name, &token, "token ids from 0 to 4294967295")?;
        Ok((token, field(name, &bias, NUMBER)?))
    };
    let mut biases: Vec<(u32, f64)> = biases.map(bias).collect::<PyResult<_>>()?;
    biases.sort_by_key(|bias| bias.0);
    Ok(biases)
}

fn response_format(value: &Bound<'_, PyAny>) -> PyResult<Option<ResponseFormat>> {
    if value.is_none() {
        return Ok(None);
    }
    let name = "response_format";
    let format: Bound<'_, PyDict> = field(name, value, "None or a dict")?;
    Ok(ResponseFormat::from_json(&to_json(name, &format)?)?)
}

fn stop(value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if value.is_instance_of::<PyString>() {
        return Ok(vec![value.extract()?]);
    }
    let several: Option<Vec<String>> = field("stop", value, "None, a text or a sequence of texts")?;
    Ok(several.unwrap_or_default())
}
