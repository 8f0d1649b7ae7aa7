//! Chooses the files of a repository that make up the model.

use std::path::Path;

use crate::error::{Error, Result};

/// The files beside the weights of a model in Hugging Face's layout; most models have some of them.
const COMPANIONS: [&str; 10] = [
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];
/// The settings of a LoRA adapter in PEFT's layout, and its weights, in the order of preference.
pub(super) const ADAPTER_CONFIG: &str = "adapter_config.json";
pub(super) const ADAPTER_WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
/// Its presence marks a folder in Hugging Face's layout.
pub(super) const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
/// PyTorch's own file, read where there is no other.
const PICKLED: &str = "pytorch_model.bin";
/// Names the files of sharded weights.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// The same of PyTorch's own.
const PICKLED_INDEX: &str = "pytorch_model.bin.index.json";

/// How the files and folders of draft heads are named that lie beside a model; earlier kinds are preferred.
pub const HEADS: [&str; 4] = ["mtp-", "dflash-", "dspark-", "eagle3-"];

/// The order of preference when the user names no quantization: common ones first, then by closeness to 4 bits.
const PREFERENCE: [&str; 19] = [
    "Q4_K_M", "Q4_1", "Q4_0", "Q8_0", "Q4_K_S", "IQ4_NL", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0",
    "Q6_K", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "BF16", "F16", "FP16", "F32",
];

/// The files that make up a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Hugging Face's layout, the weights in one file.
    Folder(Vec<String>),
    /// Hugging Face's layout, the weights in the files that an index, the last of these, names.
    ShardedFolder(Vec<String>),
    /// A GGUF file in its parts; most have a single one.
    Gguf(Vec<String>),
}

impl Choice {
    /// All files but the shards, which only the index names.
    pub fn files(&self) -> &[String] {
        match self {
            Self::Folder(files) | Self::ShardedFolder(files) | Self::Gguf(files) => files,
        }
    }

    /// The file that names the shards.
    pub fn index(&self) -> Option<&str> {
        match self {
            Self::ShardedFolder(files) => files.last().map(String::as_str),
            Self::Folder(_) | Self::Gguf(_) => None,
        }
    }

    /// The files of the draft head beside the model that is used by itself: of the first kind that is there, in the model's
    /// quantization or the preferred one.
    pub fn head(&self, files: &[String]) -> Vec<String> {
        let first = self.files().first().map_or("", String::as_str);
        if is_head(first) {
            return Vec::new();
        }
        let folder = &first[..first.len() - base(first).len()];
        let beside: Vec<String> = files
            .iter()
            .filter(|file| {
                file.strip_prefix(folder)
                    .is_some_and(|name| !name.contains('/'))
            })
            .filter(|file| is_head(file) && !self.files().contains(file))
            .cloned()
            .collect();
        let variants = gguf_variants(&beside);
        let of_kind = |kind: &&str| {
            let own = variants
                .iter()
                .filter(|parts| base(&parts[0]).to_lowercase().starts_with(*kind));
            let own: Vec<_> = own.cloned().collect();
            (!own.is_empty()).then_some(own)
        };
        let Some(variants) = HEADS.iter().find_map(of_kind) else {
            return Vec::new();
        };
        let own = PREFERENCE.iter().find(|label| is_labelled(first, label));
        let own = own.and_then(|label| choose_gguf("", &variants, Some(label)).ok());
        let preferred = || choose_gguf("", &variants, None).ok();
        own.or_else(preferred).unwrap_or_default()
    }
}

/// Chooses among a repository's files: the GGUF file of that quantization; without one, the model in Hugging Face's
/// layout if there is one, else a GGUF file by preference, else PyTorch's own files. Draft heads are chosen by name, or where
/// there is nothing else.
pub(super) fn choose(model: &str, files: &[String], quantization: Option<&str>) -> Result<Choice> {
    let has = |name: &str| files.iter().any(|file| file == name);
    let companions = || {
        let chosen = COMPANIONS.iter().filter(|name| has(name));
        chosen.map(|name| (*name).to_owned())
    };
    // As in transformers, an adapter goes before a model in the same place.
    let weights = ADAPTER_WEIGHTS.into_iter().find(|name| has(name));
    if let Some(weights) = weights.filter(|_| quantization.is_none() && has(ADAPTER_CONFIG)) {
        let own = [ADAPTER_CONFIG.to_owned(), weights.to_owned()];
        return Ok(Choice::Folder(companions().chain(own).collect()));
    }
    if quantization.is_none() && has(CONFIG) {
        if has(WEIGHTS) {
            return Ok(Choice::Folder(
                companions().chain([WEIGHTS.into()]).collect(),
            ));
        }
        if has(INDEX) {
            return Ok(Choice::ShardedFolder(
                companions().chain([INDEX.into()]).collect(),
            ));
        }
    }
    let (heads, models): (Vec<_>, Vec<_>) = gguf_variants(files)
        .into_iter()
        .partition(|parts| is_head(&parts[0]));
    if quantization.is_some_and(is_head) || (models.is_empty() && quantization.is_some()) {
        if heads.is_empty() {
            return Err(no_weights(model, files, quantization));
        }
        return choose_gguf(model, &heads, quantization).map(Choice::Gguf);
    }
    if !models.is_empty() {
        return choose_gguf(model, &models, quantization).map(Choice::Gguf);
    }
    if has(CONFIG) && has(PICKLED) {
        let files = companions().chain([PICKLED.into()]).collect();
        return Ok(Choice::Folder(files));
    }
    if has(CONFIG) && has(PICKLED_INDEX) {
        let files = companions().chain([PICKLED_INDEX.into()]).collect();
        return Ok(Choice::ShardedFolder(files));
    }
    match heads.is_empty() {
        false => choose_gguf(model, &heads, None).map(Choice::Gguf),
        true => Err(no_weights(model, files, None)),
    }
}

/// Whether a file is named as a draft head.
pub(super) fn is_head(file: &str) -> bool {
    let name = base(file).to_lowercase();
    HEADS.iter().any(|start| name.starts_with(start))
}

/// The last part of a path.
fn base(file: &str) -> &str {
    file.rsplit_once('/').map_or(file, |(_, name)| name)
}

fn no_weights(model: &str, files: &[String], quantization: Option<&str>) -> Error {
    let pickled = |file: &&String| {
        ["bin", "pt", "pth"]
            .iter()
            .any(|end| has_extension(file, end))
    };
    let reason = if let Some(quantization) = quantization {
        format!(
            "it has no GGUF file, so none of quantization {quantization}; name it without \":{quantization}\""
        )
    } else if let Some(file) = files.iter().find(pickled) {
        format!(
            "its weights are pickled under another name than {PICKLED} ({file}); use a revision or a copy with safetensors or GGUF weights"
        )
    } else {
        format!("it has neither {CONFIG} with {WEIGHTS} (or {INDEX}), nor a GGUF file")
    };
    Error::unsupported(model, reason)
}

/// The GGUF models among the files, each with its parts in order; projectors and importance matrices left out.
pub(super) fn gguf_variants(files: &[String]) -> Vec<Vec<String>> {
    let mut files: Vec<&String> = files
        .iter()
        .filter(|file| {
            let name = file.to_lowercase();
            has_extension(&name, "gguf") && !name.contains("mmproj") && !name.contains("imatrix")
        })
        .collect();
    files.sort();
    let mut variants: Vec<Vec<String>> = Vec::new();
    for file in files {
        let split = split_name(file);
        match variants.last_mut() {
            Some(parts) if split.is_some() && split_name(&parts[0]) == split => {
                parts.push(file.clone());
            }
            _ => variants.push(vec![file.clone()]),
        }
    }
    variants
}

/// Whether a file's name has that extension, in upper or lower case.
pub(super) fn has_extension(file: impl AsRef<Path>, kind: &str) -> bool {
    let extension = file.as_ref().extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case(kind))
}

/// The name without `.gguf` and without the number of a part.
fn stem(file: &str) -> &str {
    split_name(file).map_or_else(|| without_extension(file), |(stem, _)| stem)
}

fn without_extension(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

/// What the parts `NAME-00001-of-00003.gguf` of a split file have in common: the name and the number of parts.
fn split_name(file: &str) -> Option<(&str, usize)> {
    let (rest, count) = without_extension(file).rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    number.parse::<usize>().ok()?;
    Some((name, count.parse().ok()?))
}

fn choose_gguf(
    model: &str,
    variants: &[Vec<String>],
    quantization: Option<&str>,
) -> Result<Vec<String>> {
    let matching = |label: &str| -> Vec<&Vec<String>> {
        let of_label = |parts: &&Vec<String>| is_labelled(&parts[0], label);
        variants.iter().filter(of_label).collect()
    };
    let candidates = match quantization {
        Some(label) => matching(label),
        None => PREFERENCE
            .iter()
            .map(|label| matching(label))
            .find(|found| !found.is_empty())
            .unwrap_or_else(|| variants.iter().collect()),
    };
    let listed = |variants: &mut dyn Iterator<Item = &Vec<String>>| {
        let names: Vec<&str> = variants.map(|parts| parts[0].as_str()).collect();
        names.join(", ")
    };
    match candidates.as_slice() {
        [parts] => {
            let expected = split_name(&parts[0]).map_or(1, |(_, count)| count);
            if parts.len() == expected {
                return Ok((*parts).clone());
            }
            Err(Error::not_found(
                model,
                format!("{} has {} of its {expected} parts", parts[0], parts.len()),
            ))
        }
        [] => Err(Error::not_found(
            model,
            format!(
                "there is no GGUF file of quantization {}; there are: {}",
                quantization.unwrap_or_default(),
                listed(&mut variants.iter())
            ),
        )),
        several => Err(Error::not_found(
            model,
            format!(
                "several GGUF files fit; name one, as in \"owner/name:FILE.gguf\": {}",
                listed(&mut several.iter().copied())
            ),
        )),
    }
}

/// Whether the label is a GGUF file's name, a pattern of it, or the quantization at its end.
fn is_labelled(file: &str, label: &str) -> bool {
    let (file, label) = (file.to_lowercase(), label.to_lowercase());
    if matches(label.as_bytes(), file.as_bytes()) {
        return true;
    }
    let stem = stem(&file);
    stem.strip_suffix(&label)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with(['.', '-', '_', '/']))
}

/// Whether a name fits a pattern of a shell: `*` stands for any characters, also `/`, and `?` for one.
fn matches(mut pattern: &[u8], mut name: &[u8]) -> bool {
    // What follows the last `*`, and where the name is tried with it.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, name) {
            ([], []) => return true,
            ([b'*', after @ ..], _) => {
                retry = Some((after, name));
                pattern = after;
            }
            ([wanted, after @ ..], [found, rest @ ..]) if wanted == found || *wanted == b'?' => {
                (pattern, name) = (after, rest);
            }
            _ => match retry {
                Some((after, [_, rest @ ..])) => {
                    retry = Some((after, rest));
                    (pattern, name) = (after, rest);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn gguf(names: &[&str], quantization: Option<&str>) -> String {
        match choose("m", &files(names), quantization) {
            Ok(Choice::Gguf(parts)) => parts.join("+"),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_folder_model_is_its_weights_and_companions() {
        let names = [
            "README.md",
            "config.json",
            "merges.txt",
            "model.safetensors",
            "pytorch_model.bin",
        ];
        assert_eq!(
            choose("m", &files(&names), None).unwrap(),
            Choice::Folder(files(&["config.json", "merges.txt", "model.safetensors"]))
        );
        let names = [
            "config.json",
            "model-00001-of-00002.safetensors",
            INDEX,
            "x.gguf",
        ];
        assert_eq!(
            choose("m", &files(&names), None).unwrap(),
            Choice::ShardedFolder(files(&["config.json", INDEX]))
        );
    }

    #[test]
    fn pickled_weights_are_the_last_choice() {
        let names = ["config.json", "pytorch_model.bin"];
        let folder = Choice::Folder(files(&names));
        assert_eq!(choose("m", &files(&names), None).unwrap(), folder);
        let sharded = [
            "config.json",
            PICKLED_INDEX,
            "pytorch_model-00001-of-00001.bin",
        ];
        let chosen = choose("m", &files(&sharded), None).unwrap();
        assert_eq!(chosen.index(), Some(PICKLED_INDEX));
        assert_eq!(
            gguf(&["config.json", "pytorch_model.bin", "m.gguf"], None),
            "m.gguf"
        );
        let error = choose("m", &files(&["config.json", "consolidated.00.pth"]), None).unwrap_err();
        assert!(matches!(error, Error::UnsupportedModel { .. }));
        assert!(error.to_string().contains("consolidated.00.pth"), "{error}");
    }

    #[test]
    fn heads_lie_beside_a_model_and_are_chosen_by_name() {
        let names = [
            "M-Q4_K_M.gguf",
            "M-Q8_0.gguf",
            "mtp-M-Q8_0.gguf",
            "mtp-M-Q4_0.gguf",
            "eagle3-M-Q4_K_M.gguf",
            "other/mtp-M-Q4_K_M.gguf",
        ];
        let names = files(&names);
        let chosen = choose("m", &names, None).unwrap();
        assert_eq!(chosen.files(), ["M-Q4_K_M.gguf"]);
        assert_eq!(chosen.head(&names), ["mtp-M-Q4_0.gguf"]);
        let chosen = choose("m", &names, Some("Q8_0")).unwrap();
        assert_eq!(chosen.files(), ["M-Q8_0.gguf"]);
        assert_eq!(chosen.head(&names), ["mtp-M-Q8_0.gguf"]);
        let named = choose("m", &names, Some("eagle3-M-Q4_K_M.gguf")).unwrap();
        assert_eq!(named.files(), ["eagle3-M-Q4_K_M.gguf"]);
        assert!(named.head(&names).is_empty());
        let alone = choose("m", &names[2..4], None).unwrap();
        assert_eq!(alone.files(), ["mtp-M-Q4_0.gguf"]);
        assert!(alone.head(&names[2..4]).is_empty());
        let alone = choose("m", &names[2..4], Some("Q8_0")).unwrap();
        assert_eq!(alone.files(), ["mtp-M-Q8_0.gguf"]);
        // A head is no model of its quantization.
        let missing = choose("m", &names[1..4], Some("Q4_0")).unwrap_err();
        assert!(
            missing.to_string().contains("there are: M-Q8_0.gguf"),
            "{missing}"
        );
        let pickled = [
            names[2].clone(),
            "config.json".into(),
            "pytorch_model.bin".into(),
        ];
        let chosen = choose("m", &pickled, None).unwrap();
        assert_eq!(chosen.files(), ["config.json", "pytorch_model.bin"]);
    }

    #[test]
    fn quantizations_are_found_in_every_style_of_name() {
        let names = [
            "M.Q4_0.gguf",
            "m-q4_k_m.gguf",
            "m_iq4_nl.gguf",
            "sub/Q8_0.gguf",
            "mmproj-Q8_0.gguf",
        ];
        assert_eq!(gguf(&names, Some("Q4_0")), "M.Q4_0.gguf");
        assert_eq!(gguf(&names, Some("q4_K_M")), "m-q4_k_m.gguf");
        assert_eq!(gguf(&names, Some("IQ4_NL")), "m_iq4_nl.gguf");
        assert_eq!(gguf(&names, Some("Q8_0")), "sub/Q8_0.gguf");
        assert_eq!(gguf(&names, Some("M.Q4_0.gguf")), "M.Q4_0.gguf");
        assert_eq!(gguf(&names, None), "m-q4_k_m.gguf");
        let missing = gguf(&names, Some("Q2_K"));
        assert!(
            missing.contains("Q2_K") && missing.contains("m_iq4_nl.gguf"),
            "{missing}"
        );
    }

    #[test]
    fn a_pattern_names_a_file() {
        let names = ["M.Q4_0.gguf", "m-q4_k_m.gguf", "sub/M-Q8_0.gguf"];
        assert_eq!(gguf(&names, Some("*Q4_K_M.gguf")), "m-q4_k_m.gguf");
        assert_eq!(gguf(&names, Some("*q4_?.gguf")), "M.Q4_0.gguf");
        assert_eq!(gguf(&names, Some("*Q8*")), "sub/M-Q8_0.gguf");
        assert!(gguf(&names, Some("*.gguf")).contains("several"));
        assert!(gguf(&names, Some("*Q2*.gguf")).contains("no GGUF file"));
        for (pattern, name, fits) in [
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("**", "ü", true),
            ("*a", "aaab", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                fits,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn without_a_known_quantization_a_single_file_is_chosen_and_several_are_listed() {
        assert_eq!(gguf(&["config.json", "odd.gguf"], None), "odd.gguf");
        let several = gguf(&["a.gguf", "b.gguf"], None);
        assert!(several.contains("a.gguf, b.gguf"), "{several}");
        let two = gguf(&["x-Q4_0.gguf", "y-Q4_0.gguf"], Some("Q4_0"));
        assert!(two.contains("several"), "{two}");
    }

    #[test]
    fn split_files_are_chosen_whole() {
        let names = [
            "m-Q4_0-00002-of-00002.gguf",
            "m-Q4_0-00001-of-00002.gguf",
            "m-Q8_0-00001-of-00002.gguf",
        ];
        assert_eq!(
            gguf(&names, Some("Q4_0")),
            "m-Q4_0-00001-of-00002.gguf+m-Q4_0-00002-of-00002.gguf"
        );
        assert!(gguf(&names, Some("Q8_0")).contains("1 of its 2 parts"));
    }

    #[test]
    fn unusual_names_do_not_panic() {
        for name in [
            ".gguf",
            "-of-.gguf",
            "-1-of-1.gguf",
            "ü-of-ü.gguf",
            "gguf",
            "ü.GGUF",
        ] {
            let _ = gguf(&[name], None);
            let _ = gguf(&[name], Some("ü"));
        }
    }
}
