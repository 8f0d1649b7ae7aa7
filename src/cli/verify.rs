//! `specdec verify`: is speculation lossless with these models, on this machine?

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::answer::write_json;
use super::failure::{Failure, Outcome};
use super::options::{ModelArgs, SamplingArgs, prompt};
use super::{prompts, terminal};
use crate::audit::{Audit, AuditReport, Divergence, Identity, LawTest, SourceReport};
use crate::decoder::Stream;
use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::settings::SpeculativeConfig;

const EXAMPLES: &str = "\
Examples:
  specdec verify
  specdec verify --target gpt2-medium --draft gpt2 --temperature 1 --top-p 0.9 --samples 200
  specdec verify --prompts questions.jsonl --json

Exit status: 0 if every promise was kept, 1 if one was broken.";

/// Divergences of one kind that are shown.
const MOST_SHOWN: usize = 5;

/// Test that speculation is lossless: identical texts, and the target's own law
#[derive(clap::Args)]
#[command(
    after_help = EXAMPLES,
    mut_arg("max_new_tokens", |arg| arg.default_value("64")),
    mut_arg("temperature", |arg| arg.default_value("0.8")),
    // Every kind is tested.
    mut_arg("verification", |arg| arg.hide(true)),
)]
pub(super) struct Args {
    /// A prompt; may be given several times [default: three short ones]
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// File of prompts: one a line, as text or as JSON with "prompt" or "turns"
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Sampled texts for each draft source and kind of verification
    #[arg(long, value_name = "N", default_value_t = 32)]
    samples: usize,
    /// Continue the prompts as they are, in place of answering them through the model's chat template
    #[arg(long)]
    raw: bool,
    /// Print JSON in place of the report
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
    let config = SpeculativeConfig {
        // Every source is tried, whatever a profile holds for the fastest.
        draft: None,
        ..args.sampling.config(profile.as_ref())?
    };
    let questions = prompts::of_options(&args.prompt, args.prompts.as_deref())?;
    let decoder = args.models.load(profile.as_ref())?;
    let first = questions.iter().map(|question| &question.turns[0]);
    let prompts = first.map(|text| prompt(&decoder, text, args.raw));
    let prompts: Vec<Prompt> = prompts.collect::<Result<_, _>>()?;
    let bar = terminal::counter("Verifying", 0);
    let watched = bar.clone();
    let audit = Audit::running(decoder.clone(), move |stream: Stream| {
        let generation = stream.run();
        watched.inc(1);
        generation
    });
    bar.set_length(audit.requests(prompts.len(), &config, args.samples) as u64);
    let report = audit.run(&prompts, &config, args.samples)?;
    bar.finish_and_clear();
    if args.json {
        write_json(&report)?;
    } else {
        let text = Shown {
            report: &report,
            decoder: &decoder,
            temperature: config.temperature,
        }
        .text()?;
        io::stdout().lock().write_all(text.as_bytes())?;
    }
    if report.lossless {
        return Ok(());
    }
    Err(Failure::Broken(
        "speculation was not lossless: see the report".into(),
    ))
}

/// A report for people.
struct Shown<'a> {
    report: &'a AuditReport,
    decoder: &'a SpeculativeDecoder,
    temperature: f64,
}

impl Shown<'_> {
    fn text(&self) -> Result<String, Failure> {
        let mut text = String::new();
        let written = self.write(&mut text);
        written
            .map(|()| text)
            .map_err(|error| Failure::Output(io::Error::other(error)))
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
                "rows     {} at once give the same bits as one at a time",
                rows.rows
            )?,
            false => writeln!(
                out,
                "rows     {} at once differ from one at a time by up to {:.2e}: choices closer than that may turn",
                rows.rows, rows.largest_difference
            )?,
        }
        for source in &self.report.sources {
            self.write_source(out, source)?;
        }
        let verdict = match (self.report.lossless, self.by_rounding()) {
            (true, 0) => {
                "lossless: every text is the one that the target writes alone, and samples follow its law"
            }
            (true, _) => {
                "lossless but for rounding: texts part only where the target's own rounding turns a choice"
            }
            (false, _) => "NOT LOSSLESS: a promise was broken",
        };
        writeln!(out, "\nverdict  {verdict}")
    }

    fn by_rounding(&self) -> usize {
        let sources = self.report.sources.iter();
        let identities = sources.flat_map(|source| [Some(&source.greedy), source.seeded.as_ref()]);
        identities
            .flatten()
            .map(|identity| identity.divergences.len())
            .sum()
    }

    fn write_source(&self, out: &mut String, source: &SourceReport) -> std::fmt::Result {
        writeln!(out, "\ndraft    {}", source.draft)?;
        self.write_identity(out, "greedy", &source.greedy)?;
        if let Some(seeded) = &source.seeded {
            self.write_identity(out, "seeded", seeded)?;
        }
        for test in &source.laws {
            write_law(out, test)?;
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
            [] => writeln!(out, "  accepted  nothing was drafted"),
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
        writeln!(out, "  {name}    {same} of {texts} texts identical{at}")?;
        for divergence in identity.divergences.iter().take(MOST_SHOWN) {
            self.write_divergence(out, divergence)?;
        }
        match identity.divergences.len().saturating_sub(MOST_SHOWN) {
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
            None => "its end".to_owned(),
        };
        let (plain, speculative) = (token(divergence.plain), token(divergence.speculative));
        write!(
            out,
            ", token {}: {plain} became {speculative}",
            position + 1
        )?;
        match divergence.margin {
            Some(margin) => write!(out, ", chosen by {margin:.2e}")?,
            None => write!(out, ", which can't be")?,
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

fn write_law(out: &mut String, test: &LawTest) -> std::fmt::Result {
    let found = &test.uniformity;
    let verdict = if found.holds {
        ""
    } else {
        ": NOT the target's law"
    };
    writeln!(
        out,
        "  law       {:<9} {} tokens: chi-squared {:.1} ({} degrees), p = {:.2}; total variation {:.3}, by chance {:.3}{verdict}",
        test.verification.to_string(),
        found.tokens,
        found.chi_squared,
        found.degrees,
        found.p_value,
        found.total_variation,
        found.expected_variation,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::RowInvariance;
    use crate::settings::DraftKind;

    /// The report of a source that wrote something else, as people see it.
    fn shown(rows: RowInvariance, by_rounding: bool) -> String {
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
            divergences: vec![divergence; 7],
        };
        let report = AuditReport {
            lossless: by_rounding,
            rows,
            sources: vec![SourceReport {
                draft: DraftKind::Ngram,
                greedy: Identity {
                    texts: 3,
                    ..Identity::default()
                },
                seeded: Some(seeded),
                laws: Vec::new(),
                drafted_per_position: vec![4, 2],
                accepted_per_position: vec![3, 1],
            }],
        };
        let shown = Shown {
            report: &report,
            decoder: &decoder,
            temperature: 0.5,
        };
        shown.text().unwrap()
    }

    #[test]
    fn a_broken_promise_is_shown_where_it_broke() {
        let rows = RowInvariance {
            rows: 32,
            identical: true,
            largest_difference: 0.0,
            largest_logit: 9.0,
        };
        let text = shown(rows, false);
        for line in [
            "rows     32 at once give the same bits as one at a time",
            "  greedy    3 of 3 texts identical",
            "  seeded    2 of 9 texts identical at temperature 0.5",
            " became its end, which can't be",
            "            and 2 more",
            "  accepted  by position: 75% 50%",
            "verdict  NOT LOSSLESS: a promise was broken",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(text.contains("prompt 3, seed 7, token 5: \""), "{text}");
    }

    #[test]
    fn rounding_is_shown_as_such() {
        let rows = RowInvariance {
            rows: 32,
            identical: false,
            largest_difference: 1e-3,
            largest_logit: 9.0,
        };
        let text = shown(rows, true);
        assert!(
            text.contains("differ from one at a time by up to 1.00e-3"),
            "{text}"
        );
        assert!(text.contains(", chosen by 1.00e-5: rounding\n"), "{text}");
        assert!(
            text.contains("verdict  lossless but for rounding"),
            "{text}"
        );
    }
}
