//! `specdec verify`: tests that speculation is lossless with these models on this machine.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::answer::write_json;
use super::error::{CliError, Outcome};
use super::options::{ModelArgs, SamplingArgs, prompt, with_default};
use super::{prompts, terminal};
use crate::decoder::Stream;
use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::evaluation::audit::{
    Audit, AuditReport, DistributionTest, Divergence, Identity, SourceReport,
};
use crate::settings::{DraftKind, SpeculativeConfig};

const EXAMPLES: &str = "\
Examples:
  specdec verify
  specdec verify --target gpt2-medium --draft gpt2 --temperature 1
  specdec verify --prompts prompts.jsonl --json

Exit status: 0 if speculation is lossless, 1 if a test failed or nothing was tested.";

/// The most columns of the report's longer lines.
const WIDTH: usize = 80;

/// How many divergences of one kind the report shows.
const MAX_SHOWN: usize = 5;

/// Test that speculation is lossless: identical texts, and the target's distribution
#[derive(clap::Args)]
#[command(
    after_help = EXAMPLES,
    mut_arg("max_new_tokens", |arg| with_default(arg, "64")),
    mut_arg("temperature", |arg| with_default(arg, "0.8")),
    // Nothing is cut off: a sampler's mistake may show in rare tokens alone.
    mut_arg("top_k", |arg| with_default(arg, "0")),
    mut_arg("top_p", |arg| with_default(arg, "1")),
    mut_arg("min_p", |arg| with_default(arg, "0")),
    // Every kind of verification is tested.
    mut_arg("verification", |arg| arg.hide(true)),
)]
pub(super) struct Args {
    /// A prompt; can be repeated [default: three short prompts]
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// File of prompts, one per line: text, or JSON with "prompt" or "turns"
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Sampled texts per draft source and kind of verification
    #[arg(long, value_name = "N", default_value_t = 32)]
    samples: usize,
    /// Continue the prompts as they are, without the model's chat template
    #[arg(long)]
    raw: bool,
    /// Print JSON instead of the report
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    models: ModelArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let profile = args.models.profile(args.sampling.prediction.as_deref())?;
    let config = args.sampling.config(profile.as_ref())?;
    let conversations = prompts::from_options(&args.prompt, args.prompts.as_deref())?;
    let decoder = args.models.load(profile.as_ref(), &config)?;
    let named = args.models.draft.as_deref();
    let config = SpeculativeConfig {
        // Every source is tested, and not only the one in the profile, unless the user names one.
        draft: named.and_then(|draft| draft.parse::<DraftKind>().ok()),
        ..args.sampling.of_model(config, &decoder)
    };
    let first = conversations
        .iter()
        .map(|conversation| &conversation.turns[0]);
    let prompts = first.map(|text| prompt(&decoder, text, args.raw));
    let prompts: Vec<Prompt> = prompts.collect::<Result<_, _>>()?;
    let bar = terminal::counter("Verifying", 0);
    let counted = bar.clone();
    let audit = Audit::running(decoder.clone(), move |stream: Stream| {
        let generation = stream.run();
        counted.inc(1);
        generation
    });
    bar.set_length(audit.requests(prompts.len(), &config, args.samples) as u64);
    let report = audit.run(&prompts, &config, args.samples)?;
    bar.finish_and_clear();
    if args.json {
        write_json(&report)?;
    } else {
        let text = TextReport {
            report: &report,
            decoder: &decoder,
            temperature: config.temperature,
            coloured: terminal::colours(&io::stdout()),
        }
        .text()?;
        io::stdout().lock().write_all(text.as_bytes())?;
    }
    if report.lossless {
        return Ok(());
    }
    let broken = [report.greedy, report.seeded, report.distribution].contains(&Some(false));
    let message = match broken {
        true => "speculation was not lossless: see the report",
        false => {
            "nothing was tested, because no token was drafted for these texts: add prompts, raise --max-new-tokens, or draft in every step with --fixed"
        }
    };
    Err(CliError::NotLossless(message.into()))
}

/// A report as text.
struct TextReport<'a> {
    report: &'a AuditReport,
    decoder: &'a SpeculativeDecoder,
    temperature: f64,
    /// Whether the verdict is coloured.
    coloured: bool,
}

impl TextReport<'_> {
    fn text(&self) -> Result<String, CliError> {
        let mut text = String::new();
        let written = self.write(&mut text);
        written
            .map(|()| text)
            .map_err(|error| CliError::Output(io::Error::other(error)))
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let info = self.decoder.info();
        writeln!(
            out,
            "target   {}, {} parameters, {}, on {} ({})",
            info.architecture, info.parameters, info.quantization, info.device, info.kernels
        )?;
        let rows = &self.report.rows;
        match rows.identical {
            true => writeln!(
                out,
                "rows     {} per forward pass give the same bits as one per pass",
                rows.rows
            )?,
            false => writeln!(
                out,
                "rows     {} per forward pass differ from one per pass by up to {:.2e},\n         \
                 which can flip closer choices",
                rows.rows, rows.largest_difference
            )?,
        }
        for source in &self.report.sources {
            self.write_source(out, source)?;
        }
        self.write_verdict(out)
    }

    fn write_verdict(&self, out: &mut String) -> std::fmt::Result {
        let verdict = &self.report.verdict;
        let summary = match self.coloured {
            true => format!("\u{1b}[1;{}m{}\u{1b}[0m", self.colour(), verdict.summary),
            false => verdict.summary.clone(),
        };
        writeln!(out, "\nverdict  {summary}")?;
        for (name, text) in [
            ("greedy", &verdict.greedy),
            ("seeded", &verdict.seeded),
            ("sampled", &verdict.distribution),
        ] {
            writeln!(out, "  {name:<9} {}", wrapped(text, 12))?;
        }
        Ok(())
    }

    /// Red for a broken promise, yellow where something was not tested, else green.
    fn colour(&self) -> u8 {
        let AuditReport {
            greedy,
            seeded,
            distribution,
            ..
        } = self.report;
        let promises = [greedy, seeded, distribution];
        if promises.contains(&&Some(false)) {
            31
        } else if promises.contains(&&None) {
            33
        } else {
            32
        }
    }

    fn write_source(&self, out: &mut String, source: &SourceReport) -> std::fmt::Result {
        writeln!(out, "\ndraft    {}", source.draft)?;
        self.write_identity(out, "greedy", &source.greedy)?;
        match &source.seeded {
            Some(seeded) => self.write_identity(out, "seeded", seeded)?,
            None => writeln!(out, "  sampled   not tested: nothing was sampled")?,
        }
        for test in &source.distributions {
            write_distribution(out, test)?;
        }
        let positions = source
            .drafted_per_position
            .iter()
            .zip(&source.accepted_per_position);
        let rates: Vec<String> = positions
            .map(|(drafted, accepted)| {
                format!("{:.0}%", 100.0 * *accepted as f64 / *drafted as f64)
            })
            .collect();
        match &rates[..] {
            [] => writeln!(out, "  accepted  no drafts"),
            rates => writeln!(out, "  accepted  by position: {}", rates.join(" ")),
        }
    }

    fn write_identity(
        &self,
        out: &mut String,
        name: &str,
        identity: &Identity,
    ) -> std::fmt::Result {
        let at = match name {
            "seeded" => format!(" at temperature {}", self.temperature),
            _ => String::new(),
        };
        let (same, texts) = (identity.identical(), identity.texts);
        write!(out, "  {name}    {same} of {texts} texts identical{at}")?;
        match identity.drafted {
            0 => writeln!(out, ", but nothing was drafted: not tested")?,
            _ => writeln!(out)?,
        }
        for divergence in identity.divergences.iter().take(MAX_SHOWN) {
            self.write_divergence(out, divergence)?;
        }
        match identity.divergences.len().saturating_sub(MAX_SHOWN) {
            0 => Ok(()),
            more => writeln!(out, "            and {more} more"),
        }
    }

    fn write_divergence(&self, out: &mut String, divergence: &Divergence) -> std::fmt::Result {
        let Divergence {
            prompt, position, ..
        } = divergence;
        write!(out, "            prompt {}", prompt + 1)?;
        if let Some(seed) = divergence.seed {
            write!(out, ", seed {seed}")?;
        }
        let token = |id: Option<u32>| match id {
            Some(id) => format!(
                "{:?}",
                self.decoder.tokenizer().token(id).unwrap_or_default()
            ),
            None => "the end".to_owned(),
        };
        let (plain, speculative) = (token(divergence.plain), token(divergence.speculative));
        write!(
            out,
            ", token {}: {plain} became {speculative}",
            position + 1
        )?;
        match divergence.margin {
            Some(margin) => write!(out, ", margin {margin:.2e}")?,
            None => write!(out, ", which has probability 0")?,
        }
        writeln!(
            out,
            "{}",
            if divergence.by_rounding {
                ": rounding"
            } else {
                ""
            }
        )
    }
}

fn write_distribution(out: &mut String, test: &DistributionTest) -> std::fmt::Result {
    let name = test.verification.to_string();
    let found = &test.uniformity;
    let verdict = match found.holds {
        None => {
            let reason = test.untested_reason();
            return writeln!(out, "  sampled   {name:<9} not tested: {reason}");
        }
        Some(true) => "",
        Some(false) => "NOT the target's distribution: ",
    };
    let p_value = match found.p_value {
        small if small < 0.01 => format!("{small:.0e}"),
        p_value => format!("{p_value:.2}"),
    };
    let text = format!(
        "{verdict}{} tokens, p = {p_value}, variation {:.3} ({:.3} expected)",
        found.tokens, found.total_variation, found.expected_variation,
    );
    writeln!(out, "  sampled   {name:<9} {}", wrapped(&text, 22))
}

/// A text in lines of at most [`WIDTH`] columns, all but the first indented.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(line) if last == 0 => line.push_str(word),
            Some(line) if indent + last + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join(&format!("\n{:indent$}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::audit::{BatchInvariance, Verdict};
    use crate::settings::DraftKind;

    /// The text report of a source with divergences.
    fn text_report(rows: BatchInvariance, by_rounding: bool) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pair/target");
        let decoder = SpeculativeDecoder::new(folder, "none", None).unwrap();
        let divergence = Divergence {
            prompt: 2,
            seed: Some(7),
            position: 4,
            plain: Some(300),
            speculative: None,
            margin: by_rounding.then_some(1e-5),
            by_rounding,
        };
        let seeded = Identity {
            texts: 9,
            drafted: 6,
            divergences: vec![divergence; 7],
        };
        let report = AuditReport {
            lossless: by_rounding,
            greedy: Some(true),
            seeded: Some(by_rounding),
            distribution: None,
            verdict: Verdict {
                summary: "the summary".into(),
                greedy: "the greedy texts".into(),
                ..Verdict::default()
            },
            rows,
            sources: vec![SourceReport {
                draft: DraftKind::NGRAM,
                greedy: Identity {
                    texts: 3,
                    ..Identity::default()
                },
                seeded: Some(seeded),
                distributions: Vec::new(),
                drafted_per_position: vec![4, 2],
                accepted_per_position: vec![3, 1],
            }],
        };
        let report = TextReport {
            report: &report,
            decoder: &decoder,
            temperature: 0.5,
            coloured: !by_rounding,
        };
        report.text().unwrap()
    }

    #[test]
    fn a_divergence_is_shown_with_its_position() {
        let rows = BatchInvariance {
            rows: 32,
            identical: true,
            largest_difference: 0.0,
            largest_logit: 9.0,
        };
        let text = text_report(rows, false);
        for line in [
            "rows     32 per forward pass give the same bits as one per pass",
            "  greedy    3 of 3 texts identical, but nothing was drafted: not tested",
            "  seeded    2 of 9 texts identical at temperature 0.5",
            " became the end, which has probability 0",
            "            and 2 more",
            "  accepted  by position: 75% 50%",
            "verdict  \u{1b}[1;31mthe summary\u{1b}[0m\n  greedy    the greedy texts\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(text.contains("prompt 3, seed 7, token 5: \""), "{text}");
    }

    #[test]
    fn rounding_is_named_as_the_cause() {
        let rows = BatchInvariance {
            rows: 32,
            identical: false,
            largest_difference: 1e-3,
            largest_logit: 9.0,
        };
        let text = text_report(rows, true);
        assert!(
            text.contains("differ from one per pass by up to 1.00e-3"),
            "{text}"
        );
        assert!(text.contains(", margin 1.00e-5: rounding\n"), "{text}");
        assert!(
            text.contains("verdict  the summary\n") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
    #[test]
    fn long_texts_are_broken_between_words() {
        let text = wrapped(&"word ".repeat(40), 12);
        let mut lines = text.lines();
        assert!(lines.next().unwrap().starts_with("word word"));
        assert!(lines.clone().count() > 1);
        assert!(lines.all(|line| line.starts_with("            word") && line.len() <= WIDTH));
    }
}
