//! A generation as notebooks show it: its text, each token marked by its source, with a legend and the acceptance.

use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};
use serde::Serialize;

use crate::engine::Generation;
use crate::error::{Error, Result};
use crate::settings::DraftKind;

/// Text of one token.
#[derive(Serialize)]
struct Span<'a> {
    text: &'a str,
    source: DraftKind,
    step: usize,
    style: &'static str,
}

/// How a source's tokens are marked. Colours are translucent, so that they suit light and dark pages; lines tell sources apart
/// without colours.
fn style(source: DraftKind) -> &'static str {
    match source {
        DraftKind::TARGET => "",
        DraftKind::NGRAM => {
            "background:rgba(46,160,67,.22);text-decoration:underline solid rgb(46,160,67)"
        }
        DraftKind::RECYCLING => {
            "background:rgba(56,132,244,.22);text-decoration:underline dotted rgb(56,132,244)"
        }
        DraftKind::TABLE => {
            "background:rgba(137,87,229,.22);text-decoration:underline dashed rgb(137,87,229)"
        }
        DraftKind::MODEL => {
            "background:rgba(219,140,20,.25);text-decoration:underline double rgb(219,140,20)"
        }
        DraftKind::PREDICTION => {
            "background:rgba(219,68,105,.22);text-decoration:underline wavy rgb(219,68,105)"
        }
        DraftKind::GRAMMAR => {
            "background:rgba(140,135,90,.25);text-decoration:overline solid rgb(140,135,90)"
        }
        _ => "background:rgba(30,150,145,.22);text-decoration:overline dotted rgb(30,150,145)",
    }
}

/// The HTML of a generation, without scripts.
pub(super) fn fragment(generation: &Generation) -> Result<String> {
    let spans = spans(generation);
    let sources = generation.tokens_by_source().into_iter();
    let legend: Vec<_> = sources
        .map(|(source, count)| context! { name => source.name(), count, style => style(source) })
        .collect();
    let stats = &generation.stats;
    let facts = context! {
        drafted => stats.drafted,
        accepted => stats.accepted,
        percent => format!("{:.0}", stats.acceptance_rate() * 100.0),
        per_step => format!("{:.2}", stats.tokens_per_step()),
        finish_reason => generation.finish_reason.to_string(),
    };
    let mut environment = Environment::new();
    // The extension of the name turns HTML escaping on.
    let added = environment.add_template("generation.html", include_str!("generation.html"));
    let html = added.and_then(|()| {
        let spans = Value::from(Serde(&spans));
        let template = environment.get_template("generation.html")?;
        template.render(context! { spans, legend, facts })
    });
    html.map_err(|error| Error::Compute(format!("the generation's HTML: {error:#}")))
}

/// The tokens' shares of the text. A stop string is in tokens, but not in the text.
fn spans(generation: &Generation) -> Vec<Span<'_>> {
    let mut rest = generation.text.as_str();
    let mut spans = Vec::new();
    for token in &generation.tokens {
        let common = rest
            .char_indices()
            .zip(token.text.chars())
            .take_while(|((_, own), others)| own == others);
        let length = common.map(|((at, own), _)| at + own.len_utf8()).last();
        let (text, after) = rest.split_at(length.unwrap_or(0));
        rest = after;
        if !text.is_empty() {
            spans.push(Span {
                text,
                source: token.source,
                step: token.step,
                style: style(token.source),
            });
        }
    }
    // An incomplete character at the end belongs to no token.
    if !rest.is_empty() {
        spans.push(Span {
            text: rest,
            source: DraftKind::TARGET,
            step: generation.stats.steps,
            style: style(DraftKind::TARGET),
        });
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{FinishReason, Stats, Token};

    fn generation(text: &str, tokens: &[(&str, DraftKind)]) -> Generation {
        let token = |(text, source): &(&str, DraftKind)| Token::of_source(text, *source);
        Generation {
            text: text.into(),
            tokens: tokens.iter().map(token).collect(),
            finish_reason: FinishReason::Stop,
            stats: Stats::default(),
        }
    }

    #[test]
    fn hostile_text_is_escaped() {
        let hostile = "<script>alert(1)</script><img src=x onerror='a'>\"&";
        let html = fragment(&generation(hostile, &[(hostile, DraftKind::NGRAM)])).unwrap();
        for forbidden in ["<script", "<img", "onerror='", "\"&<"] {
            assert!(!html.contains(forbidden), "{html}");
        }
        assert!(html.contains("&lt;script&gt;"), "{html}");
        assert!(html.contains("title=\"ngram, step 0\""), "{html}");
    }

    #[test]
    fn the_spans_are_the_text_without_the_stop_string() {
        let tokens = [
            ("One", DraftKind::TARGET),
            ("", DraftKind::MODEL),
            (" twö", DraftKind::MODEL),
            (". End", DraftKind::NGRAM),
        ];
        let generation = generation("One twö.", &tokens);
        let spans: Vec<(&str, DraftKind)> = spans(&generation)
            .iter()
            .map(|span| (span.text, span.source))
            .collect();
        let expected = [
            ("One", DraftKind::TARGET),
            (" twö", DraftKind::MODEL),
            (".", DraftKind::NGRAM),
        ];
        assert_eq!(spans, expected);
    }
}
