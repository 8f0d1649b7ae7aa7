//! Access control: API keys, origins and host names.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::clients::Client;
use super::connections::Peer;
use super::error::ApiError;
use super::openai::IGNORED_FIELDS;
use super::request_id::REQUEST_ID;
use crate::error::Error;

/// The keys' digests: of equal lengths, so that comparing them takes the same time wherever they differ.
pub(super) struct ApiKeys {
    digests: Vec<[u8; 32]>,
    /// Whether requests with different keys share what was computed.
    share_cache: bool,
}

impl ApiKeys {
    pub(super) fn new(keys: &[String], share_cache: bool) -> Self {
        let digests = keys.iter().map(|key| digest(key.as_bytes())).collect();
        Self {
            digests,
            share_cache,
        }
    }

    /// The client with this key, if it is one of them; always compares with all of them, completely.
    fn client(&self, key: &[u8]) -> Option<Client> {
        let key = digest(key);
        let differ = |known: &[u8; 32]| known.iter().zip(key).fold(0, |all, (a, b)| all | (a ^ b));
        let matches = self.digests.iter();
        let matches = matches.map(|known| u8::from(differ(known) == 0));
        let known = matches.fold(0, |any, one| any | one) != 0;
        known.then_some(Client::WithKey {
            digest: key,
            shares: self.share_cache,
        })
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Rejects requests without a valid key, if the server has keys.
pub(super) async fn authenticate(
    State(keys): State<Arc<ApiKeys>>,
    mut request: Request,
    next: Next,
) -> Response {
    let key = sent_key(request.headers());
    let client = match keys.digests.is_empty() {
        true => Some(
            request
                .extensions()
                .get::<Peer>()
                .map_or(Client::Unknown, |peer| Client::at(peer.0)),
        ),
        false => key.and_then(|key| keys.client(key)),
    };
    let message = match (client, key) {
        (Some(client), _) => {
            request.extensions_mut().insert(client);
            return next.run(request).await;
        }
        (None, Some(_)) => "invalid API key",
        (None, None) => "no API key: send one in the header \"Authorization: Bearer KEY\"",
    };
    ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message).into_response()
}

/// The key that a request sent: `Authorization: Bearer KEY`, with the scheme in any letters, or `x-api-key`, as Anthropic's
/// clients do.
fn sent_key(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked("bearer ".len())?;
        scheme
            .eq_ignore_ascii_case(b"bearer ")
            .then(|| key.trim_ascii())
    });
    bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes))
}

/// Rejects requests that a proxy before the server could read in another way: they must have one host (RFC 9112, 3.2), and no
/// transfer coding but chunked (6.1).
pub(super) async fn check_head(request: Request, next: Next) -> Response {
    match ambiguity(request.version(), request.headers()) {
        None => next.run(request).await,
        Some(message) => {
            ApiError::new(StatusCode::BAD_REQUEST, "ambiguous_request", message).into_response()
        }
    }
}

fn ambiguity(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let hosts = headers.get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && version >= Version::HTTP_11) {
        return Some("expected one Host header");
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    match codings.all(chunked) {
        true => None,
        false => Some("expected no Transfer-Encoding but chunked: compressed bodies are not read"),
    }
}

/// The pages whose requests are answered.
pub(super) struct Origins {
    /// The allowed origins of other sites.
    pub(super) allowed: Vec<String>,
    /// The name that the server listens on, if requests must use it; `None` if it has keys, or allows requests without.
    pub(super) host: Option<String>,
}

/// Rejects requests of other sites' pages: a browser sends them from inside the network, where the server may need no key.
pub(super) async fn check_origin(
    State(origins): State<Arc<Origins>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if let Some(host) = &origins.host
        && let Some(name) = foreign_host(headers, host)
    {
        let message = format!(
            "unrecognized Host header {name:?}: use the server's address, or start it with this name as --host, with an API \
             key, or with --allow-unauthenticated"
        );
        return ApiError::new(StatusCode::FORBIDDEN, "foreign_host", message).into_response();
    }
    match foreign_origin(headers, &origins.allowed) {
        None => next.run(request).await,
        Some(origin) => {
            let message = format!(
                "cross-origin request from {origin} refused: --cors-origin {origin} allows it"
            );
            ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", message).into_response()
        }
    }
}

/// The host name of a request, if it is neither an address nor the server's own: a page may have made a name of its own resolve
/// to this machine (DNS rebinding).
fn foreign_host(headers: &HeaderMap, own: &str) -> Option<String> {
    let host = headers.get(header::HOST)?;
    let host = String::from_utf8_lossy(host.as_bytes()).into_owned();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => &host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let known = address.parse::<IpAddr>().is_ok() || is_local(name);
    (!known && !name.eq_ignore_ascii_case(own)).then_some(host)
}

/// Whether only this machine's own resolver can make a name mean this machine: its host name, and the domains that no public
/// name server answers for (RFC 6761 and 6762, and `.internal`, which is reserved for private use).
fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let reserved = |suffix: &str| name.ends_with(suffix);
    name == "localhost"
        || [".localhost", ".local", ".internal"]
            .into_iter()
            .any(reserved)
        || gethostname::gethostname().to_str().is_some_and(|own| {
            let own = own.to_ascii_lowercase();
            !own.is_empty() && name == own
        })
}

/// The origin of a request, if it is another site's.
fn foreign_origin(headers: &HeaderMap, allowed: &[String]) -> Option<String> {
    let origin = headers.get(header::ORIGIN)?;
    let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let own = origin.split_once("://").map(|(_, host)| host.as_bytes());
    let is_allowed = allowed.iter().any(|one| one == "*" || *one == origin);
    ((own.is_none() || own != host) && !is_allowed).then_some(origin)
}

const ORIGIN: &str = "a scheme and a host, as in https://example.com, or *";

/// An origin as browsers send it: a scheme, a host and a port that is not the scheme's own, in small letters and with nothing after
/// them.
fn origin(text: &str) -> Option<String> {
    let uri: Uri = text.strip_suffix('/').unwrap_or(text).parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let authority = uri.authority()?.as_str().to_ascii_lowercase();
    let own_port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let authority = authority.strip_suffix(own_port).unwrap_or(&authority);
    let is_bare = uri.path_and_query().is_none_or(|path| path == "/") && !text.ends_with("//");
    let is_host = uri.host().is_some_and(|host| !host.is_empty()) && !authority.contains('@');
    (is_bare && is_host).then(|| format!("{scheme}://{authority}"))
}

/// An origin that a user allows, or `*` for all.
pub(crate) fn parse_origin(text: &str) -> Result<String, Error> {
    match text {
        "*" => Ok(text.to_owned()),
        _ => origin(text).ok_or_else(|| Error::invalid("cors-origin", text, ORIGIN)),
    }
}

/// Allows pages of these origins to read answers.
pub(super) fn cors(origins: &[String]) -> Result<CorsLayer, Error> {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([REQUEST_ID, header::RETRY_AFTER, IGNORED_FIELDS]);
    if origins.iter().any(|origin| origin == "*") {
        return Ok(layer.allow_origin(AllowOrigin::any()));
    }
    let origins = origins.iter().map(|origin| {
        let value = HeaderValue::try_from(parse_origin(origin)?);
        value.map_err(|_| Error::invalid("cors-origin", origin, ORIGIN))
    });
    let origins: Vec<HeaderValue> = origins.collect::<Result<_, _>>()?;
    Ok(layer.allow_origin(origins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for (given, sent) in [
            ("https://example.com", "https://example.com"),
            ("https://example.com/", "https://example.com"),
            ("HTTPS://Example.com:443", "https://example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://localhost:443", "http://localhost:443"),
            ("http://[::1]:80", "http://[::1]"),
            ("app://page", "app://page"),
            ("*", "*"),
        ] {
            assert_eq!(parse_origin(given).unwrap(), sent);
        }
        for other in [
            "foo",
            "https://",
            "https://a.b/c",
            "https://a.b/?c",
            "https://a.b//",
            "https://user@a.b",
            "//a.b",
            "a b",
            "a\nb",
        ] {
            assert!(parse_origin(other).is_err(), "{other}");
        }
    }

    #[test]
    fn requests_that_can_be_read_in_two_ways_are_rejected() {
        let ambiguity = |version, lines: &[(&'static str, &'static str)]| {
            let headers = lines.iter().map(|(name, value)| {
                let name = header::HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            });
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name, value);
            }
            ambiguity(version, &map)
        };
        let host = ("host", "localhost");
        for (version, lines) in [
            (Version::HTTP_11, &[host][..]),
            (Version::HTTP_10, &[]),
            (Version::HTTP_11, &[host, ("transfer-encoding", "Chunked")]),
        ] {
            assert_eq!(ambiguity(version, lines), None);
        }
        for (version, lines) in [
            (Version::HTTP_11, &[][..]),
            (Version::HTTP_11, &[host, host]),
            (Version::HTTP_10, &[host, ("host", "other")]),
            (
                Version::HTTP_11,
                &[host, ("transfer-encoding", "gzip, chunked")],
            ),
            (Version::HTTP_11, &[host, ("transfer-encoding", "identity")]),
        ] {
            assert!(ambiguity(version, lines).is_some());
        }
    }

    #[test]
    fn only_whole_keys_match() {
        let keys = ApiKeys::new(&["one".into(), "two".into()], false);
        assert!(keys.client(b"one").is_some() && keys.client(b"two").is_some());
        for wrong in [&b""[..], b"on", b"onetwo", b"One", b"one "] {
            assert!(keys.client(wrong).is_none());
        }
    }

    #[test]
    fn keys_are_sent_as_clients_do() {
        let sent = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            sent_key(&headers).map(<[u8]>::to_vec)
        };
        for (name, value) in [
            ("authorization", "Bearer one"),
            ("authorization", "bearer one"),
            ("authorization", "BEARER  one"),
            ("x-api-key", "one"),
        ] {
            assert_eq!(
                sent(name, value).as_deref(),
                Some(&b"one"[..]),
                "{name}: {value}"
            );
        }
        for value in ["one", "Basic one", "Bearer"] {
            assert_eq!(sent("authorization", value), None, "{value}");
        }
    }

    #[test]
    fn names_of_others_are_foreign() {
        let foreign = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            foreign_host(&headers, "box.lan").is_some()
        };
        for own in [
            "127.0.0.1:8080",
            "localhost",
            "LOCALHOST:80",
            "[::1]:8080",
            "[::1]",
            "box.lan:1",
            "10.0.0.1",
            "host.docker.internal:8080",
            "mybox.local",
            "app.localhost",
        ] {
            assert!(!foreign(own), "{own}");
        }
        for other in [
            "evil.example:8080",
            "evil.example",
            "127.0.0.1.evil.example",
            "box.lan.evil",
        ] {
            assert!(foreign(other), "{other}");
        }
    }

    #[test]
    fn other_sites_are_foreign() {
        let headers = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "localhost:8080".parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            headers
        };
        let foreign = |origin, allowed: &[&str]| {
            let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            foreign_origin(&headers(origin), &allowed).is_some()
        };
        assert!(!foreign(None, &[]));
        assert!(!foreign(Some("http://localhost:8080"), &[]));
        assert!(foreign(Some("http://localhost:8081"), &[]));
        assert!(foreign(Some("https://evil.example"), &[]));
        assert!(foreign(Some("null"), &[]));
        let mut without_host = headers(Some("null"));
        without_host.remove(header::HOST);
        assert!(foreign_origin(&without_host, &[]).is_some());
        assert!(!foreign(Some("https://a.example"), &["https://a.example"]));
        assert!(!foreign(Some("https://a.example"), &["*"]));
    }
}
