//! How models on a hub are named.

use std::path::{Component, Path};

/// The longest name the hub allows.
const MAX_NAME: usize = 96;

/// A model as the hub names it: `name`, `owner/name`, `owner/name:QUANTIZATION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HubName {
    pub repository: String,
    /// Selects one of the repository's GGUF files, by its quantization or its name.
    pub quantization: Option<String>,
}

impl HubName {
    /// `None` for a name that the hub does not allow.
    pub fn parse(name: &str) -> Option<Self> {
        let (repository, quantization) = match name.split_once(':') {
            Some((repository, label)) => (repository, Some(label)),
            None => (name, None),
        };
        let parts: Vec<&str> = repository.split('/').collect();
        let named = parts.len() <= 2 && parts.iter().all(|part| is_name(part));
        let labelled = quantization.is_none_or(stays_inside);
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

/// Whether a name from elsewhere stays inside the folder that it is joined to, on every system.
pub(super) fn stays_inside(name: &str) -> bool {
    let is_normal = |component| matches!(component, Component::Normal(_));
    !name.is_empty()
        && !name.contains(['\\', ':', '\0'])
        && !name.split('/').any(str::is_empty)
        && Path::new(name).components().all(is_normal)
        // `components` drops the dots in "a/./b".
        && name.split('/').all(|part| part != ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_do_not_stay_inside() {
        for name in ["a", "a/b.safetensors", "..a", "a..b/c", ".hidden", "ü"] {
            assert!(stays_inside(name), "{name:?}");
        }
        for name in [
            "", ".", "..", "/a", "a/", "a//b", "a/../b", "../a", "./a", "a/./b", "C:\\a", "C:a",
            "a\\..\\b", "a\0b",
        ] {
            assert!(!stays_inside(name), "{name:?}");
        }
    }

    #[test]
    fn hub_names_are_parsed_and_nothing_else() {
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
