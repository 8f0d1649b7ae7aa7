//! Colours text by the source of each token.

use std::collections::VecDeque;
use std::sync::Once;

use super::terminal::note;
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

/// The sources, with codes of a colour and of a style: those who see no colours tell them apart too.
const STYLES: [(DraftKind, &str); 6] = [
    (DraftKind::NGRAM, "32;4"),
    (DraftKind::TABLE, "33;1;4"),
    (DraftKind::MODEL, "34;1"),
    (DraftKind::PREDICTION, "35;3"),
    (DraftKind::RECYCLING, "36;3;4"),
    (DraftKind::GRAMMAR, "90;2"),
];
/// What other sources look like.
const OTHER: &str = "31;1;3";

fn coloured(text: &str, source: DraftKind) -> String {
    if source == DraftKind::TARGET || text.is_empty() {
        return text.to_owned();
    }
    let style = STYLES.iter().find(|(styled, _)| *styled == source);
    styled(text, style.map_or(OTHER, |(_, style)| style))
}

fn styled(text: &str, style: &str) -> String {
    format!("\u{1b}[{style}m{text}\u{1b}[0m")
}

/// Tells once on stderr what the colours mean, or that there are none.
pub(super) fn explain(coloured: bool) {
    static EXPLAINED: Once = Once::new();
    EXPLAINED.call_once(|| {
        note(&match coloured {
            true => legend(),
            false => {
                "the output has no colours, so --show-draft shows nothing; --color always adds them"
                    .into()
            }
        });
    });
}

/// Every source in its style.
fn legend() -> String {
    let sources = STYLES.map(|(source, style)| styled(source.name(), style));
    let (sources, other) = (sources.join(" "), styled("other", OTHER));
    format!("tokens from: {} {sources} {other}", DraftKind::TARGET)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Token;

    fn chunk(text: &str, tokens: &[(&str, DraftKind)]) -> Chunk {
        let token = |(text, source): &(&str, DraftKind)| Token::of_source(text, *source);
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
        assert_eq!(painter.paint(&first), "One\u{1b}[32;4m tw\u{1b}[0m");
        let second = chunk("o!", &[("!", DraftKind::TARGET)]);
        assert_eq!(painter.paint(&second), "\u{1b}[32;4mo\u{1b}[0m!");
        // Text without a token is not coloured.
        assert_eq!(painter.paint(&chunk("\u{fffd}", &[])), "\u{fffd}");
    }

    #[test]
    fn sources_differ_by_more_than_colour() {
        let style = |codes: &str| codes.split_once(';').map(|(_, style)| style.to_owned());
        let mut styles: Vec<_> = STYLES.iter().map(|(_, codes)| style(codes)).collect();
        styles.extend([style(OTHER), None]);
        let different: std::collections::HashSet<_> = styles.iter().collect();
        assert_eq!(different.len(), styles.len());
        assert!(legend().contains("\u{1b}[34;1mmodel\u{1b}[0m"));
    }
}
