//! The playground, the page at `/`: its files are part of the program.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use crate::server::error::ApiError;

/// Nothing from other hosts, no scripts and styles but the page's own files, and no other site's frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";

/// A file of the page.
struct File {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($content_type:literal: $($name:literal),*;)*) => {
        [$($(File {
            name: $name,
            content_type: $content_type,
            text: include_str!(concat!("playground/", $name)),
        },)*)*]
    };
}

/// What the page loads, by the name after `/playground/`.
static FILES: &[File] = &files! {
    "text/css": "page.css";
    "image/svg+xml": "icon.svg";
    "text/javascript":
        "answer.js", "api.js", "comparison.js", "conversation.js", "copy.js", "dom.js", "examples.js", "main.js", "markdown.js",
        "run.js", "scroll.js", "settings.js", "sources.js", "turns.js", "vendor/marked.min.js", "vendor/purify.min.js";
};

/// The page.
pub(in crate::server) async fn show() -> impl IntoResponse {
    respond(HTML, include_str!("playground/page.html"))
}

/// A file that the page loads.
pub(in crate::server) async fn file(
    Path(name): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        let message = format!("the playground has no file {name:?}");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", message));
    };
    Ok(respond(file.content_type, file.text))
}

fn respond(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Files of two versions must not meet on a page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The files of a folder, by their paths from `root`.
    fn files(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, root, found);
            } else {
                found.insert(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .replace('\\', "/"),
                );
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/routes/playground");
        let mut expected = BTreeSet::new();
        files(&root, &root, &mut expected);
        expected.retain(|name| {
            name != "page.html" && name != "vendor/README.md" && !name.starts_with("vendor/LICENSE")
        });
        let served: BTreeSet<String> = FILES.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(served, expected);
    }
}
