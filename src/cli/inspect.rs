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
use crate::architecture::ModelSpec;
use crate::backend::AttentionShape;
use crate::error::Result;
use crate::model::{HeadFiles, OpenDraft, OpenModel, PredictionFiles, heads_beside, requirements};
use crate::text::Tokenizer;
use crate::weights::{Adapter, Checkpoint, StoredTensor};

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
    /// LoRA adapter that would be merged into the model; can be repeated
    #[arg(long, value_name = "ADAPTER")]
    lora: Vec<String>,
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
    /// How many layers there are of each kind.
    layer_kinds: BTreeMap<&'static str, usize>,
    /// Experts of a layer, and how many of them a token passes through.
    #[serde(skip_serializing_if = "Option::is_none")]
    experts: Option<[usize; 2]>,
    hidden_size: usize,
    heads: usize,
    kv_heads: usize,
    context_length: usize,
    vocab_size: usize,
    tokenizer: Option<TokenizerDescription>,
    chat_template: bool,
    /// Totals by storage type, the largest first.
    storage: Vec<Stored>,
    memory: Memory,
    /// Tensors that are not loaded.
    skipped: Vec<Skipped>,
    /// Tables whose rows are read from the file one by one.
    tables: Vec<String>,
    /// LoRA adapters that are merged into it.
    adapters: Vec<AdapterDescription>,
    /// Drafts in the model's files and beside them.
    drafts: Vec<DraftDescription>,
    files: Vec<PathBuf>,
}

/// An adapter.
#[derive(Serialize)]
struct AdapterDescription {
    path: PathBuf,
    /// How many of the model's tensors it changes.
    tensors: usize,
}

/// What the model takes on the CPU, in bytes.
#[derive(Serialize)]
struct Memory {
    weights: u64,
    /// Of each token of a text, where keys and values have 16 bits.
    per_token: u64,
    /// Of each text, whatever its length.
    per_text: u64,
}

/// A draft head, which is no model by itself.
#[derive(Serialize)]
struct HeadDescription {
    /// As it was named.
    head: String,
    kind: &'static str,
    /// The shape of targets that it fits.
    target_hidden_size: usize,
    target_vocab_size: usize,
}

impl HeadDescription {
    fn new(name: &str, head: &HeadFiles) -> Self {
        let [target_hidden_size, target_vocab_size] = head.target_shape();
        Self {
            head: name.into(),
            kind: head.kind(),
            target_hidden_size,
            target_vocab_size,
        }
    }
}

impl fmt::Display for HeadDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "draft head     {}", self.head)?;
        writeln!(f, "kind           {}", self.kind)?;
        writeln!(
            f,
            "for targets    of hidden size {} and about {} tokens: name it with --draft",
            self.target_hidden_size, self.target_vocab_size
        )
    }
}

/// A draft for the model.
#[derive(Serialize)]
struct DraftDescription {
    /// Of a head: "mtp", "eagle3", ...; of a model "model".
    kind: &'static str,
    /// Where it lies; `None`: in the model's own files.
    path: Option<PathBuf>,
    /// Why it can't be used.
    misfit: Option<String>,
}

/// Tensors with the same start of their names.
#[derive(Serialize)]
struct Skipped {
    name: String,
    tensors: usize,
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
    let files = args.model.locate_with(&args.lora)?;
    let name = &args.model.model;
    match OpenDraft::open(&files)? {
        OpenDraft::Head(head) => show(&HeadDescription::new(name, &head), args.json),
        OpenDraft::Model(opened) => show(&Description::new(name, &opened)?, args.json),
    }
}

/// Prints a description, for people or as JSON.
fn show(description: &(impl fmt::Display + Serialize), json: bool) -> Outcome {
    if json {
        return write_json(description);
    }
    write!(io::stdout().lock(), "{description}")?;
    Ok(())
}

impl Description {
    fn new(model: &str, opened: &OpenModel) -> Result<Self> {
        let (spec, checkpoint) = (opened.spec()?, opened.checkpoint());
        let tokenizer = opened.tokenizer()?;
        let storage = storage(checkpoint);
        let mut cached = spec
            .layers
            .iter()
            .filter_map(|layer| layer.mixer.cached_shape());
        let shape = cached.next();
        let requirements = requirements(opened, &spec)?;
        let layers = || spec.layers.iter();
        let mut layer_kinds = BTreeMap::new();
        for layer in layers() {
            *layer_kinds.entry(layer.mixer.name()).or_default() += 1;
        }
        let experts = layers().find_map(|layer| layer.mlp.experts());
        let per_token = |shape: AttentionShape| 2 * shape.kv_size() * size_of::<u16>();
        let cached = layers().filter_map(|layer| layer.mixer.cached_shape());
        let states = layers().map(|layer| layer.mixer.state_values(spec.hidden_size));
        let memory = Memory {
            weights: requirements.weights,
            per_token: cached.map(per_token).sum::<usize>() as u64,
            per_text: (states.sum::<usize>() * size_of::<f32>()) as u64,
        };
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
            layer_kinds,
            experts: experts.map(|experts| [experts.count, experts.chosen]),
            hidden_size: spec.hidden_size,
            heads: shape.map_or(0, |shape| shape.heads),
            kv_heads: shape.map_or(0, |shape| shape.kv_heads),
            context_length: spec.context_length,
            vocab_size: spec.vocab_size,
            tokenizer: tokenizer.as_ref().map(TokenizerDescription::new),
            chat_template: tokenizer
                .as_ref()
                .is_some_and(|tokenizer| tokenizer.chat_template().is_some()),
            storage,
            memory,
            skipped: by_start(&requirements.skipped),
            tables: requirements.tables,
            adapters: opened
                .adapters()
                .iter()
                .map(AdapterDescription::new)
                .collect(),
            drafts: drafts(opened, &spec)?,
            files: files.into_iter().map(ToOwned::to_owned).collect(),
        })
    }
}

impl AdapterDescription {
    fn new(adapter: &Adapter) -> Self {
        Self {
            path: adapter.path().to_owned(),
            tensors: adapter.changed(),
        }
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

/// Counts tensors by the start of their names: the first part, or two of them in a model.
fn by_start(names: &[String]) -> Vec<Skipped> {
    let mut counts = BTreeMap::<String, usize>::new();
    for name in names {
        let parts = if name.starts_with("model.") { 2 } else { 1 };
        let start: Vec<&str> = name.split('.').take(parts).collect();
        *counts.entry(start.join(".")).or_default() += 1;
    }
    let skipped = counts.into_iter();
    skipped
        .map(|(name, tensors)| Skipped { name, tensors })
        .collect()
}

/// The drafts in a model's files and beside them.
fn drafts(opened: &OpenModel, spec: &ModelSpec) -> Result<Vec<DraftDescription>> {
    let mut drafts = Vec::new();
    if HeadFiles::is_within(opened)? {
        drafts.push(DraftDescription {
            kind: PredictionFiles::KIND,
            path: None,
            misfit: None,
        });
    }
    let beside = heads_beside(opened.source(), spec);
    drafts.extend(beside.map(|beside| {
        let (kind, misfit) = match &beside.head {
            Ok(head) => (head.kind(), None),
            Err(reason) => ("head", Some(reason.to_string())),
        };
        DraftDescription {
            kind,
            path: Some(beside.path),
            misfit,
        }
    }));
    Ok(drafts)
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
        if self.layer_kinds.len() > 1 || !self.layer_kinds.contains_key("attention") {
            let kinds = self.layer_kinds.iter();
            let kinds: Vec<String> = kinds
                .map(|(kind, count)| format!("{count} {kind}"))
                .collect();
            writeln!(f, "               {}", kinds.join(", "))?;
        }
        if let Some([count, chosen]) = self.experts {
            writeln!(f, "experts        {chosen} of {count} for each token")?;
        }
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
        let Memory {
            weights,
            per_token,
            per_text,
        } = self.memory;
        write!(f, "memory         {}", HumanBytes(weights))?;
        write!(
            f,
            ", and {} for 1000 tokens",
            HumanBytes(per_token.saturating_mul(1000))
        )?;
        match per_text {
            0 => writeln!(f)?,
            bytes => writeln!(f, " and {} for states", HumanBytes(bytes))?,
        }
        for Skipped { name, tensors } in &self.skipped {
            let plural = if *tensors == 1 { "" } else { "s" };
            writeln!(f, "not loaded     {name}: {tensors} tensor{plural}")?;
        }
        for table in &self.tables {
            writeln!(f, "not in memory  {table}: rows are read from the file")?;
        }
        for AdapterDescription { path, tensors } in &self.adapters {
            let path = path.display();
            writeln!(f, "adapter        {path}: changes {tensors} tensors")?;
        }
        for draft in &self.drafts {
            writeln!(f, "draft          {draft}")?;
        }
        for file in &self.files {
            writeln!(f, "file           {}", file.display())?;
        }
        Ok(())
    }
}

impl fmt::Display for DraftDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, &self.misfit) {
            (None, _) => write!(f, "{}, a layer of the model itself", self.kind),
            (Some(path), None) => write!(f, "{}, {}", self.kind, path.display()),
            (Some(path), Some(misfit)) => write!(f, "{} can't be used: {misfit}", path.display()),
        }
    }
}
