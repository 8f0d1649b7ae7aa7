//! A tokenizer in Hugging Face's layout: tokenizer.json and the files beside it.

mod added_tokens;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokenizers::AddedToken;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::bounds;
use super::chat::TemplateSource;
use super::spec::{Spelling, TokenizerSpec, guarded};
use super::splits;
use crate::error::{Error, Result};
use crate::files::{self, Small, read_json};

/// The special tokens that chat templates may name.
const TEMPLATE_TOKENS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "pad_token",
    "unk_token",
    "sep_token",
    "cls_token",
    "mask_token",
];

/// Reads the tokenizer in a folder; what the model says itself is in the folder `model`.
pub(super) fn read(folder: &Path, model: &Path) -> Result<TokenizerSpec> {
    let settings = read_settings(folder)?;
    let mut tokenizer = read_tokenizer(folder, &settings)?;
    added_tokens::add(&mut tokenizer, folder, &settings)?;
    let special_tokens: BTreeMap<_, _> = TEMPLATE_TOKENS
        .into_iter()
        .filter_map(|name| Some((name, token_text(&settings[name])?)))
        .collect();
    let id = |name| tokenizer.token_to_id(special_tokens.get(name)?);
    let config = read_json(&model.join("config.json"), Small::Settings)?;
    let mut eos = end_tokens(model, &config)?;
    eos.extend(id("eos_token"));
    eos.sort_unstable();
    eos.dedup();
    Ok(TokenizerSpec {
        bos: id("bos_token").or_else(|| token_ids(&config["bos_token_id"]).first().copied()),
        end: id("eos_token").or(eos.first().copied()),
        eos,
        chat_template: template_source(folder, &settings)?,
        special_tokens,
        spelling: Spelling::of(&tokenizer),
        tokenizer,
    })
}

/// The tokenizer's settings: `tokenizer_config.json`, and `special_tokens_map.json` for what it doesn't name.
fn read_settings(folder: &Path) -> Result<Value> {
    let mut settings = read_json(&folder.join("tokenizer_config.json"), Small::Settings)?;
    if settings.is_null() {
        settings = Value::Object(serde_json::Map::new());
    }
    let map = read_json(&folder.join("special_tokens_map.json"), Small::Settings)?;
    for (name, token) in map.as_object().into_iter().flatten() {
        if settings[name].is_null() {
            settings[name] = token.clone();
        }
    }
    Ok(settings)
}

fn read_tokenizer(folder: &Path, settings: &Value) -> Result<tokenizers::Tokenizer> {
    let file = folder.join("tokenizer.json");
    if !file.is_file() {
        return read_vocabulary_and_merges(folder, settings);
    }
    let bytes = files::read(&file, Small::Vocabulary)?;
    refuse_subword_prefix(&bytes, &file)?;
    let read = guarded(|| {
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(&bytes)?;
        // These settings are for training: a prompt must not be truncated or padded silently.
        tokenizer.with_truncation(None)?.with_padding(None);
        if let Some(steps) = tokenizer.get_pre_tokenizer() {
            let linear = splits::in_linear_time(steps)?;
            tokenizer.with_pre_tokenizer(Some(linear));
        }
        Ok(tokenizer)
    });
    let tokenizer = read.map_err(|reason| Error::corrupt(&file, reason))?;
    match bounds::check(&tokenizer) {
        Ok(()) => Ok(tokenizer),
        Err(reason) => Err(Error::unsupported(file.display().to_string(), reason)),
    }
}

/// The library removes this prefix from the second half of each BPE merge by its length alone, so halves without it
/// become invalid text. No supported model has one.
fn refuse_subword_prefix(bytes: &[u8], file: &Path) -> Result<()> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Outline {
        model: Model,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Model {
        merges: Option<IgnoredAny>,
        continuing_subword_prefix: Option<String>,
    }
    // The library reports other invalid contents.
    let model = serde_json::from_slice::<Outline>(bytes)
        .unwrap_or_default()
        .model;
    let prefix = model.continuing_subword_prefix.unwrap_or_default();
    if model.merges.is_some() && !prefix.is_empty() {
        let reason = format!("continuing_subword_prefix {prefix:?} is not supported with merges");
        return Err(Error::corrupt(file, reason));
    }
    Ok(())
}

/// GPT-2's older layout.
fn read_vocabulary_and_merges(folder: &Path, settings: &Value) -> Result<tokenizers::Tokenizer> {
    let (vocabulary, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
    for file in [&vocabulary, &merges] {
        if !file.is_file() {
            let reason = format!(
                "no tokenizer.json in {}, nor vocab.json with merges.txt: save the tokenizer with \
                 AutoTokenizer.from_pretrained(...).save_pretrained(...) from transformers",
                folder.display()
            );
            return Err(Error::not_found(file.display().to_string(), reason));
        }
    }
    for file in [&vocabulary, &merges] {
        files::open_small(file, Small::Vocabulary)?;
    }
    let [vocabulary_name, merges_name] =
        [&vocabulary, &merges].map(|file| file.display().to_string());
    let read = guarded(|| {
        let model = BPE::from_file(&vocabulary_name, &merges_name).build()?;
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)));
        tokenizer.with_decoder(Some(ByteLevel::default()));
        let special = TEMPLATE_TOKENS
            .iter()
            .filter_map(|name| token_text(&settings[*name]));
        // GPT-2's own folder has no settings; this is its only special token.
        let special = special.chain(["<|endoftext|>".to_owned()]);
        let known: Vec<_> = special
            .filter(|token| tokenizer.token_to_id(token).is_some())
            .collect();
        tokenizer
            .add_special_tokens(known.into_iter().map(|token| AddedToken::from(token, true)))?;
        Ok(tokenizer)
    });
    read.map_err(|reason| Error::corrupt(vocabulary, reason))
}

/// The EOS tokens in transformers' order of precedence: `generation_config.json`, then config.json.
fn end_tokens(folder: &Path, config: &Value) -> Result<Vec<u32>> {
    let generation = read_json(&folder.join("generation_config.json"), Small::Settings)?;
    let candidates = [
        &generation["eos_token_id"],
        &config["eos_token_id"],
        &config["text_config"]["eos_token_id"],
    ];
    let known = candidates
        .into_iter()
        .map(token_ids)
        .find(|ids| !ids.is_empty());
    Ok(known.unwrap_or_default())
}

/// The chat template: in a file of its own, or among the settings.
fn template_source(folder: &Path, settings: &Value) -> Result<Option<TemplateSource>> {
    let file = folder.join("chat_template.jinja");
    if file.is_file() {
        let source = files::read_text(&file, Small::Settings)?;
        return Ok(Some(TemplateSource::new(source)));
    }
    let older = read_json(&folder.join("chat_template.json"), Small::Settings)?;
    let template = [&settings["chat_template"], &older["chat_template"]]
        .into_iter()
        .find(|template| !template.is_null())
        .unwrap_or(&Value::Null);
    if let Some(source) = template.as_str() {
        return Ok(Some(TemplateSource::new(source)));
    }
    let entries = template.as_array().map_or(&[][..], Vec::as_slice);
    let named = |name: &str| {
        let entry = entries.iter().find(|entry| entry["name"] == name)?;
        entry["template"].as_str()
    };
    let first = || entries.first()?["template"].as_str();
    Ok(named("default")
        .or_else(first)
        .map(|source| TemplateSource {
            with_tools: named("tool_use").map(str::to_owned),
            ..TemplateSource::new(source)
        }))
}

/// A special token's text, given as a string or as an added token.
fn token_text(value: &Value) -> Option<String> {
    value
        .as_str()
        .or_else(|| value["content"].as_str())
        .map(str::to_owned)
}

/// One token id, or several.
fn token_ids(value: &Value) -> Vec<u32> {
    let several = value
        .as_array()
        .map_or(std::slice::from_ref(value), Vec::as_slice);
    several
        .iter()
        .filter_map(|id| u32::try_from(id.as_u64()?).ok())
        .collect()
}
