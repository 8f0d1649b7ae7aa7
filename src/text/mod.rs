//! Text
#![allow(missing_docs)]
use crate::error::{Error, Result};
use crate::weights::gguf::Metadata;
use std::path::Path;
use std::sync::Arc;
#[derive(Clone)]
pub struct Tokenizer(Arc<tokenizers::Tokenizer>);
impl Tokenizer {
    pub fn from_folder(f: &Path) -> Result<Self> {
        tokenizers::Tokenizer::from_file(f.join("tokenizer.json"))
            .map(|t| Self(Arc::new(t)))
            .map_err(|e| Error::Compute(e.to_string()))
    }
    pub fn from_gguf(_: &Metadata, _: &Path) -> Result<Self> {
        Err(Error::Compute("stub".into()))
    }
    pub fn eos_token_ids(&self) -> &[u32] {
        &[0]
    }
    pub fn bos_token_id(&self) -> Option<u32> {
        Some(1)
    }
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        self.0
            .encode(text, special)
            .map(|e| e.get_ids().to_vec())
            .map_err(|e| Error::Compute(e.to_string()))
    }
    pub fn decode(&self, ids: &[u32], skip: bool) -> Result<String> {
        self.0
            .decode(ids, skip)
            .map_err(|e| Error::Compute(e.to_string()))
    }
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        None
    }
    pub fn same_vocabulary(&self, _: &Self) -> Result<()> {
        Ok(())
    }
    pub fn vocab_size(&self) -> usize {
        self.0.get_vocab_size(true)
    }
}
pub struct ChatTemplate;
impl ChatTemplate {
    pub fn render(&self, _: &[Message], _: bool) -> Result<String> {
        Ok(String::new())
    }
}
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    pub role: String,
    pub content: String,
}
pub struct Detokenizer {
    t: Tokenizer,
    ids: Vec<u32>,
    done: usize,
}
impl Detokenizer {
    pub fn new(t: &Tokenizer, _: bool) -> Self {
        Self {
            t: t.clone(),
            ids: vec![],
            done: 0,
        }
    }
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let all = self.t.decode(&self.ids, true)?;
        if all.ends_with('\u{fffd}') {
            return Ok(String::new());
        }
        let new = all[self.done..].to_string();
        self.done = all.len();
        Ok(new)
    }
    pub fn finish(&mut self) -> Result<String> {
        let all = self.t.decode(&self.ids, true)?;
        let new = all[self.done..].to_string();
        self.done = all.len();
        Ok(new)
    }
}
