//! Requests to the hub: addresses, redirects, time limits, retries, and who may see the token.

use std::io::Read;
use std::time::Duration;

use fluent_uri::UriRef;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::{Response, Uri, header};
use ureq::{Agent, Body};

use super::environment::Settings;
use super::error::{FetchError, FetchResult};

/// Short, so that the cache or another source can serve soon when no hub can be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the first byte of an answer, and between its bytes.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// For a whole answer that is kept in memory, however steadily its bytes come.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// Pauses before the retries of a request that failed temporarily.
const RETRY_DELAYS: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_millis(900),
    Duration::from_millis(2700),
];
/// The content's `ETag`, sent with a redirect to the content.
const LINKED_ETAG: &str = "x-linked-etag";
const MAX_REDIRECTS: usize = 10;
/// The maximum size of a repository's description; the largest on the hub take less than a tenth of it.
const MAX_DESCRIPTION_BYTES: u64 = 64 << 20;
/// Encoded in a segment of a path: all but RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Encoded in a path of several segments.
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// What the hub says about a file before it is downloaded.
#[derive(Debug)]
pub(super) struct FileHead {
    /// Names the content: a SHA-256 for large files, a git object id for small ones.
    pub etag: String,
    /// In bytes, if the hub says so.
    pub size: Option<u64>,
}

/// A body that starts at a known position of the file.
pub(super) struct Stream {
    pub reader: Box<dyn Read>,
    /// The position of the first byte: 0 if the server ignored the requested range.
    pub start: u64,
    /// The whole file's size, if the server says so.
    pub total: Option<u64>,
}

/// A client of one hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    authorization: Option<String>,
}

impl Client {
    pub fn new(settings: &Settings) -> Self {
        let agent = Agent::config_builder()
            .user_agent(concat!("specdec_rs/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .build()
            .into();
        Self {
            agent,
            endpoint: settings.endpoint.clone(),
            authorization: settings
                .token
                .as_ref()
                .map(|token| format!("Bearer {token}")),
        }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn has_token(&self) -> bool {
        self.authorization.is_some()
    }

    /// A file's address: `revision` is a branch, tag or commit.
    pub fn file_url(&self, repository: &str, revision: &str, file: &str) -> String {
        let revision = utf8_percent_encode(revision, SEGMENT);
        let file = utf8_percent_encode(file, PATH);
        format!("{}/{repository}/resolve/{revision}/{file}", self.endpoint)
    }

    /// The hub's description of a repository at a revision, as JSON.
    pub fn describe(&self, repository: &str, revision: &str) -> FetchResult<Vec<u8>> {
        let url = format!(
            "{}/api/models/{repository}/revision/{}?blobs=true",
            self.endpoint,
            utf8_percent_encode(revision, SEGMENT)
        );
        retry(|| {
            let mut response = self.request(Method::Get, &url, None)?;
            let body = response.body_mut().with_config();
            body.limit(MAX_DESCRIPTION_BYTES)
                .read_to_vec()
                .map_err(|error| FetchError::from_ureq(&error))
        })
    }

    /// What the hub says about a file, without its content.
    ///
    /// The hub redirects to large files on other hosts; their size and `ETag` come with the redirect.
    pub fn head(&self, url: &str) -> FetchResult<FileHead> {
        retry(|| {
            let response = self.request(Method::Head, url, None)?;
            let etag = text_header(&response, LINKED_ETAG)
                .or_else(|| text_header(&response, "etag"))
                .map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned())
                .ok_or_else(|| FetchError::Invalid(format!("no ETag for {url}")))?;
            let size = text_header(&response, "x-linked-size").or_else(|| {
                let here = !response.status().is_redirection();
                here.then(|| text_header(&response, "content-length"))?
            });
            Ok(FileHead {
                etag,
                size: size.and_then(|size| size.parse().ok()),
            })
        })
    }

    /// The file from byte `start` on. One attempt: the reader of a stream must resume it after a failure anyway.
    pub fn stream(&self, url: &str, start: u64) -> FetchResult<Stream> {
        let response = self.request(Method::Get, url, Some(start))?;
        let range = text_header(&response, "content-range").and_then(parse_range);
        let (start, total) = match (response.status().as_u16(), range) {
            (206, Some((start, total))) => (start, total),
            (206, None) => {
                return Err(FetchError::Invalid("a range at an unknown position".into()));
            }
            _ => (0, response.body().content_length()),
        };
        Ok(Stream {
            reader: Box::new(response.into_body().into_reader()),
            start,
            total,
        })
    }

    /// Sends a request and follows redirects, up to an answer that is not a redirect or that describes the linked file.
    fn request(
        &self,
        method: Method,
        url: &str,
        start: Option<u64>,
    ) -> FetchResult<Response<Body>> {
        let mut uri: Uri = url
            .parse()
            .map_err(|_| FetchError::Invalid(format!("{url:?} is not an address")))?;
        for _ in 0..=MAX_REDIRECTS {
            let response = self
                .send(method, &uri, start)
                .map_err(|error| FetchError::from_ureq(&error))?;
            let status = response.status();
            let describes = method == Method::Head && response.headers().contains_key(LINKED_ETAG);
            if status.is_success() || (status.is_redirection() && describes) {
                return Ok(response);
            }
            if !status.is_redirection() {
                return Err(FetchError::from_status(status.as_u16()));
            }
            uri = text_header(&response, "location")
                .and_then(|location| redirect(&uri, location))
                .ok_or_else(|| FetchError::Invalid(format!("{uri} redirects to no address")))?;
        }
        Err(FetchError::Invalid(format!("{url} redirects in circles")))
    }

    fn send(
        &self,
        method: Method,
        uri: &Uri,
        start: Option<u64>,
    ) -> Result<Response<Body>, ureq::Error> {
        let mut request = match method {
            Method::Get => self.agent.get(uri),
            Method::Head => self.agent.head(uri),
        };
        if method == Method::Head || start.is_some() {
            // Sizes and positions are those of the uncompressed file.
            request = request.header(header::ACCEPT_ENCODING, "identity");
        }
        if start.is_none() {
            request = request
                .config()
                .timeout_global(Some(ANSWER_TIMEOUT))
                .build();
        }
        if let Some(start) = start {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        if let Some(authorization) = &self.authorization
            && self.is_own(uri)
        {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.call()
    }

    /// Whether the address is on the hub itself: no other host gets the token.
    fn is_own(&self, uri: &Uri) -> bool {
        self.endpoint
            .parse::<Uri>()
            .is_ok_and(|own| own.scheme() == uri.scheme() && own.authority() == uri.authority())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Head,
}

/// Repeats `attempt` after pauses as long as it fails temporarily.
fn retry<T>(attempt: impl Fn() -> FetchResult<T>) -> FetchResult<T> {
    for delay in RETRY_DELAYS {
        match attempt() {
            Err(FetchError::Unavailable(reason)) => {
                tracing::debug!("retrying a request to the hub in {delay:?}: {reason}");
                std::thread::sleep(delay);
            }
            outcome => return outcome,
        }
    }
    attempt()
}

fn text_header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// The start and the total of `bytes START-END/TOTAL`.
fn parse_range(range: &str) -> Option<(u64, Option<u64>)> {
    let (positions, total) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = positions.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

/// The address that `location` names, relative to `base` (RFC 3986, section 5); `None` for an invalid one, and from HTTPS
/// to HTTP.
fn redirect(base: &Uri, location: &str) -> Option<Uri> {
    let target = match location.parse::<Uri>() {
        Ok(absolute) if absolute.scheme().is_some() => absolute,
        _ => {
            let base = fluent_uri::Uri::parse(base.to_string()).ok()?;
            let target = UriRef::parse(location).ok()?.resolve_against(&base).ok()?;
            target.as_str().parse().ok()?
        }
    };
    match (base.scheme_str()?, target.scheme_str()?) {
        (_, "https") | ("http", "http") => Some(target),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved_and_never_leave_https() {
        let base = "https://hub/owner/name/resolve/main/a.bin".parse().unwrap();
        let to = |location| redirect(&base, location).map(|uri| uri.to_string());
        assert_eq!(
            to("https://cdn/x?y=1").as_deref(),
            Some("https://cdn/x?y=1")
        );
        assert_eq!(to("//cdn/x").as_deref(), Some("https://cdn/x"));
        assert_eq!(to("/moved/x").as_deref(), Some("https://hub/moved/x"));
        assert_eq!(
            to("b.bin").as_deref(),
            Some("https://hub/owner/name/resolve/main/b.bin")
        );
        assert_eq!(
            to("../v2/b.bin").as_deref(),
            Some("https://hub/owner/name/resolve/v2/b.bin")
        );
        for hostile in [
            "http://cdn/x",
            "file:///etc/passwd",
            "ftp://x/y",
            "http://[",
            "/ space",
        ] {
            assert_eq!(to(hostile), None, "{hostile}");
        }
    }

    #[test]
    fn ranges_are_parsed() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((5, None)));
        for invalid in [
            "",
            "bytes",
            "bytes */10",
            "bytes 5/10",
            "items 5-9/10",
            "bytes -1-2/3",
        ] {
            assert_eq!(parse_range(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn revisions_and_file_names_are_encoded() {
        let revision = utf8_percent_encode("refs/pr/1", SEGMENT).to_string();
        assert_eq!(revision, "refs%2Fpr%2F1");
        let file = utf8_percent_encode("a b/ü?.gguf", PATH).to_string();
        assert_eq!(file, "a%20b/%C3%BC%3F.gguf");
    }
}
