//! `specdec serve`: an HTTP server that speaks OpenAI's API.

use std::env::VarError;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{CliError, Outcome};
use super::flags::in_terms_of;
use super::interrupt;
use super::options::ModelArgs;
use super::profile::Profile;
use super::prompts::read_text;
use crate::decoder::SpeculativeDecoder;
use crate::engine::CancelToken;
use crate::error::{Error, Result};
use crate::server::{Server, ServerEnd, ServerOptions, parse_origin};
use crate::settings::{DraftKind, SpeculativeConfig};
use crate::text::no_chat_template;

const EXAMPLES: &str = "\
Examples:
  specdec serve
  specdec serve --target gpt2-medium --draft gpt2 --port 9000
  specdec serve --host 0.0.0.0 --api-key-file keys.txt --parallel 16

Try it:
  curl http://127.0.0.1:8080/v1/chat/completions \\
    -H 'Content-Type: application/json' \\
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello!\"}]}'
or open http://127.0.0.1:8080 in a browser.";

/// Serve a model over OpenAI's API, with a playground page
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Address to listen on; one that other machines can reach requires an API key
    #[arg(long, default_value = "127.0.0.1", env = "SPECDEC_HOST")]
    host: String,
    /// Port to listen on; 0 takes any free port
    #[arg(long, short, default_value_t = 8080, env = "SPECDEC_PORT")]
    port: u16,
    /// File with API keys, one per line (lines that start with # are comments); each request must send one. SPECDEC_API_KEY adds
    /// another
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// An API key that each request must send; other users of this machine can see it in the list of processes
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Let requests with different API keys share cached prompts, and what drafts learn from texts
    #[arg(long)]
    share_cache: bool,
    /// Accept requests from other machines without an API key
    #[arg(long)]
    allow_unauthenticated: bool,
    /// Allow web pages of this origin, such as https://example.com; can be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = parse_origin)]
    cors_origin: Vec<String>,
    /// Refuse requests with unknown fields, such as misspelled ones, instead of ignoring these fields
    #[arg(long)]
    strict: bool,
    /// Requests that run at the same time; others are queued
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    /// Requests that can be queued; others are refused
    #[arg(long, value_name = "N", default_value_t = 256)]
    queue: usize,
    /// Tokens that all KV caches together can hold, the prefix cache included [default: as many as fit half of the free memory]
    #[arg(long, value_name = "TOKENS")]
    cache_tokens: Option<usize>,
    /// Time limit of a request, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u32,
    /// Connections at once; a new one takes the place of the one that has been idle for longest
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    /// Time limit for a client to send a request, to read more of an answer, or to ask again on its connection, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    client_timeout: u32,
    /// Size limit of a request body, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    max_body: usize,
    /// Time limit for running requests after SIGTERM, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain: u32,
    /// Add answers to an n-gram table to draft from, and save it in this file, which then contains parts of users' texts
    #[arg(long, value_name = "FILE", conflicts_with = "table")]
    learn: Option<PathBuf>,
    /// Name of the model in responses [default: the target's name; of a path, its last part]
    #[arg(long, value_name = "NAME")]
    served_name: Option<String>,
    #[command(flatten)]
    models: ModelArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let profile = args.models.profile(None)?;
    let mut options = args.options(profile.as_ref())?;
    let decoder = args.load(profile.as_ref(), &options.defaults)?;
    options.defaults = args.defaults(profile.as_ref(), decoder.default_config());
    let server = Server::bind(decoder.clone(), options.clone())?;
    describe(&decoder, &options);
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listening at http://{}", server.address())?;
    stdout.flush()?;
    drop(stdout);
    // The first Ctrl-C lets running requests finish, as SIGTERM does.
    let _first = interrupt::cancels(CancelToken::default());
    match server.run()? {
        ServerEnd::Drained => Ok(()),
        ServerEnd::Interrupted => Err(CliError::Interrupted),
    }
}

/// Tells on stderr what is served, and what of it will be refused.
fn describe(decoder: &SpeculativeDecoder, options: &ServerOptions) {
    let info = decoder.info();
    let key = match (options.api_keys.is_empty(), options.allow_unauthenticated) {
        (false, _) => "required",
        (true, false) => "none: only this machine may connect",
        (true, true) => "none: every request is accepted",
    };
    let text = format!(
        "model    {}: {}, {:.1} million parameters, {}, on {}\n\
         context  {} tokens; {} requests at once, {} queued\n\
         API key  {key}\n\
         serves   the page at /, OpenAI's API at /v1, the docs at /openapi.json\n",
        options.model,
        info.architecture,
        info.parameters as f64 / 1e6,
        info.quantization,
        info.device,
        info.context_length,
        options.slots,
        options.queue,
    );
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(text.as_bytes());
    if decoder.tokenizer().chat_template().is_none() {
        let _ = writeln!(
            stderr,
            "chat     refused: {}",
            in_terms_of(&no_chat_template())
        );
    }
}

/// A model's name for clients, who are not told where it lies.
fn name_of(target: &str) -> String {
    let path = Path::new(target).canonicalize().ok();
    let name = path.as_deref().and_then(Path::file_name);
    name.map_or_else(|| target.to_owned(), |name| name.display().to_string())
}

impl Args {
    /// Loads the models, with the table that an earlier server saved.
    fn load(
        &self,
        profile: Option<&Profile>,
        defaults: &SpeculativeConfig,
    ) -> Outcome<SpeculativeDecoder> {
        let mut models = self.models.clone();
        models.learns = self.learn.is_some();
        if let Some(file) = self.learn.as_ref().filter(|file| file.exists()) {
            models.loading.table = Some(file.clone());
        }
        models.load(profile, defaults)
    }

    /// The settings of a request that gives none.
    fn defaults(
        &self,
        profile: Option<&Profile>,
        mut defaults: SpeculativeConfig,
    ) -> SpeculativeConfig {
        // The profile was measured without this server's table.
        if let Some(profile) = profile.filter(|_| self.learn.is_none()) {
            defaults.gamma = profile.gamma;
            defaults.draft = Some(profile.draft);
        }
        defaults
    }

    /// The options; what they say wrongly is known before the model is loaded, whose defaults come later.
    fn options(&self, profile: Option<&Profile>) -> Result<ServerOptions> {
        let reads_table = [DraftKind::AUTO, DraftKind::TABLE];
        let ignores_table = |draft: &String| {
            let source = draft.parse::<DraftKind>();
            source.is_ok_and(|source| !reads_table.contains(&source))
        };
        if let (Some(file), Some(draft)) = (&self.learn, &self.models.draft)
            && ignores_table(draft)
        {
            let expected = format!("no table with --draft {draft}, which never drafts from it");
            return Err(Error::invalid("learn", file.display(), expected));
        }
        let api_keys = self.api_keys()?;
        if let Some(file) = &self.learn
            && api_keys.len() > 1
            && !self.share_cache
        {
            let expected = "--share-cache beside it, since the table is one for all API keys";
            return Err(Error::invalid("learn", file.display(), expected));
        }
        Ok(ServerOptions {
            host: self.host.clone(),
            port: self.port,
            model: self
                .served_name
                .clone()
                .unwrap_or_else(|| name_of(&self.models.target)),
            slots: self.parallel.into(),
            queue: self.queue,
            cache_tokens: self.cache_tokens,
            api_keys,
            share_cache: self.share_cache,
            allow_unauthenticated: self.allow_unauthenticated,
            cors_origins: self.cors_origin.clone(),
            strict: self.strict,
            timeout: Duration::from_secs(self.timeout.into()),
            max_connections: self.max_connections.try_into().unwrap_or(usize::MAX),
            client_timeout: Duration::from_secs(self.client_timeout.into()),
            max_body: self.max_body,
            drain: Duration::from_secs(self.drain.into()),
            learn: self.learn.clone(),
            defaults: self.defaults(profile, SpeculativeConfig::default()),
        })
    }

    /// The API keys; a file without any is an error, so that a server meant to have keys has some.
    fn api_keys(&self) -> Result<Vec<String>> {
        let file = self.api_key_file.as_deref().map(read_text).transpose()?;
        let own = match std::env::var("SPECDEC_API_KEY") {
            Ok(key) => Some(key),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(_)) => {
                let expected = "UTF-8 text";
                return Err(Error::invalid("SPECDEC_API_KEY", "(not shown)", expected));
            }
        };
        // An unset variable of the shell is no wish for a server without keys.
        let given = [("SPECDEC_API_KEY", &own), ("api-key", &self.api_key)];
        for (name, key) in given {
            if key.as_ref().is_some_and(|key| key.trim().is_empty()) {
                return Err(Error::invalid(name, "\"\"", "a key that is not empty"));
            }
        }
        let lines = file.iter().flat_map(|text| text.lines()).map(str::trim);
        let keys: Vec<String> = lines
            .filter(|line| !line.starts_with('#'))
            .chain(own.as_deref())
            .chain(self.api_key.as_deref())
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
