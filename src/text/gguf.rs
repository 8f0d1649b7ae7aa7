//! The tokenizer that a GGUF file carries in its metadata, under `tokenizer.ggml.*`
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer>).

mod pretokenizers;
mod sentencepiece;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use tokenizers::AddedToken;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::{
    NFC, NormalizerWrapper, Precompiled, Prepend, Replace, Sequence as Normalizers,
};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::processors::template::TemplateProcessing;

use super::bounds;
use super::chat::TemplateSource;
use super::spec::{Spelling, TokenizerSpec, guarded};
use super::splits;
use crate::error::{Error, Result};
use crate::threads;
use crate::weights::gguf::{Metadata, Value};
use pretokenizers::Pretokenizer;

/// SentencePiece's character for a space.
const SPACE: &str = "▁";

/// Tokens that end a turn in some model family. Files often name only one of a model's end tokens.
const TURN_ENDS: [&str; 12] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|EOT|>",
    "<EOT>",
    "<|return|>",
    "<|endofturn|>",
    "<｜end▁of▁sentence｜>",
];

pub(super) fn read(metadata: &Metadata, file: &Path) -> Result<TokenizerSpec> {
    TokenizerBuilder::new(metadata, file)?.build()
}

/// A token's type (`tokenizer.ggml.token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenType {
    Text,
    Unknown,
    Control,
    UserDefined,
    Byte,
}

impl TokenType {
    fn from_value(value: &Value) -> Self {
        match value.as_integer() {
            Some(2) => Self::Unknown,
            Some(3) => Self::Control,
            Some(4) => Self::UserDefined,
            Some(6) => Self::Byte,
            _ => Self::Text,
        }
    }
}

/// The validated vocabulary of the metadata, from which the tokenizer is built.
struct TokenizerBuilder<'a> {
    metadata: &'a Metadata,
    file: &'a Path,
    tokens: Vec<&'a str>,
    types: Vec<TokenType>,
}

/// The parts that differ between tokenizer algorithms.
struct Algorithm {
    tokenizer: tokenizers::Tokenizer,
    add_bos: bool,
}

impl<'a> TokenizerBuilder<'a> {
    fn new(metadata: &'a Metadata, file: &'a Path) -> Result<Self> {
        let Some(tokens) = metadata.strings("tokenizer.ggml.tokens") else {
            let reason = "tokenizer.ggml.tokens is missing: the file carries no tokenizer";
            return Err(Error::corrupt(file, reason));
        };
        let mut types = vec![TokenType::Text; tokens.len()];
        if let Some(values) = metadata.array("tokenizer.ggml.token_type") {
            same_length(file, "token_type", values.len(), tokens.len())?;
            types = values.iter().map(TokenType::from_value).collect();
        }
        Ok(Self {
            metadata,
            file,
            tokens,
            types,
        })
    }

    fn build(&self) -> Result<TokenizerSpec> {
        let kind = self
            .metadata
            .string("tokenizer.ggml.model")
            .unwrap_or_default();
        let algorithm = match kind {
            "gpt2" => self.byte_level(),
            "llama" => self.sentencepiece(),
            "t5" => self.unigram(),
            other => {
                let reason = format!(
                    "tokenizer.ggml.model {other:?} is not among those supported: gpt2, llama, t5"
                );
                return Err(Error::unsupported(self.file.display().to_string(), reason));
            }
        };
        let Algorithm {
            mut tokenizer,
            add_bos,
        } = algorithm?;
        let checked = |result: Result<(), String>| result.map_err(|reason| self.corrupt(reason));
        checked(self.add_tokens(&mut tokenizer))?;
        checked(self.add_template(&mut tokenizer, add_bos))?;
        if let Err(reason) = bounds::check(&tokenizer) {
            return Err(Error::unsupported(self.file.display().to_string(), reason));
        }
        Ok(TokenizerSpec {
            bos: self.special("bos"),
            end: self.special("eos"),
            eos: self.end_tokens(),
            chat_template: self.chat_template(),
            special_tokens: self.special_tokens(),
            spelling: Spelling::of(&tokenizer),
            tokenizer,
        })
    }

    /// Byte-level BPE (GPT-2): text is split by a pattern, bytes are spelled as characters, merges apply in order.
    fn byte_level(&self) -> Result<Algorithm> {
        let tag = self
            .metadata
            .string("tokenizer.ggml.pre")
            .unwrap_or("default");
        let rule = pretokenizers::find(tag).ok_or_else(|| {
            let reason = format!("tokenizer.ggml.pre {tag:?} is not a known pre-tokenizer");
            Error::unsupported(self.file.display().to_string(), reason)
        })?;
        let Some(merges) = self.metadata.strings("tokenizer.ggml.merges") else {
            return Err(self.corrupt("tokenizer.ggml.merges is missing"));
        };
        let merges = merges
            .iter()
            .map(|merge| self.merge(merge))
            .collect::<Result<_>>()?;
        let build = || {
            let model = BPE::builder()
                .vocab_and_merges(self.vocabulary(), merges)
                .ignore_merges(rule.ignore_merges)
                .build()?;
            let mut tokenizer = tokenizers::Tokenizer::new(model);
            if rule.nfc {
                tokenizer.with_normalizer(Some(NFC))?;
            }
            tokenizer.with_pre_tokenizer(Some(word_splitter(rule)?));
            tokenizer.with_decoder(Some(ByteLevel::default()));
            Ok(tokenizer)
        };
        Ok(Algorithm {
            tokenizer: guarded(build).map_err(|reason| self.corrupt(reason))?,
            add_bos: rule.add_bos,
        })
    }

    /// SentencePiece's BPE: only spaces are normalized, merges apply by score, unknown characters become bytes.
    fn sentencepiece(&self) -> Result<Algorithm> {
        let scores = self.scores()?;
        let mergeable = |id: &usize| {
            let (kind, token) = (self.types[*id], self.tokens[*id]);
            !token.is_empty() && matches!(kind, TokenType::Text | TokenType::UserDefined)
        };
        let ids = (0..self.tokens.len()).filter(mergeable);
        let (vocabulary, merges) = threads::join(
            || self.vocabulary(),
            || sentencepiece::merges(&self.tokens, &scores, ids),
        );
        let add_space = self.flag("add_space_prefix").unwrap_or(true);
        let build = || {
            let mut model = BPE::builder()
                .vocab_and_merges(vocabulary, merges)
                .byte_fallback(true)
                .fuse_unk(true);
            if let Some(unknown) = self.unknown_token() {
                model = model.unk_token(unknown.to_owned());
            }
            let mut tokenizer = tokenizers::Tokenizer::new(model.build()?);
            let spaces = Replace::new(" ", SPACE)?.into();
            let normalizers: Vec<NormalizerWrapper> = match add_space {
                true => vec![Prepend::new(SPACE.into()).into(), spaces],
                false => vec![spaces],
            };
            tokenizer.with_normalizer(Some(Normalizers::new(normalizers)))?;
            let mut decoders = vec![
                Replace::new(SPACE, " ")?.into(),
                ByteFallback::new().into(),
                Fuse::new().into(),
            ];
            if add_space {
                decoders.push(Strip::new(' ', 1, 0).into());
            }
            tokenizer.with_decoder(Some(Decoders::new(decoders)));
            Ok(tokenizer)
        };
        Ok(Algorithm {
            tokenizer: guarded(build).map_err(|reason| self.corrupt(reason))?,
            add_bos: true,
        })
    }

    /// SentencePiece's unigram model: the most probable segmentation of the text into tokens.
    fn unigram(&self) -> Result<Algorithm> {
        let scores = self.scores()?;
        let vocabulary = self
            .tokens
            .iter()
            .map(|token| (*token).to_owned())
            .zip(scores);
        let unknown = self
            .types
            .iter()
            .position(|kind| *kind == TokenType::Unknown);
        let byte_fallback = self.types.contains(&TokenType::Byte);
        let prepend = match self.flag("add_space_prefix").unwrap_or(true) {
            true => PrependScheme::Always,
            false => PrependScheme::Never,
        };
        let build = || {
            let model = Unigram::from(vocabulary.collect(), unknown, byte_fallback)?;
            let mut tokenizer = tokenizers::Tokenizer::new(model);
            if let Some(map) = self.character_map() {
                tokenizer.with_normalizer(Some(Precompiled::from(&map)?))?;
            }
            let spaces = Metaspace::new('▁', prepend, true);
            tokenizer.with_pre_tokenizer(Some(spaces.clone()));
            let mut decoders = vec![spaces.into()];
            if byte_fallback {
                decoders.push(ByteFallback::new().into());
            }
            tokenizer.with_decoder(Some(Decoders::new(decoders)));
            Ok(tokenizer)
        };
        Ok(Algorithm {
            tokenizer: guarded(build).map_err(|reason| self.corrupt(reason))?,
            add_bos: false,
        })
    }

    /// Token to id; of a duplicate token, the first id.
    fn vocabulary(&self) -> Vocab {
        let tokens = self.tokens.iter().enumerate().rev();
        tokens
            .map(|(id, token)| ((*token).to_owned(), id as u32))
            .collect()
    }

    /// Parses a merge: two tokens separated by a space.
    fn merge(&self, merge: &str) -> Result<(String, String)> {
        // The search skips the first character: a token may itself start with a space.
        let first = merge.chars().next().map_or(0, char::len_utf8);
        match merge[first..].split_once(' ') {
            Some((rest, right)) => Ok((format!("{}{rest}", &merge[..first]), right.to_owned())),
            None => Err(self.corrupt(format!(
                "tokenizer.ggml.merges: {merge:?} is not two tokens"
            ))),
        }
    }

    fn scores(&self) -> Result<Vec<f64>> {
        let scores = self
            .metadata
            .array("tokenizer.ggml.scores")
            .unwrap_or_default();
        same_length(self.file, "scores", scores.len(), self.tokens.len())?;
        let finite = |score: &Value| score.as_float().filter(|score| score.is_finite());
        let scores: Option<_> = scores.iter().map(finite).collect();
        scores.ok_or_else(|| self.corrupt("tokenizer.ggml.scores: expected finite numbers"))
    }

    /// Special tokens are found in the text before it is normalized.
    fn add_tokens(&self, tokenizer: &mut tokenizers::Tokenizer) -> Result<(), String> {
        // Only Phi-3 was trained with the white space after its turn markers removed.
        let phi3 = self.metadata.string("general.architecture") == Some("phi3")
            && self.metadata.string("tokenizer.ggml.model") == Some("llama");
        let strips = |token: &str| phi3 && !["<unk>", "<s>", "<|endoftext|>"].contains(&token);
        let typed = || {
            self.tokens
                .iter()
                .zip(&self.types)
                .filter(|(token, _)| !token.is_empty())
        };
        let is_special = |token: &str, kind| match kind {
            TokenType::Control | TokenType::Unknown => true,
            TokenType::UserDefined => TURN_ENDS.contains(&token),
            TokenType::Text | TokenType::Byte => false,
        };
        let control = typed().filter(|(token, kind)| is_special(token, **kind));
        let control =
            control.map(|(token, _)| AddedToken::from(*token, true).rstrip(strips(token)));
        let user_defined = typed().filter(|(_, kind)| **kind == TokenType::UserDefined);
        let user_defined =
            user_defined.map(|(token, _)| AddedToken::from(*token, false).normalized(false));
        guarded(|| tokenizer.add_special_tokens(control))?;
        guarded(|| tokenizer.add_tokens(user_defined))?;
        Ok(())
    }

    /// The tokens that the model expects around a text.
    fn add_template(
        &self,
        tokenizer: &mut tokenizers::Tokenizer,
        add_bos: bool,
    ) -> Result<(), String> {
        let enabled = |name, default| self.flag(&format!("add_{name}_token")).unwrap_or(default);
        let around = |name, default| match enabled(name, default) {
            true => self.special(name),
            false => None,
        };
        let (bos, eos) = (around("bos", add_bos), around("eos", false));
        if bos.is_none() && eos.is_none() {
            return Ok(());
        }
        let named = [("bos", bos), ("eos", eos)];
        let named = named.into_iter().filter_map(|(name, id)| Some((name, id?)));
        let sequence = |text: &str| {
            let before = bos.map(|_| "bos:0");
            before
                .into_iter()
                .chain([text])
                .chain(eos.map(|_| "eos:0"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let template = guarded(|| {
            Ok(TemplateProcessing::builder()
                .try_single(sequence("$A:0"))?
                .special_tokens(
                    named
                        .map(|(name, id)| (name.to_owned(), id))
                        .collect::<Vec<_>>(),
                )
                .build()?)
        })?;
        tokenizer.with_post_processor(Some(template));
        Ok(())
    }

    fn chat_template(&self) -> Option<TemplateSource> {
        let source = self.metadata.string("tokenizer.chat_template")?;
        let with_tools = self.metadata.string("tokenizer.chat_template.tool_use");
        Some(TemplateSource {
            with_tools: with_tools.map(str::to_owned),
            ..TemplateSource::new(source)
        })
    }

    /// The special tokens that chat templates may name.
    fn special_tokens(&self) -> BTreeMap<&'static str, String> {
        let names = [
            ("bos_token", "bos"),
            ("eos_token", "eos"),
            ("pad_token", "padding"),
            ("unk_token", "unknown"),
        ];
        let named = names.into_iter().filter_map(|(name, key)| {
            Some((name, self.tokens[self.special(key)? as usize].to_owned()))
        });
        named.collect()
    }

    fn end_tokens(&self) -> Vec<u32> {
        let named = ["eos", "eot", "eom"]
            .into_iter()
            .filter_map(|name| self.special(name));
        // Some files mark turn ends as user-defined tokens.
        let marked = [TokenType::Control, TokenType::UserDefined];
        let is_turn_end =
            |id: &usize| marked.contains(&self.types[*id]) && TURN_ENDS.contains(&self.tokens[*id]);
        let known = (0..self.tokens.len())
            .filter(is_turn_end)
            .map(|id| id as u32);
        let all: HashSet<u32> = named.chain(known).collect();
        let mut all: Vec<u32> = all.into_iter().collect();
        all.sort_unstable();
        all
    }

    /// The id of a special token, if the vocabulary has it.
    fn special(&self, name: &str) -> Option<u32> {
        let id = self
            .metadata
            .integer(&format!("tokenizer.ggml.{name}_token_id"))?;
        let known = usize::try_from(id).is_ok_and(|id| id < self.tokens.len());
        known.then_some(id as u32)
    }

    fn unknown_token(&self) -> Option<&'a str> {
        let typed = || {
            self.types
                .iter()
                .position(|kind| *kind == TokenType::Unknown)
        };
        let id = self
            .special("unknown")
            .map(|id| id as usize)
            .or_else(typed)?;
        Some(self.tokens[id])
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.metadata.boolean(&format!("tokenizer.ggml.{name}"))
    }

    /// SentencePiece's compiled normalization rules.
    fn character_map(&self) -> Option<Vec<u8>> {
        let bytes = self.metadata.array("tokenizer.ggml.precompiled_charsmap")?;
        // Files store signed or unsigned bytes.
        let byte = |value: &Value| match value {
            Value::Unsigned(byte) => u8::try_from(*byte).ok(),
            Value::Signed(byte) => i8::try_from(*byte).ok().map(i8::cast_unsigned),
            _ => None,
        };
        bytes.iter().map(byte).collect()
    }

    fn corrupt(&self, reason: impl Into<String>) -> Error {
        Error::corrupt(self.file, reason)
    }
}

fn same_length(file: &Path, name: &str, found: usize, tokens: usize) -> Result<()> {
    if found == tokens {
        return Ok(());
    }
    let reason = format!("tokenizer.ggml.{name}: {found} entries for {tokens} tokens");
    Err(Error::corrupt(file, reason))
}

/// Splits text by a rule's patterns, then maps it to the byte alphabet.
fn word_splitter(rule: &Pretokenizer) -> tokenizers::Result<PreTokenizers> {
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for pattern in rule.patterns {
        steps.extend(splits::isolate(pattern)?);
    }
    steps.push(ByteLevel::new(false, true, false).into());
    Ok(PreTokenizers::new(steps))
}
