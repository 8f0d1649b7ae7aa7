//! What a model can take: tokens that it knows, no more of them than its context holds.

use crate::error::{Error, Result};

/// Fails for the first token that the vocabulary lacks; `field` is what the caller calls the tokens.
pub(crate) fn known<'a>(
    field: &str,
    ids: impl IntoIterator<Item = &'a u32>,
    vocab_size: usize,
) -> Result<()> {
    let mut ids = ids.into_iter();
    match ids.find(|id| **id as usize >= vocab_size) {
        None => Ok(()),
        Some(id) => {
            let expected = format!("token ids below the vocabulary's size, {vocab_size}");
            Err(Error::invalid(field, id, expected))
        }
    }
}

/// Fails if so many tokens don't fit the context.
pub(crate) fn fits(tokens: usize, context_length: usize) -> Result<()> {
    match tokens <= context_length {
        true => Ok(()),
        false => Err(Error::ContextOverflow {
            tokens,
            context_length,
        }),
    }
}
