//! Lets the target write the texts that a head learns from: questions, and its answers.

use super::questions::{self, MAX_QUESTION};
use super::texts::{Text, Texts};
use super::{Observer, Settings};
use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::error::{Error, Result};
use crate::settings::SpeculativeConfig;

/// The most questions of a round.
const ROUND: usize = 64;

/// One question in so many is a task over an earlier answer.
const TASK_EVERY: usize = 10;

/// The longest answer, in tokens.
const MAX_ANSWER: usize = 256;

/// Tasks over an answer.
const TASKS: [&str; 5] = [
    "Summarize this text in two sentences:",
    "Translate this text into German:",
    "Correct the spelling and grammar of this text, and repeat it whole:",
    "Rewrite this text for a child:",
    "Answer in one sentence what this text is about:",
];

/// Lets the target write until its answers have as many tokens as the settings ask for.
pub(super) fn write(
    decoder: &SpeculativeDecoder,
    texts: &mut Texts,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<()> {
    let context_length = decoder.info().context_length;
    let longest = MAX_ANSWER.min(context_length / 2);
    while texts.answered() < settings.tokens {
        let before = texts.answered();
        observer.generated(before)?;
        let round = (settings.tokens - before).div_ceil(MAX_ANSWER).min(ROUND);
        let asked = ask(decoder, texts, settings, round, observer)?;
        let prompts = asked.iter().map(|question| {
            let prompt = questions::prompt(decoder, question)?;
            decoder.prompt_tokens(prompt)
        });
        let mut prompts = prompts.collect::<Result<Vec<_>>>()?;
        prompts.retain(|prompt| prompt.len() + longest <= context_length);
        let seeds = seeds(texts, settings);
        let requests = prompts.into_iter().zip(seeds).enumerate();
        let requests = requests.map(|(index, (prompt, seed))| {
            // Half of the answers are greedy.
            let config = match index % 2 {
                0 => greedy(longest),
                _ => sampled(0.8, seed, longest),
            };
            (prompt, config)
        });
        for text in run(decoder, requests.collect(), observer)? {
            texts.add(text)?;
        }
        if texts.answered() == before {
            let reason =
                "the target answers nothing to its own questions: give questions (--prompts)";
            return Err(Error::Compute(reason.into()));
        }
    }
    observer.generated(settings.tokens)
}

/// The target's greedy answers to these prompts.
pub(super) fn judges(
    decoder: &SpeculativeDecoder,
    prompts: &[Prompt],
    observer: &dyn Observer,
) -> Result<Vec<Text>> {
    let requests = prompts.iter().map(|prompt| {
        let tokens = decoder.prompt_tokens(prompt.clone())?;
        Ok((tokens, greedy(MAX_ANSWER)))
    });
    run(decoder, requests.collect::<Result<_>>()?, observer)
}

/// So many questions: the user's next ones, or, after the last, some that the target writes.
fn ask(
    decoder: &SpeculativeDecoder,
    texts: &Texts,
    settings: &Settings,
    round: usize,
    observer: &dyn Observer,
) -> Result<Vec<String>> {
    let users = settings.questions.iter().skip(texts.all().len());
    let users: Vec<String> = users.take(round).cloned().collect();
    if !users.is_empty() {
        return Ok(users);
    }
    let start = decoder.prompt_tokens(questions::start(decoder)?)?;
    let longest = MAX_QUESTION.min(decoder.info().context_length / 4);
    let seeds = seeds(texts, settings).take(round);
    let requests = seeds.map(|seed| (start.clone(), sampled(1.0, !seed, longest)));
    let written = run(decoder, requests.collect(), observer)?;
    let tokenizer = decoder.tokenizer();
    let questions = written
        .iter()
        .map(|text| tokenizer.decode(text.answer(), true));
    let mut questions = questions.collect::<Result<Vec<_>>>()?;
    set_tasks(decoder, texts, &mut questions)?;
    Ok(questions)
}

/// A seed for each text to come.
fn seeds(texts: &Texts, settings: &Settings) -> impl Iterator<Item = u64> + use<> {
    let first = settings.seed.wrapping_mul(1 << 32);
    (texts.all().len() as u64..).map(move |text| first.wrapping_add(text))
}

fn greedy(max_new_tokens: usize) -> SpeculativeConfig {
    SpeculativeConfig {
        temperature: 0.0,
        max_new_tokens,
        ..SpeculativeConfig::default()
    }
}

fn sampled(temperature: f64, seed: u64, max_new_tokens: usize) -> SpeculativeConfig {
    SpeculativeConfig {
        temperature,
        top_p: 0.95,
        seed: Some(seed),
        max_new_tokens,
        ..SpeculativeConfig::default()
    }
}

/// Generates what follows these prompts, with these settings.
fn run(
    decoder: &SpeculativeDecoder,
    requests: Vec<(Vec<u32>, SpeculativeConfig)>,
    observer: &dyn Observer,
) -> Result<Vec<Text>> {
    let prompts: Vec<Vec<u32>> = requests.iter().map(|(prompt, _)| prompt.clone()).collect();
    let requests = requests.into_iter();
    let requests = requests.map(|(prompt, config)| (Prompt::Tokens(prompt), config.into()));
    let mut batch = decoder.batch_of(requests)?;
    while batch.step()? {
        observer.check()?;
    }
    let generations = batch.into_generations()?;
    let texts = prompts
        .into_iter()
        .zip(generations)
        .map(|(mut tokens, generation)| {
            let prompt = tokens.len();
            tokens.extend(generation.token_ids());
            Text { prompt, tokens }
        });
    Ok(texts.collect())
}

/// Replaces some questions by tasks over the last answers.
fn set_tasks(decoder: &SpeculativeDecoder, texts: &Texts, asked: &mut [String]) -> Result<()> {
    let answers = texts.all().iter().rev();
    let asked = asked.iter_mut().step_by(TASK_EVERY);
    for (index, (question, text)) in asked.zip(answers).enumerate() {
        let task = TASKS[(texts.all().len() + index) % TASKS.len()];
        let answer = decoder.tokenizer().decode(text.answer(), true)?;
        *question = format!("{task}\n\n{answer}");
    }
    Ok(())
}
