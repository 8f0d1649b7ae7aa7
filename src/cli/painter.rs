//! Text in the colours of those who wrote it first.

use std::collections::VecDeque;

use crate::engine::Chunk;
use crate::speculation::TokenSource;

/// Colours text by its tokens' sources.
///
/// Text may come later than its tokens, while it may be part of a stop string, and a stop string doesn't come at all.
#[derive(Default)]
pub(super) struct Painter {
    /// What each token's text has left to be written.
    waiting: VecDeque<(String, TokenSource)>,
}

impl Painter {
    /// The chunk's text, with the terminal's codes for colours.
    pub(super) fn paint(&mut self, chunk: &Chunk) -> String {
        let tokens = chunk.tokens.iter();
        self.waiting
            .extend(tokens.map(|token| (token.text.clone(), token.source)));
        let mut painted = String::new();
        let mut left = chunk.text.as_str();
        while !left.is_empty() {
            let Some((text, source)) = self.waiting.pop_front() else {
                // Text that no token has completed, such as the rest of a broken character.
                painted.push_str(left);
                break;
            };
            let shared = text.chars().zip(left.chars()).take_while(|(a, b)| a == b);
            let length = shared.map(|(letter, _)| letter.len_utf8()).sum();
            painted.push_str(&coloured(&left[..length], source));
            left = &left[length..];
            if length < text.len() {
                if length == 0 {
                    painted.push_str(left);
                    break;
                }
                self.waiting.push_front((text[length..].to_owned(), source));
            }
        }
        painted
    }
}

fn coloured(text: &str, source: TokenSource) -> String {
    let colour = match source {
        TokenSource::Target => return text.to_owned(),
        TokenSource::Ngram => 32,
        TokenSource::Table => 33,
        TokenSource::Model => 34,
        TokenSource::Prediction => 35,
        TokenSource::Recycling => 36,
        TokenSource::Grammar => 90,
        TokenSource::Custom => 31,
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

    fn chunk(text: &str, tokens: &[(&str, TokenSource)]) -> Chunk {
        let token = |(text, source): &(&str, TokenSource)| Token {
            id: 0,
            text: (*text).to_owned(),
            logprob: None,
            top_logprobs: Vec::new(),
            source: *source,
            step: 0,
        };
        Chunk {
            text: text.into(),
            tokens: tokens.iter().map(token).collect(),
        }
    }

    #[test]
    fn text_takes_the_colour_of_its_token_however_late_it_comes() {
        let mut painter = Painter::default();
        let first = chunk(
            "One tw",
            &[("One", TokenSource::Target), (" two", TokenSource::Ngram)],
        );
        assert_eq!(painter.paint(&first), "One\u{1b}[32m tw\u{1b}[0m");
        let second = chunk("o!", &[("!", TokenSource::Target)]);
        assert_eq!(painter.paint(&second), "\u{1b}[32mo\u{1b}[0m!");
        // The rest of a text that no token tells of stays as it is.
        assert_eq!(painter.paint(&chunk("\u{fffd}", &[])), "\u{fffd}");
    }
}
