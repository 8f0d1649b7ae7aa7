//! Names that users type: which known one was meant.

/// The known name that is closest to a mistyped one; `None` if none is close.
///
/// By the Damerau-Levenshtein distance, at most a third of the letters; capitals and the kind of dash don't count.
pub(crate) fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let name = plain(name);
    let distance = |known: &str| strsim::damerau_levenshtein(&name, &plain(known));
    let most = (name.chars().count() / 3).max(1);
    let ranked = known.into_iter().map(|known| (distance(known), known));
    let close = ranked.filter(|(distance, _)| *distance <= most);
    close
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name() {
        let known = ["smollm2-135m", "gemma3-270m", "ngram", "temperature"];
        for (typed, meant) in [
            ("smollm2-135", "smollm2-135m"),
            ("SmolLM2-135M", "smollm2-135m"),
            ("ngrams", "ngram"),
            ("temprature", "temperature"),
            ("gemma3_270m", "gemma3-270m"),
        ] {
            assert_eq!(closest(typed, known), Some(meant), "{typed}");
        }
        for other in ["gpt2", "", "x"] {
            assert_eq!(closest(other, known), None, "{other}");
        }
    }
}
