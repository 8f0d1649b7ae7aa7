//! Names that users type: which known one was meant.

/// The known name that was most likely meant, by Jaro and Winkler's similarity; `None` if none is similar. Capitals and the
/// kind of dash don't count.
pub(crate) fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this similarity, a name is another word.
    const SIMILAR: f64 = 0.8;
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let name = plain(name);
    let similarity = |known: &str| strsim::jaro_winkler(&name, &plain(known));
    let rated = known.into_iter().map(|known| (similarity(known), known));
    let best = rated.max_by(|left, right| left.0.total_cmp(&right.0));
    best.filter(|(similarity, _)| *similarity >= SIMILAR)
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
            ("gemma", "gemma3-270m"),
        ] {
            assert_eq!(closest(typed, known), Some(meant), "{typed}");
        }
        for other in ["gpt2", "", "x"] {
            assert_eq!(closest(other, known), None, "{other}");
        }
    }
}
