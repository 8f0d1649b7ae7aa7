//! Requests to the hub: who is asked, how long to wait, and what an answer means.

use std::fmt::{self, Write as _};
use std::io::Read;
use std::time::Duration;

use ureq::http::{Response, Uri, header};
use ureq::{Agent, Body};

use super::environment::Settings;
use crate::error::Error;

/// No route to the hub is found out this soon, so that the cache or another source gets its turn.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that says nothing for so long is given up.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);
/// Waits before each new attempt at a request that failed for the moment.
const RETRY_DELAYS: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_millis(900),
    Duration::from_millis(2700),
];
/// The content's name, beside a redirect to where the content is.
const LINKED_ETAG: &str = "x-linked-etag";
const MAX_REDIRECTS: usize = 10;
/// A description of a repository; the largest on the hub are below a tenth of this.
const MAX_DESCRIPTION: u64 = 64 << 20;

/// Why a request brought nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// No answer: no network, no such host, a proxy in the way.
    Unreachable(String),
    /// A connection that broke or a server that is busy, even when asked again.
    Unavailable(String),
    /// 401 or 403: no token, or one without access.
    Denied(u16),
    /// 404.
    Missing,
    /// An answer that makes no sense here.
    Unexpected(String),
    /// Not the hub's fault: the disk's, or the file's.
    Local(Error),
}

impl Failure {
    fn from_ureq(error: &ureq::Error) -> Self {
        use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
        match error {
            ureq::Error::Io(cause)
                if matches!(
                    cause.kind(),
                    ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof
                ) =>
            {
                Self::Unavailable(error.to_string())
            }
            ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::Rustls(_)
            | ureq::Error::Tls(_) => Self::Unreachable(error.to_string()),
            _ => Self::Unexpected(error.to_string()),
        }
    }

    fn from_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Denied(status),
            404 => Self::Missing,
            408 | 429 | 500..=599 => Self::Unavailable(format!("status {status}")),
            _ => Self::Unexpected(format!("status {status}")),
        }
    }
}

/// What the hub does, to follow its name.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(formatter, "cannot be reached ({reason})"),
            Self::Unavailable(reason) => write!(formatter, "is not available now ({reason})"),
            Self::Denied(status) => write!(formatter, "refuses access (status {status})"),
            Self::Missing => write!(formatter, "does not have the file"),
            Self::Unexpected(reason) => write!(formatter, "answers oddly: {reason}"),
            Self::Local(error) => error.fmt(formatter),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Local(error)
    }
}

/// What a request brings.
pub(super) type Fetched<T> = Result<T, Failure>;

/// What the hub says of a file before it is downloaded.
#[derive(Debug)]
pub(super) struct FileHead {
    /// The content's name: a SHA-256 for large files, a git object id for small ones.
    pub etag: String,
    /// In bytes, where the hub says it.
    pub size: Option<u64>,
}

/// A body that begins at a known place in the file.
pub(super) struct Stream {
    pub reader: Box<dyn Read>,
    /// The first byte's place: 0 if the server has ignored that only the rest was asked for.
    pub start: u64,
    /// The whole file's size, where the server says it.
    pub total: Option<u64>,
}

/// A connection to one hub.
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
            .timeout_recv_response(Some(SILENCE_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
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
        let (revision, file) = (encode(revision, b""), encode(file, b"/"));
        format!("{}/{repository}/resolve/{revision}/{file}", self.endpoint)
    }

    /// The hub's description of a repository at a revision, as JSON.
    pub fn describe(&self, repository: &str, revision: &str) -> Fetched<Vec<u8>> {
        let url = format!(
            "{}/api/models/{repository}/revision/{}?blobs=true",
            self.endpoint,
            encode(revision, b"")
        );
        retried(|| {
            let mut response = self.request(Method::Get, &url, None)?;
            let body = response.body_mut().with_config().limit(MAX_DESCRIPTION);
            body.read_to_vec()
                .map_err(|error| Failure::from_ureq(&error))
        })
    }

    /// What the hub says of a file, without the file.
    ///
    /// Large files are elsewhere, where the hub redirects to; what it says of them stands beside the redirect.
    pub fn head(&self, url: &str) -> Fetched<FileHead> {
        retried(|| {
            let response = self.request(Method::Head, url, None)?;
            let etag = text_header(&response, LINKED_ETAG)
                .or_else(|| text_header(&response, "etag"))
                .map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned())
                .ok_or_else(|| Failure::Unexpected(format!("no ETag for {url}")))?;
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

    /// The file from byte `start` on. A single attempt: who reads a stream must cope with its breaking anyway.
    pub fn stream(&self, url: &str, start: u64) -> Fetched<Stream> {
        let response = self.request(Method::Get, url, Some(start))?;
        let range = text_header(&response, "content-range").and_then(parse_range);
        let (start, total) = match (response.status().as_u16(), range) {
            (206, Some((start, total))) => (start, total),
            (206, None) => return Err(Failure::Unexpected("a part of unknown place".into())),
            _ => (0, response.body().content_length()),
        };
        Ok(Stream {
            reader: Box::new(response.into_body().into_reader()),
            start,
            total,
        })
    }

    /// Sends a request on to where it is redirected, up to an answer that says something.
    fn request(&self, method: Method, url: &str, start: Option<u64>) -> Fetched<Response<Body>> {
        let mut uri: Uri = url
            .parse()
            .map_err(|_| Failure::Unexpected(format!("{url:?} is not an address")))?;
        for _ in 0..=MAX_REDIRECTS {
            let response = self
                .send(method, &uri, start)
                .map_err(|error| Failure::from_ureq(&error))?;
            let status = response.status();
            let tells = method == Method::Head && response.headers().contains_key(LINKED_ETAG);
            if status.is_success() || (status.is_redirection() && tells) {
                return Ok(response);
            }
            if !status.is_redirection() {
                return Err(Failure::from_status(status.as_u16()));
            }
            uri = text_header(&response, "location")
                .and_then(|location| redirect(&uri, location))
                .ok_or_else(|| Failure::Unexpected(format!("{uri} redirects to nowhere")))?;
        }
        Err(Failure::Unexpected(format!("{url} redirects in circles")))
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
            // Compressed on the way, the bytes would have another size and other places.
            request = request.header(header::ACCEPT_ENCODING, "identity");
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

    /// Whether the address is on the hub itself, which alone may see the token.
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

/// Calls `attempt` again, after a while, as long as it fails for the moment only.
fn retried<T>(attempt: impl Fn() -> Fetched<T>) -> Fetched<T> {
    for delay in RETRY_DELAYS {
        match attempt() {
            Err(Failure::Unavailable(reason)) => {
                tracing::debug!("the hub is asked again in {delay:?}: {reason}");
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

/// The place of `bytes START-END/TOTAL`.
fn parse_range(range: &str) -> Option<(u64, Option<u64>)> {
    let (place, total) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = place.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

/// Where `location` leads from `base`; `None` for what is no address, and from HTTPS back to HTTP.
fn redirect(base: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let target: Uri = if location.contains("://") {
        location.parse().ok()?
    } else if location.starts_with("//") {
        format!("{scheme}:{location}").parse().ok()?
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}").parse().ok()?
    } else {
        let folder = base.path().rsplit_once('/')?.0;
        format!("{scheme}://{authority}{folder}/{location}")
            .parse()
            .ok()?
    };
    match (scheme, target.scheme_str()?) {
        (_, "https") | ("http", "http") => Some(target),
        _ => None,
    }
}

/// The text as a part of an address; bytes in `keep` stand for themselves.
fn encode(text: &str, keep: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_browsers_go() {
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
        for odd in [
            "",
            "bytes",
            "bytes */10",
            "bytes 5/10",
            "items 5-9/10",
            "bytes -1-2/3",
        ] {
            assert_eq!(parse_range(odd), None, "{odd}");
        }
    }

    #[test]
    fn names_are_encoded() {
        assert_eq!(encode("refs/pr/1", b""), "refs%2Fpr%2F1");
        assert_eq!(encode("a b/ü?.gguf", b"/"), "a%20b/%C3%BC%3F.gguf");
    }
}
