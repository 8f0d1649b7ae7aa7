//! How a folder's config.json says that its weights are quantized.

use std::path::Path;

use serde_json::Value;

use super::super::packed::Packing;
use crate::error::{Error, Result};

/// The method, as far as tensors in several parts depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// gpt-oss's experts.
    Mxfp4,
    /// 4-bit integers.
    Int4(Packing4),
    /// 8-bit floats, and rows and columns of the blocks that have a scale.
    Float8([usize; 2]),
}

/// How 4-bit integers lie in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing4 {
    /// As in GPTQ's first version: zero points are stored less one.
    Gptq,
    /// As in its second.
    Gptq2,
    /// As in AWQ.
    Awq,
}

impl Packing4 {
    pub(super) fn packing(self) -> Packing {
        match self {
            Self::Gptq => Packing::Inputs { less: 1 },
            Self::Gptq2 => Packing::Inputs { less: 0 },
            Self::Awq => Packing::Outputs,
        }
    }
}

/// Rows and columns of a block of 8-bit floats, where config.json doesn't say.
const FLOAT8_BLOCK: usize = 128;

/// The method that a config.json names; `None`: weights are not quantized. `file` is named in errors.
pub(crate) fn method(config: &Value, file: &Path) -> Result<Option<Method>> {
    let text = config.get("text_config").unwrap_or(&Value::Null);
    let stated = ["quantization_config", "compression_config"];
    let found = [text, config].into_iter().find_map(|fields| {
        let mut stated = stated.iter();
        stated.find_map(|name| fields.get(*name)?.as_object())
    });
    let Some(fields) = found else {
        return Ok(None);
    };
    let is_set = |name: &str| fields.get(name).and_then(Value::as_bool) == Some(true);
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let number = |name: &str| fields.get(name).and_then(Value::as_u64);
    let name = match text("quant_method").or(text("quant_algo")) {
        Some(method) => method,
        // Older files.
        None if is_set("load_in_4bit") || is_set("load_in_8bit") => "bitsandbytes",
        None => "a method that config.json does not name",
    };
    let refused = |how: &str| {
        let reason = format!(
            "its weights are quantized by {name}{how}, which is not supported: take a GGUF file of the same model, or \
             the original weights with --quantize"
        );
        Err(Error::unsupported(file.display().to_string(), reason))
    };
    let bits = number("bits").or(number("w_bit")).unwrap_or(4);
    match name {
        "mxfp4" => Ok(Some(Method::Mxfp4)),
        "gptq" | "awq" if bits != 4 => refused(&format!(" to {bits} bits")),
        "gptq" => Ok(Some(Method::Int4(match text("checkpoint_format") {
            None | Some("gptq") => Packing4::Gptq,
            Some("gptq_v2") => Packing4::Gptq2,
            Some(other) => return refused(&format!(" as {other}")),
        }))),
        "awq" => match text("version")
            .unwrap_or("gemm")
            .to_ascii_lowercase()
            .as_str()
        {
            "gemm" => Ok(Some(Method::Int4(Packing4::Awq))),
            other => refused(&format!(" as {other}")),
        },
        "fp8" | "fbgemm_fp8" => {
            let sizes = fields.get("weight_block_size").and_then(Value::as_array);
            let size = |index: usize| {
                let size = sizes?.get(index)?.as_u64()?;
                usize::try_from(size).ok().filter(|size| *size > 0)
            };
            let block = [0, 1].map(|index| size(index).unwrap_or(FLOAT8_BLOCK));
            Ok(Some(Method::Float8(block)))
        }
        "compressed-tensors" if text("format") == Some("float-quantized") => {
            Ok(Some(Method::Float8([FLOAT8_BLOCK; 2])))
        }
        _ => refused(""),
    }
}
