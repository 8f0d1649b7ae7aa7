//! `specdec serve`: an HTTP server that speaks OpenAI's API.

use std::env::VarError;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::failure::Outcome;
use super::interrupt;
use super::options::ModelArgs;
use super::profile::Profile;
use super::prompts::read_text;
use crate::decoder::SpeculativeDecoder;
use crate::engine::CancelToken;
use crate::error::{Error, Result};
use crate::server::{Server, ServerOptions};
use crate::settings::SpeculativeConfig;

const EXAMPLES: &str = "\
Examples:
  specdec serve
  specdec serve --target Qwen/Qwen2.5-1.5B-Instruct --draft Qwen/Qwen2.5-0.5B-Instruct --port 9000
  specdec serve --host 0.0.0.0 --api-key-file keys.txt --parallel 16

Try it:
  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Why is the sky blue?\"}]}'
or open http://127.0.0.1:8080 in a browser.";

/// Serve a model over OpenAI's API, with a page to try it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Address to listen at; one that others reach needs an API key
    #[arg(long, default_value = "127.0.0.1", env = "SPECDEC_HOST")]
    host: String,
    /// Port to listen at; 0 takes any that is free
    #[arg(long, short, default_value_t = 8080, env = "SPECDEC_PORT")]
    port: u16,
    /// File with API keys, one a line; requests must show one. SPECDEC_API_KEY holds another
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Listen beyond this machine without a key
    #[arg(long)]
    allow_unauthenticated: bool,
    /// Let pages of this origin ask, as https://example.com; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    cors_origin: Vec<String>,
    /// Requests that are computed at once; others wait
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    /// Requests that may wait; others are refused
    #[arg(long, value_name = "N", default_value_t = 256)]
    queue: usize,
    /// Tokens that all caches may hold together, earlier texts included [default: what half of the free memory holds]
    #[arg(long, value_name = "TOKENS")]
    cache_tokens: Option<usize>,
    /// Longest that a request may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u32,
    /// Most bytes of a request's body
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    max_body: usize,
    /// How long running requests may go on after SIGTERM, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain: u32,
    /// Learn from what is answered, to draft from, and keep that in this file; it then holds pieces of users' texts
    #[arg(long, value_name = "FILE", conflicts_with = "table")]
    learn: Option<PathBuf>,
    /// Name of the model in answers [default: the target's]
    #[arg(long, value_name = "NAME")]
    served_name: Option<String>,
    #[command(flatten)]
    models: ModelArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let profile = args.models.profile(None)?;
    let options = args.options(profile.as_ref())?;
    let decoder = args.load(profile.as_ref())?;
    let server = Server::bind(decoder, options)?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listening at http://{}", server.address())?;
    stdout.flush()?;
    drop(stdout);
    // The first Ctrl-C lets running requests end, as SIGTERM does.
    let _first = interrupt::ends(CancelToken::default());
    Ok(server.run()?)
}

impl Args {
    /// The models, with what was learned by an earlier server.
    fn load(&self, profile: Option<&Profile>) -> Outcome<SpeculativeDecoder> {
        let mut models = self.models.clone();
        if let Some(file) = self.learn.as_ref().filter(|file| file.exists()) {
            models.loading.table = Some(file.clone());
        }
        models.load(profile)
    }

    fn options(&self, profile: Option<&Profile>) -> Result<ServerOptions> {
        let mut defaults = SpeculativeConfig::default();
        // What is learned here the profile didn't know.
        if let Some(profile) = profile.filter(|_| self.learn.is_none()) {
            defaults.gamma = profile.gamma;
            defaults.draft = Some(profile.draft);
        }
        let learns_in_vain = |draft: &String| ["none", "ngram", "recycling"].contains(&&**draft);
        if let (Some(file), Some(draft)) = (&self.learn, &self.models.draft)
            && learns_in_vain(draft)
        {
            let expected = format!("no such file with --draft {draft}, which never reads it");
            return Err(Error::invalid("learn", file.display(), expected));
        }
        Ok(ServerOptions {
            host: self.host.clone(),
            port: self.port,
            model: self
                .served_name
                .clone()
                .unwrap_or_else(|| self.models.target.clone()),
            slots: self.parallel.into(),
            queue: self.queue,
            cache_tokens: self.cache_tokens,
            api_keys: self.api_keys()?,
            allow_unauthenticated: self.allow_unauthenticated,
            cors_origins: self.cors_origin.clone(),
            timeout: Duration::from_secs(self.timeout.into()),
            max_body: self.max_body,
            drain: Duration::from_secs(self.drain.into()),
            learn: self.learn.clone(),
            defaults,
        })
    }

    /// The keys; where some were to be given, there are some.
    fn api_keys(&self) -> Result<Vec<String>> {
        let file = self.api_key_file.as_deref().map(read_text).transpose()?;
        let own = match std::env::var("SPECDEC_API_KEY") {
            Ok(key) => Some(key),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(_)) => {
                let expected = "a key that is text";
                return Err(Error::invalid("SPECDEC_API_KEY", "(not shown)", expected));
            }
        };
        let lines = file.iter().flat_map(|text| text.lines());
        let keys: Vec<String> = lines
            .chain(own.as_deref())
            .map(str::trim)
            .filter(|key| !key.is_empty())
            .map(str::to_owned)
            .collect();
        if let Some(file) = self.api_key_file.as_ref().filter(|_| keys.is_empty()) {
            let expected = "a file with at least one key";
            return Err(Error::invalid("api-key-file", file.display(), expected));
        }
        Ok(keys)
    }
}
