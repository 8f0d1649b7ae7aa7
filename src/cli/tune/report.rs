//! What `specdec tune` found: a table of what was measured, and the profile that follows from it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::Place;
use crate::cli::profile::Profile;
use crate::error::Result;
use crate::settings::DraftKind;
use crate::tune::{MIN_GAIN, MIN_TOKENS, Setting, Trial, Trials};

/// What was measured with one draft model, or without.
pub(in crate::cli) struct Group {
    /// The model, as a profile names it.
    pub(in crate::cli) model: Option<String>,
    /// The n-gram table, as a profile names it.
    pub(in crate::cli) table: Option<PathBuf>,
    pub(in crate::cli) trials: Trials,
}

/// All trials, and what follows from them.
#[derive(Serialize)]
pub(in crate::cli) struct Report {
    /// Plain decoding, the default, and all others.
    trials: Vec<Row>,
    /// Tokens of text in each repeat.
    tokens: usize,
    /// The settings that are worth a profile; none if the default is as good.
    pub(in crate::cli) best: Option<Profile>,
    /// Where the profile is saved.
    profile: Option<PathBuf>,
    /// The profile that is removed, because it is no longer justified.
    pub(super) removed: Option<PathBuf>,
    /// The result in words.
    conclusion: String,
}

/// A trial, with the draft model and the table that were loaded for it.
#[derive(Serialize)]
struct Row {
    model: Option<String>,
    table: Option<PathBuf>,
    #[serde(flatten)]
    trial: Trial,
}

impl Group {
    /// A trial as a profile.
    fn profile(&self, trial: &Trial) -> Profile {
        let Setting { draft, gamma } = trial.setting;
        Profile {
            model: self.model.clone().filter(|_| reads_model(draft)),
            draft,
            gamma,
            table: self.table.clone().filter(|_| reads_table(draft)),
            speedup: trial.speedup,
        }
    }

    /// The settings that were tried besides plain decoding and the default.
    fn rows(&self) -> impl Iterator<Item = Row> {
        let rows = self.trials.candidates.iter();
        rows.map(|trial| Row {
            model: self.model.clone(),
            table: self
                .table
                .clone()
                .filter(|_| reads_table(trial.setting.draft)),
            trial: trial.clone(),
        })
    }

    /// Whether a profile's settings were tried.
    fn tried(&self, profile: &Profile) -> bool {
        let Trials {
            none,
            auto,
            candidates,
            ..
        } = &self.trials;
        let candidates = candidates.iter().map(|trial| self.profile(trial));
        let without_sources = [none, auto].map(|trial| Profile {
            model: None,
            table: None,
            ..self.profile(trial)
        });
        candidates.chain(without_sources).any(|tried| {
            let same_gamma = tried.gamma == profile.gamma || tried.draft == DraftKind::NONE;
            let same_sources =
                (tried.model, tried.table) == (profile.model.clone(), profile.table.clone());
            tried.draft == profile.draft && same_gamma && same_sources
        })
    }
}

fn reads_model(draft: DraftKind) -> bool {
    [DraftKind::AUTO, DraftKind::MODEL].contains(&draft)
}

fn reads_table(draft: DraftKind) -> bool {
    [DraftKind::AUTO, DraftKind::TABLE].contains(&draft)
}

impl Report {
    /// Of everything that was measured. `existing` is the target's profile; without a `place`, nothing is to be kept.
    pub(in crate::cli) fn new(
        groups: &[Group],
        existing: &Result<Option<Profile>>,
        place: Option<&Place>,
    ) -> Self {
        let winners = groups.iter();
        let winners = winners.filter_map(|group| Some((group, group.trials.winner()?)));
        // Each was measured beside the default: groups are compared by what they gain over it.
        let best =
            winners.max_by(|(_, a), (_, b)| a.speedup_over_auto.total_cmp(&b.speedup_over_auto));
        let file = place.map(|place| place.profile.clone());
        let first = groups.first().map(|group| &group.trials);
        let tokens = first.map_or(0, |trials| trials.tokens);
        let (conclusion, removed) = match best {
            Some((group, trial)) => (faster(&group.profile(trial), trial, file.as_ref()), None),
            None if first.is_some_and(|trials| !trials.suffice()) => {
                (too_little_text(tokens), None)
            }
            None => nothing_faster(groups, existing, file.clone()),
        };
        let best = best.map(|(group, trial)| group.profile(trial));
        let defaults = first.into_iter();
        let defaults = defaults.flat_map(|trials| [&trials.none, &trials.auto]);
        let defaults = defaults.map(|trial| Row {
            model: None,
            table: None,
            trial: trial.clone(),
        });
        Self {
            trials: defaults
                .chain(groups.iter().flat_map(Group::rows))
                .collect(),
            tokens,
            profile: file.filter(|_| best.is_some()),
            best,
            removed,
            conclusion,
        }
    }
}

fn faster(profile: &Profile, trial: &Trial, file: Option<&PathBuf>) -> String {
    let found = format!(
        "fastest: {profile}: {:.2}x auto, {:.2}x plain decoding",
        trial.speedup_over_auto, trial.speedup
    );
    match file {
        Some(file) => format!("{found}\nprofile: {}", file.display()),
        None => found,
    }
}

fn too_little_text(tokens: usize) -> String {
    format!(
        "nothing is kept: {tokens} tokens of text are too few to tell, {MIN_TOKENS} are needed\n\
         (add --prompt or --prompts, raise --max-new-tokens, or pass --ignore-eos)"
    )
}

/// What to say if nothing beats the default; and the existing profile, if it was tried again and is not worth it.
fn nothing_faster(
    groups: &[Group],
    existing: &Result<Option<Profile>>,
    file: Option<PathBuf>,
) -> (String, Option<PathBuf>) {
    let conclusion = "auto is as fast as anything measured: no profile is needed".to_owned();
    let Some(file) = file else {
        return (conclusion, None);
    };
    let shown = file.display();
    match existing {
        Ok(None) => (conclusion, None),
        Ok(Some(profile)) if !groups.iter().any(|group| group.tried(profile)) => {
            let stays = format!("the profile {shown} stays: {profile} was not tried this time");
            (format!("{conclusion}\n{stays}"), None)
        }
        Ok(Some(_)) => {
            let removed = format!("removed the profile {shown}, which is no longer justified");
            (format!("{conclusion}\n{removed}"), Some(file))
        }
        Err(_) => {
            let removed = format!("removed the profile {shown}, which was not valid");
            (format!("{conclusion}\n{removed}"), Some(file))
        }
    }
}

impl Row {
    fn name(&self) -> String {
        let mut name = self.trial.setting.draft.to_string();
        if let Some(model) = &self.model {
            name = format!("{name} with {model}");
        }
        if self.table.is_some() && self.trial.setting.draft == DraftKind::AUTO {
            name += " and table";
        }
        name
    }

    fn line(&self, width: usize) -> String {
        let Trial {
            setting,
            speedup,
            speedup_over_auto,
            tokens_per_second,
            tokens_per_second_range: [slowest, fastest],
            tokens_per_step,
            acceptance_rate,
            ..
        } = self.trial;
        let plain = setting.draft == DraftKind::NONE;
        let drafting = |text: String| if plain { "-".into() } else { text };
        format!(
            "{:<width$} {:>5} {tokens_per_second:>7.1} {slowest:>8.1} {fastest:>8.1} {speedup:>8.2}x {speedup_over_auto:>7.2}x {tokens_per_step:>9.2} {:>9}",
            self.name(),
            drafting(setting.gamma.to_string()),
            drafting(format!("{:.0}%", 100.0 * acceptance_rate)),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.trials.iter().map(|row| row.name().chars().count());
        let width = widths.fold("draft".len(), usize::max);
        writeln!(
            f,
            "{:<width$} gamma   tok/s  slowest  fastest vs. plain vs. auto  tok/step  accepted",
            "draft"
        )?;
        for row in &self.trials {
            writeln!(f, "{}", row.line(width))?;
        }
        let percent = 100.0 * (MIN_GAIN - 1.0);
        writeln!(
            f,
            "\ntok/s: the median of {} repeats of {} tokens each, the slowest and the fastest of them.\n\
             A profile is kept for drafts that are at least {percent:.0}% faster than auto, and faster beyond\n\
             chance: by more than three standard errors, request by request.\n",
            crate::tune::REPEATS,
            self.tokens
        )?;
        f.write_str(&self.conclusion)
    }
}
