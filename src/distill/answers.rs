//! Lets the target generate the texts that a head learns from: questions, and its answers.

use super::questions::{self, MAX_QUESTION};
use super::texts::{Text, Texts};
use super::{Observer, Settings};
use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::error::{Error, Result};
use crate::settings::SpeculativeConfig;

/// The most questions of a round.
const ROUND: usize = 64;

/// Rounds without an answer after which there will be none.
const MAX_EMPTY_ROUNDS: usize = 8;

/// One question in so many is a task over an earlier answer. (An odd number: half of them are answered greedily.)
const TASK_EVERY: usize = 11;

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

/// A question to the target.
struct Question {
    text: String,
    is_users: bool,
}

/// A prompt, and how it is continued.
struct Task {
    prompt: Vec<u32>,
    config: SpeculativeConfig,
}

/// Lets the target generate until its answers have as many tokens as the settings ask for.
pub(super) fn generate(
    decoder: &SpeculativeDecoder,
    texts: &mut Texts,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<()> {
    let context_length = decoder.info().context_length;
    let longest = MAX_ANSWER.min(context_length / 2);
    let mut empty_rounds = 0;
    while texts.answered() < settings.tokens {
        let before = texts.answered();
        observer.generated(before)?;
        let round = (settings.tokens - before).div_ceil(MAX_ANSWER).min(ROUND);
        let questions = ask(decoder, texts, settings, round, observer)?;
        let numbers = texts.all().len()..;
        let tasks = numbers.zip(&questions).map(|(number, question)| {
            let prompt = questions::prompt(decoder, &question.text)?;
            let prompt = decoder.prompt_tokens(prompt)?;
            let room = context_length.saturating_sub(prompt.len());
            // Half of the answers are greedy.
            let config = match number % 2 {
                0 => greedy(longest),
                _ => sampled(0.8, settings.seed, number, longest),
            };
            Ok((room >= longest).then_some(Task { prompt, config }))
        });
        let tasks = tasks.collect::<Result<Vec<_>>>()?;
        let fit: Vec<bool> = tasks.iter().map(Option::is_some).collect();
        let tasks = tasks.into_iter().flatten().collect();
        let mut generated = run(decoder, tasks, observer)?.into_iter();
        for (question, fits) in questions.into_iter().zip(fit) {
            // A question that is too long stays without an answer.
            let text = if fits { generated.next() } else { None };
            texts.add(Text {
                is_users: question.is_users,
                ..text.unwrap_or_default()
            })?;
        }
        empty_rounds = match texts.answered() == before {
            true => empty_rounds + 1,
            false => 0,
        };
        if empty_rounds == MAX_EMPTY_ROUNDS {
            let reason = "the target does not answer: its answers are empty, or its context is too short for the questions";
            return Err(Error::Compute(reason.into()));
        }
    }
    observer.generated(settings.tokens)
}

/// The target's greedy answers to these prompts.
pub(super) fn greedy_answers(
    decoder: &SpeculativeDecoder,
    prompts: &[Prompt],
    observer: &dyn Observer,
) -> Result<Vec<Text>> {
    let tasks = prompts.iter().map(|prompt| {
        Ok(Task {
            prompt: decoder.prompt_tokens(prompt.clone())?,
            config: greedy(MAX_ANSWER),
        })
    });
    run(decoder, tasks.collect::<Result<_>>()?, observer)
}

/// So many questions: the user's next ones, or, after the last, some that the target generates.
fn ask(
    decoder: &SpeculativeDecoder,
    texts: &Texts,
    settings: &Settings,
    round: usize,
    observer: &dyn Observer,
) -> Result<Vec<Question>> {
    let asked = texts.all().iter().filter(|text| text.is_users).count();
    let users = settings.questions.iter().skip(asked).take(round);
    let users = users.map(|text| Question {
        text: text.clone(),
        is_users: true,
    });
    let users: Vec<Question> = users.collect();
    if !users.is_empty() {
        return Ok(users);
    }
    let start = decoder.prompt_tokens(questions::start(decoder)?)?;
    let longest = MAX_QUESTION.min(decoder.info().context_length / 4);
    let first = texts.all().len();
    let tasks = (first..first + round).map(|number| Task {
        prompt: start.clone(),
        config: sampled(1.0, !settings.seed, number, longest),
    });
    let generated = run(decoder, tasks.collect(), observer)?;
    let questions = (first..).zip(generated).map(|(number, question)| {
        let tokenizer = decoder.tokenizer();
        let earlier = texts.all().iter().rev().nth(number - first);
        let text = match earlier {
            Some(earlier) if number % TASK_EVERY == 0 => {
                let task = TASKS[number / TASK_EVERY % TASKS.len()];
                let answer = earlier.answer();
                // As long as a question may be, together with what the template adds.
                let answer = &answer[..answer.len().min(decoder.info().context_length / 4)];
                format!("{task}\n\n{}", tokenizer.decode(answer, true)?)
            }
            _ => tokenizer.decode(question.answer(), true)?,
        };
        Ok(Question {
            text,
            is_users: false,
        })
    });
    questions.collect()
}

fn greedy(max_new_tokens: usize) -> SpeculativeConfig {
    SpeculativeConfig {
        temperature: 0.0,
        max_new_tokens,
        ..SpeculativeConfig::default()
    }
}

/// Settings of a text, whose noise its number determines.
fn sampled(temperature: f64, seed: u64, number: usize, max_new_tokens: usize) -> SpeculativeConfig {
    SpeculativeConfig {
        temperature,
        top_p: 0.95,
        seed: Some(seed.rotate_left(32).wrapping_add(number as u64)),
        max_new_tokens,
        ..SpeculativeConfig::default()
    }
}

/// Generates what follows these prompts; each with its prompt, in their order.
fn run(
    decoder: &SpeculativeDecoder,
    tasks: Vec<Task>,
    observer: &dyn Observer,
) -> Result<Vec<Text>> {
    let context_length = decoder.info().context_length;
    let prompts: Vec<Vec<u32>> = tasks.iter().map(|task| task.prompt.clone()).collect();
    let requests = tasks.into_iter();
    let requests = requests.map(|task| (Prompt::Tokens(task.prompt), task.config.into()));
    let mut batch = decoder.batch_of(requests)?;
    while batch.step()? {
        observer.check()?;
    }
    let generations = batch.into_generations()?;
    let texts = prompts.into_iter().zip(generations);
    let texts = texts.map(|(mut tokens, generation)| {
        let prompt = tokens.len();
        tokens.extend(generation.token_ids());
        // The last token of a full context is generated, but never read.
        tokens.truncate(context_length);
        Text {
            prompt,
            tokens,
            is_users: false,
        }
    });
    Ok(texts.collect())
}
