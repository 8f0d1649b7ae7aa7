//! Tokens that stand beside tokenizer.json, as fine-tunes add them; transformers adds them after the others, and so does this.

use std::path::Path;

use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use super::{TEMPLATE_TOKENS, token_text};
use crate::error::{Error, Result};
use crate::files::{Small, read_json};
use crate::text::spec::guarded;

/// A token that may be missing, with its id where a file gives one.
struct Missing {
    token: AddedToken,
    id: Option<u32>,
}

/// Adds the tokens of the settings (`added_tokens_decoder`, `additional_special_tokens`, `bos_token`, ...) and of
/// `added_tokens.json` that the tokenizer does not have.
pub(super) fn add(tokenizer: &mut Tokenizer, folder: &Path, settings: &Value) -> Result<()> {
    let mut missing = decoder_tokens(&settings["added_tokens_decoder"]);
    let file = folder.join("added_tokens.json");
    missing.extend(numbered(&read_json(&file, Small::Settings)?));
    // By their ids, so that each gets the next one.
    missing.sort_by_key(|entry| entry.id);
    let more = settings["additional_special_tokens"].as_array();
    let named = TEMPLATE_TOKENS.iter().map(|name| &settings[*name]);
    let named = named.chain(more.into_iter().flatten());
    missing.extend(named.filter_map(token_text).map(|text| Missing {
        token: AddedToken::from(text, true),
        id: None,
    }));
    for Missing { token, id } in missing {
        let added = tokenizer.get_added_vocabulary().get_vocab();
        if added.contains_key(&token.content) || token.content.is_empty() {
            continue;
        }
        let text = token.content.clone();
        let added = guarded(|| match token.special {
            true => tokenizer.add_special_tokens([token]),
            false => tokenizer.add_tokens([token]),
        });
        added.map_err(|reason| Error::corrupt(folder, reason))?;
        let given = tokenizer.token_to_id(&text);
        if id.is_some() && id != given {
            let number = |id: Option<u32>| id.map_or("none".to_owned(), |id| id.to_string());
            let reason = format!(
                "the added token {text:?} has the id {}, but tokenizer.json leaves {} for it",
                number(id),
                number(given)
            );
            return Err(Error::corrupt(folder, reason));
        }
    }
    Ok(())
}

/// `added_tokens_decoder`: tokens with their properties, by ids.
fn decoder_tokens(decoder: &Value) -> Vec<Missing> {
    let entries = decoder.as_object().into_iter().flatten();
    let entries = entries.filter_map(|(id, entry)| {
        let flag = |name: &str| entry[name].as_bool().unwrap_or(false);
        let token = AddedToken::from(entry["content"].as_str()?, flag("special"))
            .single_word(flag("single_word"))
            .lstrip(flag("lstrip"))
            .rstrip(flag("rstrip"))
            .normalized(flag("normalized"));
        Some(Missing {
            token,
            id: Some(id.parse().ok()?),
        })
    });
    entries.collect()
}

/// `added_tokens.json`: ids by tokens.
fn numbered(tokens: &Value) -> Vec<Missing> {
    let entries = tokens.as_object().into_iter().flatten();
    let entries = entries.filter_map(|(token, id)| {
        Some(Missing {
            token: AddedToken::from(token.clone(), false).normalized(false),
            id: Some(u32::try_from(id.as_u64()?).ok()?),
        })
    });
    entries.collect()
}
