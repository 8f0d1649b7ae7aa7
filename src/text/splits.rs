//! Patterns that split text into words, in time linear in the text.
//!
//! Some models' patterns look from each digit (or blank) to the end of its run, so that a long run takes quadratic time: a
//! megabyte of digits, hours. Those are replaced by equal ones that look once.
//!
//! [`isolate`] makes the steps of a pattern; [`in_linear_time`] replaces them in a tokenizer that was read from a file.

use tokenizers::PreTokenizerWrapper;
use tokenizers::SplitDelimiterBehavior;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

/// Patterns of quadratic time, and those that split the same text together, applied in order.
///
/// Digits are grouped in threes from the right: the groups of a run are isolated as a whole, which is then cut from the left.
const EQUALS: [(&str, &[&str]); 4] = [
    (
        r"\d{1,3}(?=(?:\d{3})*(?!\d))",
        &[r"(?:\d{3})++(?!\d)", r"\d{1,3}"],
    ),
    (
        // Only runs that no letter follows. They end here at one of a run's first three digits, or nowhere.
        r"\d{1,3}(?=(?:\d{3})*\b)",
        &[
            r"(?<!\d\d\d)(?:\d{3})++\b",
            // All of a text of such groups, the next of its groups, or the digits before them.
            r"\A\d{3}(?=(?:\d{3})*+\z)|(?!\A)\G\d{3}|(?<!\d)\d{1,2}\b",
        ],
    ),
    (
        // No split where a run ends: the text after it belongs to its last group.
        r"(?=(\d{3})+(?!\d))",
        &[
            r"(?:\d{3})++(?!\d)(?:\D++(?:\d{1,2}(?=(?:\d{3})*+(?!\d)))?)*+",
            r"\A\d{3}(?=\d)|(?!\A)\G\d{3}(?=\d)",
        ],
    ),
    (r"\s+$", &[r"(?<!\s)\s+$"]),
];

fn equal(pattern: &str) -> Option<&'static [&'static str]> {
    let mut known = EQUALS.iter();
    known
        .find(|(quadratic, _)| *quadratic == pattern)
        .map(|(_, linear)| *linear)
}

/// The steps that split each word so far into the pattern's matches and the text between them.
pub(super) fn isolate(pattern: &str) -> tokenizers::Result<Vec<PreTokenizerWrapper>> {
    let split = |pattern: &str| {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map(Into::into)
    };
    match equal(pattern) {
        Some(linear) => linear.iter().copied().map(split).collect(),
        None => split(pattern).map(|step| vec![step]),
    }
}

/// The same steps, without those of quadratic time that are known.
pub(super) fn in_linear_time(
    steps: &PreTokenizerWrapper,
) -> tokenizers::Result<PreTokenizerWrapper> {
    let mut linear = Vec::new();
    collect(steps, &mut linear)?;
    Ok(match <[_; 1]>::try_from(linear) {
        Ok([step]) => step,
        Err(several) => Sequence::new(several).into(),
    })
}

fn collect(
    step: &PreTokenizerWrapper,
    linear: &mut Vec<PreTokenizerWrapper>,
) -> tokenizers::Result<()> {
    match step {
        PreTokenizerWrapper::Sequence(steps) => {
            for step in steps.as_ref() {
                collect(step, linear)?;
            }
        }
        PreTokenizerWrapper::Split(split) => match &split.pattern {
            SplitPattern::Regex(pattern)
                if split.behavior == SplitDelimiterBehavior::Isolated && !split.invert =>
            {
                linear.extend(isolate(pattern)?);
            }
            _ => linear.push(step.clone()),
        },
        step => linear.push(step.clone()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    use super::*;

    fn words(text: &str, steps: &[PreTokenizerWrapper]) -> Vec<String> {
        let mut splits = PreTokenizedString::from(text);
        for step in steps {
            step.pre_tokenize(&mut splits).unwrap();
        }
        let splits = splits.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits
            .into_iter()
            .map(|(word, ..)| word.to_owned())
            .collect()
    }

    fn as_written(pattern: &str) -> PreTokenizerWrapper {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
        split.unwrap().into()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn linear_patterns_split_as_those_that_they_replace(
            text in r"([0-9٣]{0,8}[ \na½_é.\u{2003}-]{0,3}){0,6}",
        ) {
            for (quadratic, _) in EQUALS {
                let expected = words(&text, &[as_written(quadratic)]);
                prop_assert_eq!(words(&text, &isolate(quadratic).unwrap()), expected, "{}", quadratic);
            }
        }
    }

    #[test]
    fn sequences_are_searched_for_known_patterns() {
        let (quadratic, _) = EQUALS[0];
        let nested = Sequence::new(vec![as_written(quadratic), as_written("x+")]).into();
        let steps = [Sequence::new(vec![nested, as_written(r"\s+$")]).into()];
        let linear = [in_linear_time(&steps[0]).unwrap()];
        let text = "xx1234x  ";
        assert_eq!(words(text, &linear), words(text, &steps));
        let [PreTokenizerWrapper::Sequence(linear)] = linear else {
            panic!("{linear:?} is no sequence");
        };
        assert_eq!(linear.as_ref().len(), 4);

        let inverted = Split::new(
            SplitPattern::Regex(quadratic.into()),
            SplitDelimiterBehavior::Isolated,
            true,
        );
        let inverted = PreTokenizerWrapper::from(inverted.unwrap());
        assert_eq!(in_linear_time(&inverted).unwrap(), inverted);
    }
}
