//! Checks that what is written out of the declarations of settings and statistics elsewhere agrees with them: stubs and docs.
//! `SPECDEC_UPDATE=1 cargo test --features python --lib generated` writes it anew.

use std::fmt::Write;
use std::path::Path;

use pyo3::prelude::*;

use super::config::{TYPES, default_texts, parameters};
use super::generation::Stats;
use crate::settings::{Choice, DraftKind, ModelSetting, Range, Verification};
use crate::speculation::registry;

/// Longest line of a stub, as the formatter has it.
const LINE: usize = 100;

/// `NAME: TypeAlias = Literal[...]`.
fn literal<T: Choice>(name: &str) -> String {
    let names: Vec<String> = T::names().iter().map(|name| format!("{name:?}")).collect();
    let line = format!("{name}: TypeAlias = Literal[{}]\n", names.join(", "));
    if line.trim_end().len() <= LINE {
        return line;
    }
    format!(
        "{name}: TypeAlias = Literal[\n    {},\n]\n",
        names.join(",\n    ")
    )
}

fn choices() -> String {
    literal::<DraftKind>("_Draft") + &literal::<Verification>("_Verification")
}

/// The settings as keywords of a call: those that are not given are the config's.
fn keywords() -> String {
    let fields = parameters().zip(TYPES);
    fields.fold(String::new(), |text, (parameter, (argument, _))| {
        let name = parameter.setting.name;
        text + &format!("        {name}: {} = ...,\n", optional(name, argument))
    })
}

/// A type of a setting: None is the model's default.
fn optional(name: &str, kind: &str) -> String {
    match ModelSetting::named(name).is_some() {
        true => format!("{kind} | None"),
        false => kind.to_owned(),
    }
}

fn constructor(defaults: &[String]) -> String {
    let mut text = "    def __new__(\n        cls,\n".to_owned();
    let mut positional = true;
    for ((parameter, (argument, _)), default) in parameters().zip(TYPES).zip(defaults) {
        if positional && !parameter.positional {
            text += "        *,\n";
            positional = false;
        }
        let default = default.replace('\'', "\"");
        let name = parameter.setting.name;
        let argument = optional(name, argument);
        let _ = writeln!(text, "        {name}: {argument} = {default},");
    }
    text + "    ) -> Self: ...\n"
}

fn property(name: &str, kind: &str, doc: &str) -> String {
    let doc = doc.trim();
    format!("    @property\n    def {name}(self) -> {kind}:\n        \"\"\"{doc}\"\"\"\n\n")
}

fn getters() -> String {
    let getters = parameters().zip(TYPES);
    getters
        .map(|(parameter, (_, kind))| {
            let name = parameter.setting.name;
            property(name, &optional(name, kind), parameter.setting.doc())
        })
        .collect()
}

fn table(defaults: &[String]) -> String {
    let mut text = "| setting | default | range | meaning |\n|---|---|---|---|\n".to_owned();
    for (parameter, default) in parameters().zip(defaults) {
        let setting = parameter.setting;
        let range = match setting.range {
            Range::Any => String::new(),
            range => range.to_string(),
        };
        let default = match ModelSetting::named(setting.name) {
            Some(setting) => format!("the model's, or `{}`", setting.shown_default()),
            None => format!("`{}`", default.replace('\'', "\"")),
        };
        let (name, doc) = (setting.name, setting.doc());
        let _ = writeln!(text, "| `{name}` | {default} | {range} | {doc} |");
    }
    text
}

/// The draft sources that a request may ask for.
fn drafts() -> String {
    let sources = registry::sources().into_iter();
    let named = sources.filter(|(kind, _)| kind.name().parse::<DraftKind>().is_ok());
    let rows = named.map(|(kind, source)| (kind.name(), source.description));
    let rows = rows.chain([("none", "nothing: plain decoding")]);
    let text = "| `draft` | proposes |\n|---|---|\n".to_owned();
    rows.fold(text, |text, (name, description)| {
        text + &format!("| \"{name}\" | {description} |\n")
    })
}

/// Compares a file's sections between two lines that name them with what they should be, or writes them.
fn check(file: &str, section: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let (mut written, mut inside, mut count) = (String::new(), false, 0);
    for line in text.split_inclusive('\n') {
        let is_marker = |kind| line.contains(&format!("{kind} generated: {section}"));
        inside &= !is_marker("end");
        if !inside {
            written += line;
        }
        if is_marker("begin") {
            written += expected;
            (inside, count) = (true, count + 1);
        }
    }
    assert!(count > 0 && !inside, "{file} has no sections {section:?}");
    if written == text {
        return;
    }
    if std::env::var_os("SPECDEC_UPDATE").is_some() {
        std::fs::write(&path, written).unwrap();
        return;
    }
    panic!(
        "{file} is not as the declarations say: SPECDEC_UPDATE=1 cargo test --features python --lib generated\n{expected}"
    );
}

#[test]
fn stubs_and_docs_are_as_declared() {
    const STUBS: &str = "python/specdec_rs/_core.pyi";
    Python::initialize();
    let defaults = Python::attach(default_texts).unwrap();
    check(STUBS, "choices", &choices());
    check(STUBS, "keywords", &keywords());
    check(STUBS, "constructor", &constructor(&defaults));
    check(STUBS, "settings", &getters());
    let stats = Stats::PROPERTIES.iter();
    let stats: String = stats
        .map(|(name, kind, doc)| property(name, kind, doc))
        .collect();
    check(STUBS, "statistics", &stats);
    check("docs/guide.md", "settings", &table(&defaults));
    check("docs/guide.md", "drafts", &drafts());
}
