//! Bodies of requests to a server: whatever one holds, the answer is a whole one with a status that its client can act on;
//! never an internal error, a connection that ends without an answer, a hang, or more than 2 GB.
//!
//! The input is a path and a body.
#![no_main]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use specdec_fuzz::{catch_panics, mutate, pair, parts, reported, settings};
use specdec_rs::server::{Server, ServerOptions};
use specdec_rs::{Device, SpeculativeConfig, SpeculativeDecoder};

/// The paths that take a body; others are tried as this one.
const PATHS: [&str; 4] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/tokenize",
    "/detokenize",
];

/// How long a request may take; it is answered then.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The context of the target, so that no answer takes long.
const CONTEXT: usize = 64;

fuzz_target!(init: catch_panics(), |input: &[u8]| {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    let address = *ADDRESS.get_or_init(serve);
    let [path, body] = parts(input);
    let path = PATHS.iter().find(|known| known.as_bytes() == path);
    reported(|| {
        let answer = ask(address, path.unwrap_or(&PATHS[0]), body);
        check(&answer);
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed)
});

/// Starts a server with small limits.
fn serve() -> SocketAddr {
    let target = pair("target");
    let builder = SpeculativeDecoder::builder().target(target.to_str().unwrap());
    let builder = builder.device(Device::Cpu).context_length(CONTEXT);
    let decoder = builder.threads(1).load().unwrap();
    let options = ServerOptions {
        host: "127.0.0.1".to_owned(),
        port: 0,
        model: "tiny".to_owned(),
        slots: 4,
        queue: 256,
        cache_tokens: Some(16 * CONTEXT),
        api_keys: Vec::new(),
        share_cache: false,
        allow_unauthenticated: false,
        cors_origins: Vec::new(),
        strict: false,
        timeout: TIMEOUT,
        max_connections: 16,
        client_timeout: TIMEOUT,
        max_body: 1 << 20,
        drain: Duration::ZERO,
        learn: None,
        defaults: SpeculativeConfig {
            draft: None,
            ..settings()
        },
    };
    let server = Server::bind(decoder, options).unwrap();
    let address = server.address();
    // Ends by a signal alone.
    thread::spawn(move || server.run().map(|_| std::process::exit(0)));
    address
}

/// The whole answer to a request.
fn ask(address: SocketAddr, path: &str, body: &[u8]) -> Vec<u8> {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(4 * TIMEOUT)).unwrap();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    // A server that refuses a body need not read all of it.
    let _ = connection.write_all(body);
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    answer
}

fn check(answer: &[u8]) {
    let text = String::from_utf8_lossy(answer);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status: u16 = status.unwrap_or_else(|| panic!("no answer: {text}"));
    let acceptable = matches!(status, 200 | 400 | 413 | 415 | 422 | 504);
    assert!(acceptable && !text.contains("internal_error"), "{text}");
    let (_, content) = text.split_once("\r\n\r\n").expect("headers end");
    // An event stream ends with an empty chunk, whatever happens in it.
    if text.contains("transfer-encoding: chunked") {
        assert!(content.ends_with("0\r\n\r\n"), "an answer was cut: {text}");
    } else if status == 200 {
        let value: serde_json::Result<serde_json::Value> = serde_json::from_str(content);
        assert!(value.is_ok(), "{text}");
    }
}
