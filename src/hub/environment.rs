//! The environment variables of Hugging Face's own libraries, with the same meaning.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::files::{self, Small};

/// The public hub.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Where to look for models, and with which token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// The hub's address, without a trailing slash.
    pub endpoint: String,
    /// The cache that all Hugging Face libraries share.
    pub hub_cache: PathBuf,
    /// Our own cache, for files from elsewhere than a hub repository.
    pub own_cache: PathBuf,
    /// Whether the network must not be used.
    pub offline: bool,
    /// The user's access token.
    pub token: Option<String>,
}

impl Settings {
    pub fn from_env() -> Self {
        Self::read(|name| std::env::var_os(name))
    }

    /// Reads the settings through `variable`; an empty variable counts as unset.
    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| get(name).map(|value| value.to_string_lossy().into_owned());
        let path = |name: &str| get(name).map(|value| expand_home(Path::new(&value)));
        let flag = |name: &str| text(name).is_some_and(|value| is_true(&value));

        let chosen_home = path("HF_HOME");
        let home = chosen_home.clone().unwrap_or_else(|| {
            path("XDG_CACHE_HOME")
                .unwrap_or_else(|| expand_home(Path::new("~/.cache")))
                .join("huggingface")
        });
        let hub_cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| chosen_home.map(|home| home.join("hub")))
            .or_else(|| path("TRANSFORMERS_CACHE"))
            .unwrap_or_else(|| home.join("hub"));
        let token = text("HF_TOKEN")
            .or_else(|| text("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| {
                let file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
                files::read_text(&file, Small::Settings).ok()
            })
            .filter(|_| !flag("HF_HUB_DISABLE_IMPLICIT_TOKEN"));
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            hub_cache,
            own_cache: home.join("specdec"),
            offline: flag("HF_HUB_OFFLINE") || flag("TRANSFORMERS_OFFLINE"),
            token: token.and_then(|token| clean_token(&token)),
        }
    }
}

/// What a person may be told of them.
#[cfg(feature = "cli")]
#[derive(Debug, serde::Serialize)]
pub(crate) struct Place {
    pub(crate) endpoint: String,
    pub(crate) cache: PathBuf,
    pub(crate) own_cache: PathBuf,
    pub(crate) offline: bool,
    pub(crate) has_token: bool,
}

#[cfg(feature = "cli")]
impl Place {
    pub(crate) fn of_environment() -> Self {
        let settings = Settings::from_env();
        Self {
            endpoint: settings.endpoint,
            cache: settings.hub_cache,
            own_cache: settings.own_cache,
            offline: settings.offline,
            has_token: settings.token.is_some(),
        }
    }
}

/// The path with a leading `~` replaced by the user's home folder.
pub(super) fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str())
}

/// A token that is valid in a header; `None` for an empty or invalid one.
fn clean_token(token: &str) -> Option<String> {
    let token = token.trim();
    if !token.chars().all(|character| character.is_ascii_graphic()) {
        tracing::warn!("ignoring the Hugging Face token: it contains invalid characters");
        return None;
    }
    (!token.is_empty()).then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        Settings::read(|name| {
            let (_, value) = variables.iter().find(|(key, _)| *key == name)?;
            Some((*value).into())
        })
    }

    #[test]
    fn the_hub_cache_is_hugging_faces_own() {
        let hub = |variables: &[(&str, &str)]| read(variables).hub_cache;
        assert_eq!(hub(&[("HF_HOME", "/a")]), Path::new("/a/hub"));
        assert_eq!(
            hub(&[
                ("HF_HOME", "/a"),
                ("HF_HUB_CACHE", "/b"),
                ("HUGGINGFACE_HUB_CACHE", "/c")
            ]),
            Path::new("/b")
        );
        assert_eq!(
            hub(&[("HF_HOME", "/a"), ("HUGGINGFACE_HUB_CACHE", "/c")]),
            Path::new("/c")
        );
        assert_eq!(hub(&[("TRANSFORMERS_CACHE", "/d")]), Path::new("/d"));
        assert_eq!(
            hub(&[("TRANSFORMERS_CACHE", "/d"), ("HF_HOME", "/a")]),
            Path::new("/a/hub")
        );
        assert_eq!(
            hub(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "")]),
            Path::new("/x/huggingface/hub")
        );
        let home = std::env::home_dir().unwrap();
        assert_eq!(hub(&[]), home.join(".cache/huggingface/hub"));
        assert_eq!(hub(&[("HF_HOME", "~/models")]), home.join("models/hub"));
    }

    #[test]
    fn our_cache_is_beside_the_hubs() {
        let settings = read(&[("HF_HOME", "/a"), ("HF_HUB_CACHE", "/b")]);
        assert_eq!(settings.own_cache, Path::new("/a/specdec"));
    }

    #[test]
    fn flags_are_true_as_in_hugging_faces_libraries() {
        for (value, offline) in [
            ("1", true),
            ("TRUE", true),
            ("yes", true),
            ("On", true),
            ("0", false),
            ("", false),
        ] {
            assert_eq!(
                read(&[("HF_HUB_OFFLINE", value)]).offline,
                offline,
                "{value:?}"
            );
        }
    }

    #[test]
    fn tokens_come_from_the_environment_then_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("token"), "from-file\n").unwrap();
        let token = |variables: &[(&str, &str)]| {
            let mut all = vec![("HF_HOME", home)];
            all.extend(variables);
            read(&all).token
        };
        assert_eq!(token(&[]).as_deref(), Some("from-file"));
        assert_eq!(token(&[("HF_TOKEN", " a ")]).as_deref(), Some("a"));
        assert_eq!(
            token(&[("HUGGING_FACE_HUB_TOKEN", "b")]).as_deref(),
            Some("b")
        );
        assert_eq!(token(&[("HF_TOKEN", "split\r\nheader")]), None);
        assert_eq!(token(&[("HF_TOKEN_PATH", "/nowhere")]), None);
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    }

    #[test]
    fn endpoints_lose_their_trailing_slash() {
        assert_eq!(
            read(&[("HF_ENDPOINT", "http://hub/")]).endpoint,
            "http://hub"
        );
        assert_eq!(read(&[]).endpoint, DEFAULT_ENDPOINT);
    }
}
