//! Many requests at once: what they write, what they share, how they end.

mod support;

use std::sync::mpsc::{Receiver, channel};

use specdec_rs::engine::{Event, Limits, Scheduler, Session};
use specdec_rs::{
    Chunk, DraftKind, FinishReason, Generation, Result, SpeculativeConfig, SpeculativeDecoder,
    Verification,
};
use support::pair;

/// What a request's listener hears.
struct Heard(Receiver<Event>);

impl Heard {
    /// All chunks, and the end; `None` while there is none.
    fn all(&self) -> (Vec<Chunk>, Option<Result<Generation>>) {
        let (mut chunks, mut end) = (Vec::new(), None);
        for event in self.0.try_iter() {
            assert!(end.is_none(), "nothing follows the end");
            match event {
                Event::Chunk(chunk) => chunks.push(chunk),
                Event::End(ended) => end = Some(ended.map(|generation| *generation)),
            }
        }
        (chunks, end)
    }

    fn generation(&self) -> Generation {
        let (chunks, end) = self.all();
        let generation = end.unwrap().unwrap();
        let streamed: String = chunks.iter().map(|chunk| &chunk.text[..]).collect();
        assert_eq!(streamed, generation.text);
        generation
    }
}

fn submit(scheduler: &mut Scheduler, session: Session) -> Heard {
    let (sender, receiver) = channel();
    let listener = Box::new(move |event| sender.send(event).is_ok());
    scheduler.submit(session, listener);
    Heard(receiver)
}

fn scheduler(slots: usize, cache_tokens: Option<usize>) -> Scheduler {
    Scheduler::new(Limits {
        slots,
        cache_tokens,
    })
}

fn run(scheduler: &mut Scheduler) -> usize {
    let mut steps = 0;
    while !scheduler.is_idle() {
        scheduler.step();
        steps += 1;
        assert!(steps < 100_000, "it never ends");
    }
    steps
}

fn greedy(max_new_tokens: usize) -> SpeculativeConfig {
    SpeculativeConfig {
        temperature: 0.0,
        max_new_tokens,
        ignore_eos: true,
        ..SpeculativeConfig::default()
    }
}

/// Settings of every kind, by number.
fn config(number: usize) -> SpeculativeConfig {
    let drafts = [
        DraftKind::Auto,
        DraftKind::None,
        DraftKind::Ngram,
        DraftKind::Model,
    ];
    SpeculativeConfig {
        temperature: [0.0, 1.0, 0.7][number % 3],
        gamma: [1, 4, 9][number % 3],
        adaptive: number.is_multiple_of(2),
        draft: Some(drafts[number % 4]),
        seed: Some(number as u64),
        max_new_tokens: 1 + number * 7 % 40,
        repetition_penalty: [1.0, 1.2][number % 2],
        logprobs: [None, Some(2)][number % 2],
        verification: [Verification::Coupled, Verification::Coupled][number % 2],
        ..SpeculativeConfig::default()
    }
}

#[test]
fn company_changes_no_text() {
    let decoder = pair::decoder();
    for slots in [1, 3, 40] {
        let mut scheduler = scheduler(slots, None);
        let mut asked = Vec::new();
        for (number, prompt) in pair::prompts(60).into_iter().enumerate() {
            let session = decoder.session(&prompt[..], &config(number)).unwrap();
            asked.push((number, prompt, submit(&mut scheduler, session)));
            // Some come while others are computed.
            if number.is_multiple_of(5) {
                scheduler.step();
            }
        }
        run(&mut scheduler);
        for (number, prompt, heard) in asked {
            let alone = decoder.generate_with(&prompt[..], &config(number)).unwrap();
            let together = heard.generation();
            assert_eq!(together.token_ids(), alone.token_ids(), "{number}");
            assert_eq!(together.text, alone.text);
            assert_eq!(together.finish_reason, alone.finish_reason);
            let logprobs = |generation: &Generation| {
                let tokens = generation.tokens.iter();
                let bits = tokens.map(|token| token.logprob.map(f32::to_bits));
                bits.collect::<Vec<_>>()
            };
            assert_eq!(logprobs(&together), logprobs(&alone), "{number}");
        }
    }
}

#[test]
fn rejection_draws_the_same_whatever_the_company_where_lengths_are_fixed() {
    let decoder = pair::decoder();
    let config = |number: usize| SpeculativeConfig {
        verification: [Verification::Rejection, Verification::Block][number % 2],
        adaptive: false,
        draft: Some(DraftKind::Model),
        gamma: 3,
        seed: Some(number as u64),
        max_new_tokens: 24,
        ..SpeculativeConfig::default()
    };
    let mut scheduler = scheduler(8, None);
    let prompts = pair::licence_prompts(12);
    let sessions = prompts.iter().enumerate();
    let heard: Vec<Heard> = sessions
        .map(|(number, prompt)| {
            let session = decoder.session(&prompt[..], &config(number)).unwrap();
            submit(&mut scheduler, session)
        })
        .collect();
    run(&mut scheduler);
    for (number, (prompt, heard)) in prompts.iter().zip(heard).enumerate() {
        let alone = decoder.generate_with(&prompt[..], &config(number)).unwrap();
        assert_eq!(heard.generation().token_ids(), alone.token_ids());
    }
}

#[test]
fn a_batch_is_answered_in_its_order() {
    let decoder = pair::decoder();
    let prompts = pair::prompts(50);
    let generations = decoder
        .generate_batch(prompts.clone(), &greedy(12))
        .unwrap();
    assert_eq!(generations.len(), prompts.len());
    for (prompt, generation) in prompts.iter().zip(generations) {
        let alone = decoder.generate_with(&prompt[..], &greedy(12)).unwrap();
        assert_eq!(generation.token_ids(), alone.token_ids());
    }
    let none: [Vec<u32>; 0] = [];
    assert!(decoder.generate_batch(none, &greedy(1)).unwrap().is_empty());
    let wrong = [vec![5], vec![5; 5000]];
    assert!(decoder.generate_batch(wrong, &greedy(1)).is_err());
}

/// A text of so many tokens.
fn text(tokens: usize, salt: usize) -> Vec<u32> {
    (0..tokens)
        .map(|place| 2 + ((place * place * 31 + place * 101 + salt * 7919) % 510) as u32)
        .collect()
}

#[test]
fn what_was_read_before_is_not_read_again() {
    let decoder = pair::decoder();
    let mut scheduler = scheduler(4, Some(10_000));
    let ask = |scheduler: &mut Scheduler, prompt: &[u32]| {
        let heard = submit(scheduler, decoder.session(prompt, &greedy(8)).unwrap());
        run(scheduler);
        let generation = heard.generation();
        let alone = decoder.generate_with(prompt, &greedy(8)).unwrap();
        assert_eq!(generation.token_ids(), alone.token_ids());
        generation
    };
    let first = text(200, 1);
    let answer = ask(&mut scheduler, &first);
    assert_eq!(answer.stats.cached_tokens, 0);
    // The same again, but for the last token, which is fed; and what goes on from the answer.
    assert_eq!(ask(&mut scheduler, &first).stats.cached_tokens, 199);
    let longer = [&first[..], &answer.token_ids(), &text(20, 9)].concat();
    let cached = ask(&mut scheduler, &longer).stats.cached_tokens;
    // The last token of an answer was never fed.
    assert_eq!(cached, 200 + 7);
    let half = [&first[..100], &text(100, 2)].concat();
    assert_eq!(ask(&mut scheduler, &half).stats.cached_tokens, 100);
    let other = text(200, 3);
    assert_eq!(ask(&mut scheduler, &other).stats.cached_tokens, 0);
}

#[test]
fn several_with_one_prompt_read_it_once() {
    let decoder = pair::decoder();
    let mut scheduler = scheduler(4, None);
    let prompt = text(700, 4);
    let heard: Vec<Heard> = (0..4)
        .map(|_| {
            let session = decoder.session(&prompt[..], &greedy(6)).unwrap();
            submit(&mut scheduler, session)
        })
        .collect();
    run(&mut scheduler);
    let generations: Vec<Generation> = heard.iter().map(Heard::generation).collect();
    let cached = generations.iter().map(|one| one.stats.cached_tokens);
    assert_eq!(cached.collect::<Vec<_>>(), [0, 699, 699, 699]);
    let first = generations[0].token_ids();
    assert!(generations.iter().all(|one| one.token_ids() == first));
}

#[test]
fn a_long_prompt_stalls_nobody() {
    let decoder = pair::decoder();
    let mut scheduler = scheduler(4, None);
    let writer = submit(
        &mut scheduler,
        decoder.session(&[5, 6][..], &greedy(100)).unwrap(),
    );
    scheduler.step();
    let long = submit(
        &mut scheduler,
        decoder.session(text(900, 5), &greedy(4)).unwrap(),
    );
    let short = submit(
        &mut scheduler,
        decoder.session(text(40, 6), &greedy(4)).unwrap(),
    );
    for _ in 0..4 {
        scheduler.step();
    }
    // Some steps on, the short one is answered, and the first, whose own prompt took the first step, went on with every one.
    assert!(!short.all().0.is_empty());
    assert!(long.all().0.is_empty());
    assert_eq!(writer.all().0.len(), 4);
    run(&mut scheduler);
    assert_eq!(long.all().1.unwrap().unwrap().tokens.len(), 4);
}

#[test]
fn memory_is_never_exceeded_and_nobody_starves() {
    let decoder = pair::decoder();
    let most = 600;
    let mut scheduler = scheduler(8, Some(most));
    let heard: Vec<Heard> = (0..20)
        .map(|number| {
            let session = decoder.session(text(60 + number, number), &greedy(60));
            submit(&mut scheduler, session.unwrap())
        })
        .collect();
    let mut steps = 0;
    while !scheduler.is_idle() {
        scheduler.step();
        assert!(scheduler.cached_tokens() <= most);
        steps += 1;
        assert!(steps < 10_000);
    }
    for heard in heard {
        assert_eq!(heard.generation().tokens.len(), 60);
    }
    // What could never have its turn is told so.
    let large = submit(
        &mut scheduler,
        decoder.session(text(600, 1), &greedy(100)).unwrap(),
    );
    let message = large.all().1.unwrap().unwrap_err().to_string();
    assert!(message.contains("600"), "{message}");
    assert!(scheduler.is_idle());
}

#[test]
fn who_is_not_listened_to_ends() {
    let decoder = pair::decoder();
    let mut scheduler = scheduler(2, None);
    let session = || decoder.session(text(300, 7), &greedy(500)).unwrap();
    let [kept, gone, cancelled, waiting] = [(); 4].map(|()| session());
    let (token, waiting_token) = (cancelled.cancel_token(), waiting.cancel_token());
    let gone = submit(&mut scheduler, gone);
    let cancelled = submit(&mut scheduler, cancelled);
    for _ in 0..12 {
        scheduler.step();
    }
    let waiting = submit(&mut scheduler, waiting);
    let kept = submit(&mut scheduler, kept);
    drop(gone);
    waiting_token.cancel();
    scheduler.step();
    let (chunks, end) = waiting.all();
    let end = end.unwrap().unwrap();
    assert_eq!(end.finish_reason, FinishReason::Cancelled);
    assert!(end.tokens.is_empty() && chunks.iter().all(|chunk| chunk.tokens.is_empty()));
    token.cancel();
    scheduler.step();
    let (_, end) = cancelled.all();
    let end = end.unwrap().unwrap();
    assert_eq!(end.finish_reason, FinishReason::Cancelled);
    assert!(!end.tokens.is_empty());
    run(&mut scheduler);
    assert_eq!(kept.generation().tokens.len(), 500);
}

/// A model that fails for one sequence's tokens.
#[test]
fn one_that_fails_takes_no_other_with_it() {
    struct Picky(Box<dyn specdec_rs::LanguageModel>);
    impl specdec_rs::LanguageModel for Picky {
        fn vocab_size(&self) -> usize {
            self.0.vocab_size()
        }
        fn context_length(&self) -> usize {
            self.0.context_length()
        }
        fn extend(
            &mut self,
            batch: &[specdec_rs::Extend<'_>],
            logits: &mut specdec_rs::Logits,
        ) -> Result<()> {
            if batch.iter().any(|extend| extend.tokens.contains(&13)) {
                return Err(specdec_rs::Error::Compute("thirteen".into()));
            }
            self.0.extend(batch, logits)
        }
        fn truncate(&mut self, sequence: specdec_rs::SequenceId, length: usize) -> Result<()> {
            self.0.truncate(sequence, length)
        }
        fn free(&mut self, sequence: specdec_rs::SequenceId) {
            self.0.free(sequence);
        }
    }
    let files = specdec_rs::hub::ModelFiles::Folder(pair::folder("target"));
    let loaded = specdec_rs::model::load(&files, &specdec_rs::model::LoadOptions::default());
    let picky = Box::new(Picky(loaded.unwrap().model));
    let decoder = SpeculativeDecoder::with_models(picky, None, pair::tokenizer());
    let config = SpeculativeConfig {
        draft: Some(DraftKind::None),
        logit_bias: vec![(13, f64::NEG_INFINITY)],
        ..greedy(20)
    };
    let mut scheduler = scheduler(4, None);
    let heard = [[5, 6], [5, 13], [7, 8]].map(|prompt| {
        submit(
            &mut scheduler,
            decoder.session(&prompt[..], &config).unwrap(),
        )
    });
    run(&mut scheduler);
    let [first, failed, last] = heard.map(|heard| heard.all().1.unwrap());
    assert_eq!(first.unwrap().tokens.len(), 20);
    assert!(failed.unwrap_err().to_string().contains("thirteen"));
    assert_eq!(last.unwrap().tokens.len(), 20);
}
