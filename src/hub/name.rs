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

/// What the address of a model's page names: the model, and the revision if the address has one.
/// `https://huggingface.co/owner/name/blob/main/model.gguf` is `owner/name:model.gguf` at `main`.
pub(super) fn of_address(address: &str, endpoint: &str) -> Option<(String, Option<String>)> {
    let without_scheme = |url: &str| {
        let rest = url.strip_prefix("https://");
        rest.or(url.strip_prefix("http://")).map(str::to_owned)
    };
    let own = without_scheme(endpoint)?;
    let address = without_scheme(address).unwrap_or_else(|| address.to_owned());
    let hosts = [own.as_str(), "huggingface.co", "hf.co"];
    let path = hosts
        .iter()
        .find_map(|host| address.strip_prefix(host)?.strip_prefix('/'))?;
    let path = path.split(['?', '#']).next()?.trim_end_matches('/');
    match path.split('/').collect::<Vec<_>>()[..] {
        [owner, name] => Some((format!("{owner}/{name}"), None)),
        [owner, name, "tree", revision] => {
            Some((format!("{owner}/{name}"), Some(revision.to_owned())))
        }
        [owner, name, "blob" | "resolve", revision, ref file @ ..] if !file.is_empty() => Some((
            format!("{owner}/{name}:{}", file.join("/")),
            Some(revision.to_owned()),
        )),
        _ => None,
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
        && !name.contains(['\\', ':'])
        // They would have a terminal do things where the name is printed.
        && !name.contains(char::is_control)
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
            "",
            ".",
            "..",
            "/a",
            "a/",
            "a//b",
            "a/../b",
            "../a",
            "./a",
            "a/./b",
            "C:\\a",
            "C:a",
            "a\\..\\b",
            "a\0b",
            "a\x1b[2Jb",
            "a\nb",
            "a\u{9b}b",
        ] {
            assert!(!stays_inside(name), "{name:?}");
        }
    }

    #[test]
    fn addresses_of_pages_name_models() {
        let hub = "https://huggingface.co";
        for (address, model, revision) in [
            ("https://huggingface.co/a/b", "a/b", None),
            ("https://huggingface.co/a/b/?library=x", "a/b", None),
            ("hf.co/a/b:Q4_K_M", "a/b:Q4_K_M", None),
            ("huggingface.co/a/b/tree/v1", "a/b", Some("v1")),
            (
                "https://huggingface.co/a/b/resolve/main/c/d.gguf?download=true",
                "a/b:c/d.gguf",
                Some("main"),
            ),
        ] {
            let expected = (model.to_owned(), revision.map(str::to_owned));
            assert_eq!(of_address(address, hub), Some(expected), "{address}");
        }
        let own = of_address("http://localhost:9/a/b", "http://localhost:9");
        assert_eq!(own, Some(("a/b".to_owned(), None)));
        for other in [
            "a/b",
            "https://example.com/a/b",
            "https://huggingface.co/a",
            "https://huggingface.co/datasets/a/b",
            "https://huggingface.co.evil.com/a/b",
            "https://huggingface.co/a/b/blob/main",
        ] {
            assert_eq!(of_address(other, hub), None, "{other}");
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
