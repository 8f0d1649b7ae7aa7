//! A fake model hub: serves a folder tree over HTTP, and fails on demand.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

/// The commit of every repository.
pub const COMMIT: &str = "607a30d783dfa663caf39e06633721c8d4cfcd7e";
/// Files from this size on are "large": named by their SHA-256 and served by the "CDN" through a redirect.
const LARGE: usize = 64;

/// How serving a file fails.
#[derive(Clone, Default)]
pub struct Fault {
    /// Answer with this status.
    pub status: Option<u16>,
    /// Close the connection after this many bytes of the body.
    pub cut: Option<usize>,
    /// Answer with these bytes, under the true file's name and size.
    pub content: Option<Vec<u8>>,
    /// Ignore the requested range and serve the whole file.
    pub no_ranges: bool,
    /// The number of requests that fail; `None` for all.
    pub times: Option<usize>,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Hit {
    pub method: String,
    pub path: String,
    /// The first byte asked for.
    pub start: Option<usize>,
    pub authorization: Option<String>,
}

#[derive(Default)]
struct State {
    faults: HashMap<String, Fault>,
    hits: Vec<Hit>,
    extra_names: Vec<String>,
    commit: Option<String>,
    etag: Option<String>,
    token: Option<String>,
    cdn: Option<String>,
}

/// A hub whose repositories are the folders `ROOT/OWNER/NAME` (and `ROOT/NAME`, which redirects to `legacy/NAME`
/// unless that folder exists).
pub struct Hub {
    endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// Serves the folder until the process ends.
    pub fn serve(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let server = Server {
            root: root.to_owned(),
            endpoint: endpoint.clone(),
            state: Arc::clone(&state),
        };
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve_one(connection));
            }
        });
        Self { endpoint, state }
    }

    /// The value for `HF_ENDPOINT`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes paths that end with `suffix` fail: `/config.json`, `/revision/main`, or, for the content of large
    /// files alone, `/cdn/OWNER/NAME/FILE`.
    pub fn break_path(&self, suffix: &str, fault: Fault) {
        self.state().faults.insert(suffix.to_owned(), fault);
    }

    /// Removes all faults.
    pub fn mend(&self) {
        self.state().faults.clear();
    }

    /// Lists one more file in every repository, whether it exists or not.
    pub fn list_also(&self, name: &str) {
        self.state().extra_names.push(name.to_owned());
    }

    /// Names this commit in descriptions.
    pub fn set_commit(&self, commit: &str) {
        self.state().commit = Some(commit.to_owned());
    }

    /// Names every file by this entity tag.
    pub fn set_etag(&self, etag: &str) {
        self.state().etag = Some(etag.to_owned());
    }

    /// Answers 401 to requests without this token.
    pub fn require_token(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// Redirects to the "CDN" by a relative URL.
    pub fn redirect_relatively(&self) {
        self.redirect_to("");
    }

    /// Uses another server as the "CDN".
    pub fn redirect_to(&self, endpoint: &str) {
        self.state().cdn = Some(endpoint.to_owned());
    }

    /// The requests so far, oldest first.
    pub fn hits(&self) -> Vec<Hit> {
        self.state().hits.clone()
    }

    /// The requests since the last call.
    pub fn take_hits(&self) -> Vec<Hit> {
        std::mem::take(&mut self.state().hits)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

#[derive(Clone)]
struct Server {
    root: PathBuf,
    endpoint: String,
    state: Arc<Mutex<State>>,
}

/// An answer without its body.
struct Head {
    status: u16,
    headers: String,
}

impl Server {
    /// One request per connection keeps the server simple; clients must handle closed connections anyway.
    fn serve_one(&self, mut connection: TcpStream) {
        let Some(hit) = read_request(&connection) else {
            return;
        };
        self.state.lock().unwrap().hits.push(hit.clone());
        let fault = self.fault(&hit.path);
        if let Some(status) = fault.status {
            return send(&mut connection, &Head::new(status), b"", None);
        }
        if let Some(api) = hit.path.strip_prefix("/api/models/") {
            self.describe(&mut connection, &hit, api, &fault);
        } else if let Some(file) = hit.path.strip_prefix("/cdn/") {
            self.content(&mut connection, &hit, &self.root.join(file), &fault);
        } else {
            self.resolve(&mut connection, &hit, &fault);
        }
    }

    fn fault(&self, path: &str) -> Fault {
        let mut state = self.state.lock().unwrap();
        let Some((_, fault)) = state
            .faults
            .iter_mut()
            .find(|(suffix, _)| path.ends_with(*suffix))
        else {
            return Fault::default();
        };
        match &mut fault.times {
            Some(0) => Fault::default(),
            Some(times) => {
                *times -= 1;
                fault.clone()
            }
            None => fault.clone(),
        }
    }

    fn is_authorized(&self, hit: &Hit) -> bool {
        let token = self.state.lock().unwrap().token.clone();
        token.is_none_or(|token| hit.authorization.as_deref() == Some(&format!("Bearer {token}")))
    }

    /// `REPOSITORY/revision/REVISION`
    fn describe(&self, connection: &mut TcpStream, hit: &Hit, api: &str, fault: &Fault) {
        let Some((repository, _revision)) = api.split_once("/revision/") else {
            return send(connection, &Head::new(404), b"", None);
        };
        if !self.is_authorized(hit) {
            return send(connection, &Head::new(401), b"", None);
        }
        if let Some(moved) = self.moved(repository) {
            let head = Head::new(307).with("Location", &hit.path.replacen(repository, &moved, 1));
            return send(connection, &head, b"", None);
        }
        let folder = self.root.join(repository);
        if !folder.is_dir() {
            return send(connection, &Head::new(404), b"", None);
        }
        let state = self.state.lock().unwrap();
        let mut names = Vec::new();
        list(&folder, "", &mut names);
        names.extend(state.extra_names.iter().cloned());
        let commit = state.commit.clone().unwrap_or_else(|| COMMIT.to_owned());
        drop(state);
        let siblings: Vec<serde_json::Value> = names
            .iter()
            .map(|name| match std::fs::metadata(folder.join(name)) {
                Ok(file) => serde_json::json!({"rfilename": name, "size": file.len()}),
                Err(_) => serde_json::json!({"rfilename": name}),
            })
            .collect();
        let body = serde_json::json!({"id": repository, "sha": commit, "siblings": siblings});
        let body = fault
            .content
            .clone()
            .unwrap_or_else(|| body.to_string().into_bytes());
        send(connection, &Head::new(200), &body, fault.cut);
    }

    /// `/REPOSITORY/resolve/REVISION/FILE`
    fn resolve(&self, connection: &mut TcpStream, hit: &Hit, fault: &Fault) {
        let parts = hit.path.trim_start_matches('/').split_once("/resolve/");
        let Some((repository, Some((_revision, file)))) =
            parts.map(|(repository, rest)| (repository, rest.split_once('/')))
        else {
            return send(connection, &Head::new(404), b"", None);
        };
        if !self.is_authorized(hit) {
            return send(connection, &Head::new(401), b"", None);
        }
        if let Some(moved) = self.moved(repository) {
            let head = Head::new(307).with("Location", &hit.path.replacen(repository, &moved, 1));
            return send(connection, &head, b"", None);
        }
        let path = self.root.join(repository).join(file);
        let Ok(content) = std::fs::read(&path) else {
            return send(connection, &Head::new(404), b"", None);
        };
        if content.len() < LARGE {
            return self.content(connection, hit, &path, fault);
        }
        let state = self.state.lock().unwrap();
        let host = state.cdn.as_ref().unwrap_or(&self.endpoint);
        let etag = state.etag.clone().unwrap_or_else(|| sha256(&content));
        let head = Head::new(302)
            .with("Location", &format!("{host}/cdn/{repository}/{file}"))
            .with("X-Repo-Commit", COMMIT)
            .with("X-Linked-Etag", &format!("\"{etag}\""))
            .with("X-Linked-Size", &content.len().to_string());
        drop(state);
        send(connection, &head, b"", None);
    }

    /// A file's bytes, from the one asked for on.
    fn content(&self, connection: &mut TcpStream, hit: &Hit, path: &Path, fault: &Fault) {
        let Ok(content) = std::fs::read(path) else {
            return send(connection, &Head::new(404), b"", None);
        };
        let etag = self.state.lock().unwrap().etag.clone();
        let etag = etag.unwrap_or_else(|| git_object(&content));
        let content = fault.content.clone().unwrap_or(content);
        let start = hit.start.filter(|_| !fault.no_ranges).unwrap_or(0);
        if start > content.len() {
            return send(connection, &Head::new(416), b"", None);
        }
        let mut head = Head::new(200)
            .with("ETag", &format!("W/\"{etag}\""))
            .with("X-Repo-Commit", COMMIT);
        if hit.start.is_some() && !fault.no_ranges {
            let range = format!(
                "bytes {start}-{}/{}",
                content.len().max(1) - 1,
                content.len()
            );
            head = Head {
                status: 206,
                ..head.with("Content-Range", &range)
            };
        }
        if hit.method == "HEAD" {
            head = head.with("Content-Length", &content.len().to_string());
            let _ = connection.write_all(head.text().as_bytes());
            return;
        }
        send(connection, &head, &content[start..], fault.cut);
    }

    /// Names without an owner redirect to `legacy`.
    fn moved(&self, repository: &str) -> Option<String> {
        let old = !repository.contains('/') && !self.root.join(repository).is_dir();
        old.then(|| format!("legacy/{repository}"))
    }
}

impl Head {
    fn new(status: u16) -> Self {
        Self {
            status,
            headers: String::new(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        write!(self.headers, "{name}: {value}\r\n").unwrap();
        self
    }

    fn text(&self) -> String {
        format!(
            "HTTP/1.1 {} -\r\nConnection: close\r\n{}\r\n",
            self.status, self.headers
        )
    }
}

fn read_request(connection: &TcpStream) -> Option<Hit> {
    let mut lines = BufReader::new(connection).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let mut hit = Hit {
        method,
        path: decode(target.split('?').next()?),
        start: None,
        authorization: None,
    };
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(": ") else {
            return Some(hit);
        };
        match name.to_lowercase().as_str() {
            "range" => hit.start = first_byte(value),
            "authorization" => hit.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    None
}

/// The first byte of `bytes=START-`.
fn first_byte(range: &str) -> Option<usize> {
    range
        .strip_prefix("bytes=")?
        .strip_suffix('-')?
        .parse()
        .ok()
}

fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
            let digits = String::from_utf8_lossy(&digits).into_owned();
            bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends the answer, with only the first `cut` bytes of its body; a disconnected client is not an error.
fn send(connection: &mut TcpStream, head: &Head, body: &[u8], cut: Option<usize>) {
    let head = Head {
        status: head.status,
        headers: format!("{}Content-Length: {}\r\n", head.headers, body.len()),
    };
    let sent = cut.unwrap_or(body.len()).min(body.len());
    let _ = connection
        .write_all(head.text().as_bytes())
        .and_then(|()| connection.write_all(&body[..sent]));
}

fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{name}/"), names);
        } else {
            names.push(name);
        }
    }
}

/// The checksum that names a large file.
pub fn sha256(content: &[u8]) -> String {
    hexadecimal(&Sha256::digest(content))
}

/// The checksum that names a small file, as git does.
pub fn git_object(content: &[u8]) -> String {
    let object = [format!("blob {}\0", content.len()).as_bytes(), content].concat();
    hexadecimal(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &object).as_ref())
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
