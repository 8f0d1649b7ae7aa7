//! The tokenizer, from a folder or from a GGUF file.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokenizers::ModelWrapper;

use super::chat::{ChatTemplate, Message, RenderOptions, TemplateSource};
use super::chat_templates;
use super::detokenize::Detokenizer;
use super::grammar::{Grammar, GrammarCompiler};
use super::spec::{TokenizerSpec, guarded};
use super::{folder, gguf};
use crate::error::{Error, Result};
use crate::hash::fnv;
use crate::response_format::ResponseFormat;
use crate::weights::gguf::Metadata;

/// Turns text into tokens and back. Cheap to clone.
#[derive(Clone)]
pub struct Tokenizer {
    spec: Arc<TokenizerSpec>,
    template: Option<Arc<ChatTemplate>>,
    /// Built at the first request for a grammar.
    grammars: Arc<OnceLock<GrammarCompiler>>,
    /// Its number of bytes, once it was needed.
    longest_token: Arc<OnceLock<usize>>,
}

impl Tokenizer {
    /// Reads the tokenizer of a folder in Hugging Face's layout: tokenizer.json, or vocab.json with merges.txt;
    /// special tokens and chat template from the files beside it.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        Self::from_folders(folder, folder)
    }

    /// The same, with what the model says itself, such as its end-of-text tokens, in another folder.
    pub fn from_folders(folder: &Path, model: &Path) -> Result<Self> {
        folder::read(folder, model).map(Self::new)
    }

    /// Builds the tokenizer that a GGUF file carries in its metadata; `file` is named in errors.
    pub fn from_gguf(metadata: &Metadata, file: &Path) -> Result<Self> {
        gguf::read(metadata, file).map(Self::new)
    }

    fn new(spec: TokenizerSpec) -> Self {
        let stored = spec.chat_template.as_ref();
        let template = stored.map(|stored| ChatTemplate::new(stored, &spec.special_tokens));
        Self {
            template: template.map(Arc::new),
            spec: Arc::new(spec),
            grammars: Arc::default(),
            longest_token: Arc::default(),
        }
    }

    /// The same tokenizer with another chat template, in Jinja; the error is a mistake in its syntax.
    pub fn with_chat_template(mut self, source: &str) -> Result<Self, String> {
        let stored = TemplateSource::new(source);
        let template = ChatTemplate::new(&stored, &self.spec.special_tokens);
        template.check_syntax()?;
        self.template = Some(Arc::new(template));
        Ok(self)
    }

    /// Encodes a text; `add_special_tokens` adds those that the model expects around it.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let encoding = guarded(|| self.spec.tokenizer.encode_fast(text, add_special_tokens));
        match encoding {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(reason) => Err(Error::Compute(format!("tokenizing the text: {reason}"))),
        }
    }

    /// Fails for a text that has more than `most` tokens, after little work: it is split into tokens only as far as that takes.
    pub(crate) fn check_length(&self, text: &str, most: usize) -> Result<()> {
        /// Shorter texts are tokenized at once.
        const CHUNK: usize = 1 << 16;
        /// Tokens that a chunk's end may add, where it parts what would be one token.
        const PARTED: usize = 16;
        let too_long = |tokens| Error::ContextOverflow {
            tokens,
            context_length: most,
        };
        if text.len() <= CHUNK {
            return Ok(());
        }
        let least = text.len() / self.longest_token();
        if least > most {
            return Err(too_long(least));
        }
        let (mut tokens, mut rest) = (0, text);
        while !rest.is_empty() {
            let mut end = rest.len().min(CHUNK);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (chunk, after) = rest.split_at(end);
            tokens += self.encode(chunk, false)?.len().saturating_sub(PARTED);
            if tokens > most {
                return Err(too_long(tokens));
            }
            rest = after;
        }
        Ok(())
    }

    /// The number of bytes of the longest token.
    fn longest_token(&self) -> usize {
        *self.longest_token.get_or_init(|| {
            let tokens = self.spec.tokenizer.get_vocab(true);
            tokens.keys().map(String::len).max().unwrap_or(1).max(1)
        })
    }

    /// Encodes text that follows other text: without the space that some tokenizers add at the start of a text.
    pub fn encode_continuation(&self, text: &str) -> Result<Vec<u32>> {
        const ANOTHER: &str = "a";
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let before = self.encode(ANOTHER, false)?;
        let together = self.encode(&format!("{ANOTHER}{text}"), false)?;
        match together.strip_prefix(&before[..]) {
            Some(continuation) => Ok(continuation.to_vec()),
            None => self.encode(text, false),
        }
    }

    /// Decodes tokens; bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        let mut detokenizer = self.detokenizer(skip_special_tokens, false);
        let mut text = String::new();
        for id in ids {
            text.push_str(&detokenizer.push(*id)?);
        }
        text.push_str(&detokenizer.finish()?);
        Ok(text)
    }

    /// Decodes tokens one by one. If the text `continues` other text, it keeps its leading space, which some tokenizers
    /// drop at the start of a text.
    pub fn detokenizer(&self, skip_special_tokens: bool, continues: bool) -> Detokenizer {
        Detokenizer::new(self.spec.clone(), skip_special_tokens, continues)
    }

    /// The grammar of a response format over this vocabulary. The first call indexes the vocabulary, which takes a moment.
    pub fn grammar(&self, format: &ResponseFormat) -> Result<Grammar> {
        let grammars = match self.grammars.get() {
            Some(grammars) => grammars,
            None => {
                let compiler = GrammarCompiler::new(&self.spec)?;
                self.grammars.get_or_init(|| compiler)
            }
        };
        grammars.compile(format)
    }

    /// Whether [`Self::grammar`] has compiled a response format lately, so that it takes next to no time.
    #[cfg(feature = "server")]
    pub(crate) fn knows_grammar(&self, format: &ResponseFormat) -> bool {
        let grammars = self.grammars.get();
        grammars.is_some_and(|grammars| grammars.knows(format))
    }

    /// The tokens that end a text.
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.spec.eos
    }

    /// The EOS token of the tokenizer's own settings; in a conversation it ends a turn.
    pub fn end_token_id(&self) -> Option<u32> {
        self.spec.end
    }

    /// The token that starts a text (BOS).
    pub fn bos_token_id(&self) -> Option<u32> {
        self.spec.bos
    }

    /// The model's chat template, which turns a conversation into one text.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_deref()
    }

    /// A conversation as text, by the model's chat template.
    pub fn apply_chat_template(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<String> {
        if messages.is_empty() {
            return Err(Error::invalid("messages", "[]", "at least one message"));
        }
        let template = self.chat_template().ok_or_else(no_chat_template)?;
        template.render(messages, options)
    }

    /// The number of tokens, added ones included; the model's logits may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.spec.tokenizer.get_vocab_size(true)
    }

    /// The number of tokens without added ones, which may lie beyond the model's own.
    pub(crate) fn base_vocab_size(&self) -> usize {
        self.spec.tokenizer.get_vocab_size(false)
    }

    /// The algorithm that splits words into tokens: BPE, Unigram, `WordPiece` or `WordLevel`.
    pub fn algorithm(&self) -> &'static str {
        match self.spec.tokenizer.get_model() {
            ModelWrapper::BPE(_) => "BPE",
            ModelWrapper::Unigram(_) => "Unigram",
            ModelWrapper::WordPiece(_) => "WordPiece",
            ModelWrapper::WordLevel(_) => "WordLevel",
        }
    }

    /// A token as the vocabulary spells it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.spec.tokenizer.id_to_token(id)
    }

    /// A token by its spelling.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.spec.tokenizer.token_to_id(token)
    }

    /// The spelling of a special token, such as a turn marker; `None` for text.
    pub fn special_token(&self, id: u32) -> Option<String> {
        let token = self.token(id)?;
        let added = self.spec.tokenizer.get_added_vocabulary();
        added.is_special_token(&token).then_some(token)
    }

    /// What a token stands for alone: a special token's name, or its text.
    pub fn token_text(&self, id: u32) -> Result<String> {
        match self.special_token(id) {
            Some(name) => Ok(name),
            None => Ok(String::from_utf8_lossy(&self.bytes(id)?).into_owned()),
        }
    }

    /// The bytes that a token adds after other text; none for a special token.
    pub fn bytes(&self, id: u32) -> Result<Vec<u8>> {
        self.spec.bytes(id, false, true)
    }

    /// A hash of the vocabulary.
    pub fn fingerprint(&self) -> u64 {
        let ids = 0..self.vocab_size() as u32;
        let spelled = |id| self.token(id).unwrap_or_default().into_bytes();
        fnv(ids.flat_map(|id| spelled(id).into_iter().chain([0xff])))
    }

    /// Whether every id that both tokenizers have is the same token: models of one family may add tokens of their own.
    pub fn same_vocabulary(&self, other: &Self) -> bool {
        let size = self.vocab_size().max(other.vocab_size()) as u32;
        (0..size).all(|id| match (self.token(id), other.token(id)) {
            (Some(own), Some(others)) => own == others,
            _ => true,
        })
    }
}

/// The error of a model without a chat template, with the ways out.
pub(crate) fn no_chat_template() -> Error {
    let known = chat_templates::names().join(", ");
    Error::NoChatTemplate { known }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_refused_by_their_tokens_and_no_others() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pair/target");
        let tokenizer = Tokenizer::from_folder(&folder).unwrap();
        let text = "You may copy this, ü. ".repeat(9000);
        let tokens = tokenizer.encode(&text, false).unwrap().len();
        tokenizer.check_length(&text, tokens).unwrap();
        for most in [1, 1000, tokens / 2, tokens - 1000] {
            let refused = tokenizer.check_length(&text, most).unwrap_err();
            let Error::ContextOverflow { tokens: least, .. } = refused else {
                panic!("{refused}");
            };
            assert!(
                most < least && least <= tokens,
                "{most}: {least} of {tokens}"
            );
        }
        // Short ones are tokenized anyway.
        tokenizer.check_length("You may copy", 1).unwrap();
    }
}
