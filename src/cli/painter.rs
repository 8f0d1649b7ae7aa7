//! Colours text by the source of each token.

use std::collections::VecDeque;

use crate::engine::Chunk;
use crate::settings::DraftKind;

/// Colours text by its tokens' sources.
///
/// Text can arrive later than its tokens, while it might be part of a stop string; the text of a stop string never arrives.
#[derive(Default)]
pub(super) struct Painter {
    /// The text of each token that has not arrived yet.
    pending: VecDeque<(String, DraftKind)>,
}

impl Painter {
    /// The chunk's text with ANSI colour codes.
    pub(super) fn paint(&mut self, chunk: &Chunk) -> String {
        let tokens = chunk.tokens.iter();
        self.pending
            .extend(tokens.map(|token| (token.text.clone(), token.source)));
        let mut painted = String::new();
        let mut rest = chunk.text.as_str();
        while !rest.is_empty() {
            let Some((text, source)) = self.pending.pop_front() else {
                // Text without a token, such as the rest of a broken character.
                painted.push_str(rest);
                break;
            };
            let common = text.chars().zip(rest.chars()).take_while(|(a, b)| a == b);
            let length = common.map(|(letter, _)| letter.len_utf8()).sum();
            painted.push_str(&coloured(&rest[..length], source));
            rest = &rest[length..];
            if length < text.len() {
                if length == 0 {
                    painted.push_str(rest);
                    break;
                }
                self.pending.push_front((text[length..].to_owned(), source));
            }
        }
        painted
    }
}

fn coloured(text: &str, source: DraftKind) -> String {
    let colour = match source {
        DraftKind::TARGET => return text.to_owned(),
        DraftKind::NGRAM => 32,
        DraftKind::TABLE => 33,
        DraftKind::MODEL => 34,
        DraftKind::PREDICTION => 35,
        DraftKind::RECYCLING => 36,
        DraftKind::GRAMMAR => 90,
        _ => 31,
    };
    match text {
        "" => String::new(),
        text => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Token;

    fn chunk(text: &str, tokens: &[(&str, DraftKind)]) -> Chunk {
        let token = |(text, source): &(&str, DraftKind)| Token {
            id: 0,
            text: (*text).to_owned(),
            logprob: None,
            top_logprobs: Vec::new(),
            top_texts: Vec::new(),
            source: *source,
            step: 0,
        };
        Chunk {
            text: text.into(),
            tokens: tokens.iter().map(token).collect(),
        }
    }

    #[test]
    fn late_text_still_gets_the_colour_of_its_token() {
        let mut painter = Painter::default();
        let first = chunk(
            "One tw",
            &[("One", DraftKind::TARGET), (" two", DraftKind::NGRAM)],
        );
        assert_eq!(painter.paint(&first), "One\u{1b}[32m tw\u{1b}[0m");
        let second = chunk("o!", &[("!", DraftKind::TARGET)]);
        assert_eq!(painter.paint(&second), "\u{1b}[32mo\u{1b}[0m!");
        // Text without a token is not coloured.
        assert_eq!(painter.paint(&chunk("\u{fffd}", &[])), "\u{fffd}");
    }
}
