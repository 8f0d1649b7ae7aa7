//! `adapter_config.json`: what PEFT writes about an adapter.

use std::path::Path;

use regex::Regex;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files::{self, Small};
use crate::json;

/// Ranks and factors of a module for which nothing is said, as in PEFT.
const DEFAULT: f64 = 8.0;

/// Fields that don't change what the tensors mean: of training, of where the base lies, and those that are read here.
const KNOWN: [&str; 31] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
];

/// What an adapter's tensors are multiplied with, and of which rank they are.
pub(super) struct Settings {
    rank: f64,
    alpha: f64,
    ranks: Vec<(Regex, f64)>,
    alphas: Vec<(Regex, f64)>,
    /// Whether scales are relative to the rank's square root (Kalajdzievski, 2312.03732).
    is_rank_stabilized: bool,
    pub(super) is_dora: bool,
    pub(super) keeps_tied: bool,
}

impl Settings {
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = files::read(file, Small::Settings)?;
        let value = json::parse_config(file, &text)?;
        let Value::Object(fields) = value else {
            return Err(Error::corrupt(file, "expected an object"));
        };
        let fields = Fields { fields, file };
        fields.refuse_unsupported()?;
        let number = |name| fields.number(name).map(|found| found.unwrap_or(DEFAULT));
        let settings = Self {
            rank: number("r")?,
            alpha: number("lora_alpha")?,
            ranks: fields.patterns("rank_pattern")?,
            alphas: fields.patterns("alpha_pattern")?,
            is_rank_stabilized: fields.flag("use_rslora")?,
            is_dora: fields.flag("use_dora")?,
            keeps_tied: fields.flag("ensure_weight_tying")?,
        };
        let ranks = settings.ranks.iter().map(|(_, rank)| *rank);
        let is_rank = |rank: &f64| *rank >= 1.0 && rank.fract() == 0.0;
        match ranks.chain([settings.rank]).find(|rank| !is_rank(rank)) {
            None => Ok(settings),
            Some(rank) => {
                Err(fields.wrong("r or rank_pattern", "whole numbers of at least 1", &rank))
            }
        }
    }

    /// The rank of a module's matrices.
    pub(super) fn rank(&self, module: &str) -> usize {
        of_pattern(&self.ranks, module).unwrap_or(self.rank) as usize
    }

    /// What the product of a module's matrices is multiplied with.
    pub(super) fn scale(&self, module: &str) -> f64 {
        let rank = of_pattern(&self.ranks, module).unwrap_or(self.rank);
        let alpha = of_pattern(&self.alphas, module).unwrap_or(self.alpha);
        match self.is_rank_stabilized {
            true => alpha / rank.sqrt(),
            false => alpha / rank,
        }
    }
}

/// The value of the first pattern that a module's name matches.
fn of_pattern(patterns: &[(Regex, f64)], module: &str) -> Option<f64> {
    let mut patterns = patterns.iter();
    let found = patterns.find(|(pattern, _)| pattern.is_match(module));
    found.map(|(_, value)| *value)
}

/// The fields of the file.
struct Fields<'a> {
    fields: Map<String, Value>,
    file: &'a Path,
}

impl Fields<'_> {
    /// Refuses methods other than plain LoRA and DoRA, and all that is not known to leave the tensors' meaning alone.
    fn refuse_unsupported(&self) -> Result<()> {
        match self.fields.get("peft_type") {
            Some(Value::String(kind)) if kind == "LORA" => {}
            other => {
                let found = other.unwrap_or(&Value::Null);
                let reason = format!(
                    "peft_type {found} is not supported, only \"LORA\": merge the adapter with PEFT's merge_and_unload, \
                     and load the merged model"
                );
                return Err(Error::unsupported(self.file.display().to_string(), reason));
            }
        }
        // Others change the base's weights, too, before an adapter is trained.
        let initial = self.fields.get("init_lora_weights");
        let initial = initial.and_then(Value::as_str);
        if let Some(initial) =
            initial.filter(|how| !["gaussian", "eva", "orthogonal"].contains(how))
        {
            let reason = format!(
                "init_lora_weights {initial:?} is not supported, as it changes the base's own weights: save the adapter \
                 with path_initial_model_for_weight_conversion, or merge it with PEFT's merge_and_unload"
            );
            return Err(Error::unsupported(self.file.display().to_string(), reason));
        }
        let mut fields = self.fields.iter();
        let unknown = fields.find(|(name, value)| !KNOWN.contains(&name.as_str()) && is_set(value));
        match unknown {
            None => Ok(()),
            Some((name, value)) => {
                let reason = format!(
                    "{name} = {value} is not supported: merge the adapter with PEFT's merge_and_unload, and load the \
                     merged model"
                );
                Err(Error::unsupported(self.file.display().to_string(), reason))
            }
        }
    }

    fn flag(&self, name: &str) -> Result<bool> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(name, "true or false", other)),
        }
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.fields.get(name) {
            None => Ok(None),
            Some(value) => self.number_of(name, value).map(Some),
        }
    }

    fn number_of(&self, name: &str, value: &Value) -> Result<f64> {
        let number = value.as_f64();
        number.ok_or_else(|| self.wrong(name, "a number", value))
    }

    /// Values for modules whose names end with a match of a pattern.
    fn patterns(&self, name: &str) -> Result<Vec<(Regex, f64)>> {
        let fields = match self.fields.get(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Object(fields)) => fields,
            Some(other) => return Err(self.wrong(name, "an object", other)),
        };
        let patterns = fields.iter().map(|(pattern, value)| {
            let whole = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"));
            let whole =
                whole.map_err(|_| self.wrong(name, "names or regular expressions", &pattern))?;
            Ok((whole, self.number_of(name, value)?))
        });
        patterns.collect()
    }

    fn wrong(&self, name: &str, expected: &str, found: &dyn std::fmt::Display) -> Error {
        Error::corrupt(
            self.file,
            format!("{name}: expected {expected}, found {found}"),
        )
    }
}

/// Whether a field asks for anything.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}
