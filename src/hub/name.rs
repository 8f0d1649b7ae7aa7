//! How models on a hub are named.

use super::disk;

/// The longest name the hub allows.
const MAX_NAME: usize = 96;

/// A model as the hub names it: `name`, `owner/name`, `owner/name:QUANTIZATION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HubName {
    pub repository: String,
    /// Which of the repository's GGUF files, by its quantization or its name.
    pub quantization: Option<String>,
}

impl HubName {
    /// `None` for what the hub would never give as a name.
    pub fn parse(name: &str) -> Option<Self> {
        let (repository, quantization) = match name.split_once(':') {
            Some((repository, label)) => (repository, Some(label)),
            None => (name, None),
        };
        let parts: Vec<&str> = repository.split('/').collect();
        let named = parts.len() <= 2 && parts.iter().all(|part| is_name(part));
        let labelled = quantization.is_none_or(disk::stays_inside);
        (named && labelled && repository.len() <= MAX_NAME).then(|| Self {
            repository: repository.to_owned(),
            quantization: quantization.map(str::to_owned),
        })
    }
}

fn is_name(part: &str) -> bool {
    let edge =
        |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    edge(part.chars().next())
        && part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && !part.contains("..")
        && !part.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_names_are_told_from_anything_else() {
        let name = HubName::parse("owner/name.GGUF_x-1:Q4_K_M").unwrap();
        assert_eq!(name.repository, "owner/name.GGUF_x-1");
        assert_eq!(name.quantization.as_deref(), Some("Q4_K_M"));
        assert_eq!(HubName::parse("gpt2").unwrap().quantization, None);
        for hostile in [
            "",
            "/",
            "a/",
            "/a",
            "a/b/c",
            "a//b",
            "../a",
            "a/..",
            "-a/b",
            "a b",
            "a/b?x=1",
            "a/b#c",
            "a\\b",
            "a/b:",
            "a/b:../c",
            "ü/b",
            "a--b/c",
            "a/b\nc",
            "http://a/b",
        ] {
            assert_eq!(HubName::parse(hostile), None, "{hostile:?}");
        }
        assert_eq!(HubName::parse(&"a".repeat(200)), None);
    }
}
