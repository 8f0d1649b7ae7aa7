//! `specdec inspect`: describes a model's files without loading the weights.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::answer::write_json;
use super::error::Outcome;
use super::options::HubArgs;
use crate::error::Result;
use crate::model::OpenModel;
use crate::text::Tokenizer;
use crate::weights::{Checkpoint, StoredTensor};

const EXAMPLES: &str = "\
Examples:
  specdec inspect
  specdec inspect model.Q4_K_M.gguf --json";

/// Describe a model: architecture, size, quantization, tokenizer
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    model: HubArgs,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Description {
    model: String,
    architecture: &'static str,
    /// Stored weights; an output head tied to the embedding counts once.
    parameters: u64,
    /// Size of the weights in the files, in bytes.
    bytes: u64,
    layers: usize,
    hidden_size: usize,
    heads: usize,
    kv_heads: usize,
    context_length: usize,
    vocab_size: usize,
    tokenizer: Option<TokenizerDescription>,
    chat_template: bool,
    /// Totals by storage type, the largest first.
    storage: Vec<Stored>,
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct TokenizerDescription {
    algorithm: &'static str,
    vocab_size: usize,
}

/// The tensors of one storage type.
#[derive(Serialize, Default)]
struct Stored {
    #[serde(rename = "type")]
    storage: &'static str,
    tensors: u64,
    parameters: u64,
    bytes: u64,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let files = args.model.locate()?;
    let description = Description::new(&args.model.model, &OpenModel::open(&files)?)?;
    if args.json {
        return write_json(&description);
    }
    write!(io::stdout().lock(), "{description}")?;
    Ok(())
}

impl Description {
    fn new(model: &str, opened: &OpenModel) -> Result<Self> {
        let (spec, checkpoint) = (opened.spec()?, opened.checkpoint());
        let tokenizer = opened.tokenizer()?;
        let storage = storage(checkpoint);
        let attention = spec.first_attention();
        let files: BTreeSet<_> = checkpoint
            .names()
            .iter()
            .map(|name| checkpoint.file_of(name))
            .collect();
        Ok(Self {
            model: model.to_owned(),
            architecture: spec.family.name(),
            parameters: storage.iter().map(|stored| stored.parameters).sum(),
            bytes: storage.iter().map(|stored| stored.bytes).sum(),
            layers: spec.layers.len(),
            hidden_size: spec.hidden_size,
            heads: attention.map_or(0, |attention| attention.shape.heads),
            kv_heads: attention.map_or(0, |attention| attention.shape.kv_heads),
            context_length: spec.context_length,
            vocab_size: spec.vocab_size,
            tokenizer: tokenizer.as_ref().map(TokenizerDescription::new),
            chat_template: tokenizer
                .as_ref()
                .is_some_and(|tokenizer| tokenizer.chat_template().is_some()),
            storage,
            files: files.into_iter().map(ToOwned::to_owned).collect(),
        })
    }
}

impl TokenizerDescription {
    fn new(tokenizer: &Tokenizer) -> Self {
        Self {
            algorithm: tokenizer.algorithm(),
            vocab_size: tokenizer.vocab_size(),
        }
    }
}

/// Counts a checkpoint's tensors by storage type.
fn storage(checkpoint: &dyn Checkpoint) -> Vec<Stored> {
    let mut types = BTreeMap::<_, Stored>::new();
    let mut add = |tensor: &StoredTensor<'_>, bytes: usize| {
        let stored = types.entry(tensor.storage.name()).or_default();
        stored.storage = tensor.storage.name();
        stored.tensors += 1;
        stored.parameters += tensor.elements().unwrap_or(0) as u64;
        stored.bytes += bytes as u64;
    };
    let names = checkpoint.names();
    for tensor in names.iter().filter_map(|name| checkpoint.tensor(name)) {
        add(&tensor, tensor.data.len());
    }
    let names = checkpoint.packed_names();
    for packed in names.iter().filter_map(|name| checkpoint.packed(name)) {
        add(&packed.described(), packed.bytes());
    }
    let mut types: Vec<_> = types.into_values().collect();
    types.sort_by_key(|stored| std::cmp::Reverse(stored.bytes));
    types
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model          {}", self.model)?;
        writeln!(f, "architecture   {}", self.architecture)?;
        writeln!(
            f,
            "parameters     {} in {}",
            HumanCount(self.parameters),
            HumanBytes(self.bytes)
        )?;
        writeln!(
            f,
            "layers         {}, hidden size {}",
            self.layers, self.hidden_size
        )?;
        writeln!(
            f,
            "heads          {}, {} KV heads",
            self.heads, self.kv_heads
        )?;
        writeln!(f, "context        {} tokens", self.context_length)?;
        writeln!(f, "vocabulary     {} tokens", self.vocab_size)?;
        match &self.tokenizer {
            Some(tokenizer) => {
                writeln!(
                    f,
                    "tokenizer      {}, {} tokens",
                    tokenizer.algorithm, tokenizer.vocab_size
                )?;
            }
            None => writeln!(f, "tokenizer      none")?,
        }
        let template = if self.chat_template { "yes" } else { "no" };
        writeln!(f, "chat template  {template}")?;
        for stored in &self.storage {
            writeln!(
                f,
                "{:<14} {} tensors, {} parameters, {}",
                stored.storage,
                stored.tensors,
                HumanCount(stored.parameters),
                HumanBytes(stored.bytes)
            )?;
        }
        for file in &self.files {
            writeln!(f, "file           {}", file.display())?;
        }
        Ok(())
    }
}
