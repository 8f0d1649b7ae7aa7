//! Many requests at once: what they write, what they share, how they end.

mod support;

use std::collections::BTreeMap;

use specdec_rs::engine::{Event, KvCacheManager, Owner, Request, RequestId, Scheduler, Scope};
use specdec_rs::{
    Chunk, DraftKind, FinishReason, Generation, ResponseFormat, Result, SpeculativeConfig,
    SpeculativeDecoder, Verification,
};
use support::pair;

/// A scheduler, and the events of its requests.
struct Events {
    scheduler: Scheduler,
    cache: KvCacheManager,
    chunks: BTreeMap<RequestId, Vec<Chunk>>,
    ends: BTreeMap<RequestId, Result<Generation>>,
}

impl Events {
    fn new(slots: usize, cache_tokens: Option<usize>) -> Self {
        let cache = KvCacheManager::new(cache_tokens, usize::MAX);
        Self {
            scheduler: Scheduler::new(slots, cache.clone()),
            cache,
            chunks: BTreeMap::new(),
            ends: BTreeMap::new(),
        }
    }

    fn add(&mut self, request: Request) -> RequestId {
        self.scheduler.add(request)
    }

    fn step(&mut self) {
        self.scheduler.step();
        for (id, event) in self.scheduler.events() {
            assert!(!self.ends.contains_key(&id), "nothing follows the end");
            match event {
                Event::Chunk(chunk) => self.chunks.entry(id).or_default().push(chunk),
                Event::End(end) => {
                    self.ends.insert(id, end.map(|generation| *generation));
                }
            }
        }
    }

    /// Steps until all requests have ended; the number of steps.
    fn run(&mut self) -> usize {
        let mut steps = 0;
        while !self.scheduler.is_idle() {
            self.step();
            steps += 1;
            assert!(steps < 100_000, "it never ends");
        }
        steps
    }

    /// The chunks so far.
    fn chunks(&self, id: RequestId) -> &[Chunk] {
        self.chunks.get(&id).map_or(&[], |chunks| chunks)
    }

    /// A request's generation, which is what was streamed.
    fn generation(&mut self, id: RequestId) -> Generation {
        let generation = self.ends.remove(&id).unwrap().unwrap();
        let chunks = self.chunks(id).iter();
        let streamed: String = chunks.map(|chunk| &chunk.text[..]).collect();
        assert_eq!(streamed, generation.text);
        generation
    }
}

fn greedy(max_new_tokens: usize) -> SpeculativeConfig {
    SpeculativeConfig {
        temperature: 0.0,
        max_new_tokens,
        ignore_eos: true,
        ..SpeculativeConfig::unmodified()
    }
}

/// Settings of every kind, by number.
fn config(number: usize) -> SpeculativeConfig {
    let drafts = [
        DraftKind::AUTO,
        DraftKind::NONE,
        DraftKind::NGRAM,
        DraftKind::MODEL,
    ];
    let temperature = [0.0, 1.0, 0.7][number % 3];
    let adaptive = number.is_multiple_of(2);
    // Where measured time chooses what is drafted, rejection and block verification draw other tokens each time.
    let verification = if adaptive && temperature > 0.0 {
        Verification::Coupled
    } else {
        Verification::ALL[number / 4 % 3]
    };
    SpeculativeConfig {
        temperature,
        gamma: [1, 4, 9][number % 3],
        adaptive,
        draft: Some(drafts[number % 4]),
        seed: Some(number as u64),
        max_new_tokens: 1 + number * 7 % 40,
        repetition_penalty: [1.0, 1.2][number % 2],
        logprobs: [None, Some(2)][number % 2],
        verification,
        ..SpeculativeConfig::unmodified()
    }
}

#[test]
fn a_batch_changes_no_text() {
    let decoder = pair::decoder();
    for slots in [1, 3, 40] {
        let mut batch = Events::new(slots, None);
        let mut added = Vec::new();
        for (number, prompt) in pair::prompts(60).into_iter().enumerate() {
            let request = decoder.request(&prompt[..], &config(number)).unwrap();
            added.push((number, prompt, batch.add(request)));
            // Some arrive while others run.
            if number.is_multiple_of(5) {
                batch.step();
            }
        }
        batch.run();
        for (number, prompt, id) in added {
            let alone = decoder.generate_with(&prompt[..], &config(number)).unwrap();
            let together = batch.generation(id);
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
fn rejection_draws_the_same_in_any_batch_if_lengths_are_fixed() {
    let decoder = pair::decoder();
    let config = |number: usize| SpeculativeConfig {
        verification: [Verification::Rejection, Verification::Block][number % 2],
        adaptive: false,
        draft: Some(DraftKind::MODEL),
        gamma: 3,
        seed: Some(number as u64),
        max_new_tokens: 24,
        ..SpeculativeConfig::unmodified()
    };
    let mut batch = Events::new(8, None);
    let prompts = pair::licence_prompts(12);
    let requests = prompts.iter().enumerate();
    let ids: Vec<RequestId> = requests
        .map(|(number, prompt)| batch.add(decoder.request(&prompt[..], &config(number)).unwrap()))
        .collect();
    batch.run();
    for (number, (prompt, id)) in prompts.iter().zip(ids).enumerate() {
        let alone = decoder.generate_with(&prompt[..], &config(number)).unwrap();
        assert_eq!(batch.generation(id).token_ids(), alone.token_ids());
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
fn a_cached_prefix_is_not_prefilled_again() {
    let decoder = pair::decoder();
    let without_cache = decoder.without_prefix_cache();
    let mut batch = Events::new(4, Some(10_000));
    let ask = |batch: &mut Events, prompt: &[u32]| {
        let id = batch.add(decoder.request(prompt, &greedy(8)).unwrap());
        batch.run();
        let generation = batch.generation(id);
        let alone = without_cache.generate_with(prompt, &greedy(8)).unwrap();
        assert_eq!(alone.stats.cached_tokens, 0);
        assert_eq!(generation.token_ids(), alone.token_ids());
        generation
    };
    let first = text(200, 1);
    let answer = ask(&mut batch, &first);
    assert_eq!(answer.stats.cached_tokens, 0);
    // The same again, but for the last token, which is fed; and what goes on from the answer.
    assert_eq!(ask(&mut batch, &first).stats.cached_tokens, 199);
    let longer = [&first[..], &answer.token_ids(), &text(20, 9)].concat();
    let cached = ask(&mut batch, &longer).stats.cached_tokens;
    // The last token of an answer was never fed.
    assert_eq!(cached, 200 + 7);
    let half = [&first[..100], &text(100, 2)].concat();
    assert_eq!(ask(&mut batch, &half).stats.cached_tokens, 100);
    let other = text(200, 3);
    assert_eq!(ask(&mut batch, &other).stats.cached_tokens, 0);
}

#[test]
fn scopes_share_no_prefix() {
    let decoder = pair::decoder();
    let [one, other] = [&b"one"[..], b"other"].map(|name| decoder.in_scope(Scope::named(&[name])));
    let mut batch = Events::new(4, None);
    let prompt = text(300, 7);
    // At the same time, where one could wait for the other's prefill, and after each other.
    let ids = [&one, &other, &one].map(|decoder| {
        let request = decoder.request(&prompt[..], &greedy(6)).unwrap();
        batch.add(request)
    });
    batch.run();
    let generations = ids.map(|id| batch.generation(id));
    let cached = generations.each_ref().map(|one| one.stats.cached_tokens);
    assert_eq!(cached, [0, 0, 299]);
    let tokens = generations.each_ref().map(Generation::token_ids);
    let expected = tokens_of(&one, &prompt);
    assert!(tokens.iter().all(|tokens| *tokens == expected));
    let cached = [&one, &other, &decoder].map(|decoder| {
        let id = batch.add(decoder.request(&prompt[..], &greedy(1)).unwrap());
        batch.run();
        batch.generation(id).stats.cached_tokens
    });
    assert_eq!(cached, [299, 299, 0]);
}

fn tokens_of(decoder: &SpeculativeDecoder, prompt: &[u32]) -> Vec<u32> {
    let alone = decoder.without_prefix_cache();
    alone.generate_with(prompt, &greedy(6)).unwrap().token_ids()
}

/// A request whose response format is this Lark grammar.
fn constrained(decoder: &SpeculativeDecoder, lark: &str) -> Request {
    let config = SpeculativeConfig {
        response_format: Some(ResponseFormat::Lark(lark.into())),
        ignore_eos: false,
        ..greedy(60)
    };
    decoder.request(&[5, 6][..], &config).unwrap()
}

#[test]
fn a_parser_that_takes_long_is_not_waited_for() {
    let decoder = pair::decoder();
    let mut batch = Events::new(4, None);
    // It forces one byte after the other, without end.
    let endless = batch.add(constrained(&decoder, "start: /c*/ /c/"));
    let quick = batch.add(constrained(&decoder, "start: /[a-z ]{40}/"));
    let free = batch.add(decoder.request(&[5, 6][..], &greedy(300)).unwrap());
    while !(batch.ends.contains_key(&quick) && batch.ends.contains_key(&free)) {
        batch.step();
    }
    assert!(!batch.ends.contains_key(&endless));
    assert_eq!(batch.generation(quick).text.len(), 40);
    assert_eq!(batch.generation(free).tokens.len(), 300);
    batch.run();
    let error = batch.ends.remove(&endless).unwrap().unwrap_err();
    assert!(error.to_string().contains("response_format"), "{error}");
}

#[test]
fn a_request_whose_parser_works_can_be_aborted() {
    let decoder = pair::decoder();
    let mut batch = Events::new(2, None);
    let endless = batch.add(constrained(&decoder, "start: /c*/ /c/"));
    batch.step();
    batch.scheduler.abort(endless);
    batch.run();
    assert!(batch.ends.contains_key(&endless));
    let failed = batch.add(constrained(&decoder, "start: /c*/ /c/"));
    batch.step();
    batch.scheduler.fail_all("on purpose");
    assert!(batch.scheduler.is_idle());
    batch.step();
    let error = batch.ends.remove(&failed).unwrap().unwrap_err();
    assert!(error.to_string().contains("on purpose"), "{error}");
}

#[test]
fn nobody_takes_all_the_places() {
    let decoder = pair::decoder();
    let mut batch = Events::new(3, None);
    let add = |batch: &mut Events, owner, tokens| {
        let request = decoder.request(&[5, 6][..], &greedy(tokens)).unwrap();
        batch.scheduler.add_for(owner, request)
    };
    let (many, client) = (Owner::of_call(None), Some([1; 32]));
    let choices: Vec<RequestId> = (0..6).map(|_| add(&mut batch, many, 20)).collect();
    batch.step();
    assert_eq!(batch.scheduler.running(), 3);
    // Those that come later are next, of each client one.
    let calls: Vec<RequestId> = (0..2)
        .map(|_| add(&mut batch, Owner::of_call(client), 40))
        .collect();
    let other = add(&mut batch, Owner::of_call(Some([2; 32])), 40);
    while batch.chunks(calls[0]).is_empty() || batch.chunks(other).is_empty() {
        batch.step();
    }
    for later in [choices[4], choices[5], calls[1]] {
        assert!(batch.chunks(later).is_empty());
    }
    batch.run();
    for id in choices.into_iter().chain(calls).chain([other]) {
        assert!(!batch.generation(id).tokens.is_empty());
    }
}

#[test]
fn a_request_for_no_tokens_prefills_its_prompt() {
    let decoder = pair::decoder();
    let mut batch = Events::new(4, None);
    let prompt = text(300, 8);
    let mut cached = || {
        let id = batch.add(decoder.request(&prompt[..], &greedy(0)).unwrap());
        batch.run();
        let generation = batch.generation(id);
        assert_eq!(generation.finish_reason, FinishReason::Length);
        assert!(generation.tokens.is_empty());
        generation.stats.cached_tokens
    };
    assert_eq!([cached(), cached()], [0, 299]);
}

#[test]
fn a_prompt_that_several_share_is_prefilled_once() {
    let decoder = pair::decoder();
    let mut batch = Events::new(4, None);
    let prompt = text(700, 4);
    let ids: Vec<RequestId> = (0..4)
        .map(|_| batch.add(decoder.request(&prompt[..], &greedy(6)).unwrap()))
        .collect();
    batch.run();
    let ids = ids.into_iter();
    let generations: Vec<Generation> = ids.map(|id| batch.generation(id)).collect();
    let cached = generations.iter().map(|one| one.stats.cached_tokens);
    assert_eq!(cached.collect::<Vec<_>>(), [0, 699, 699, 699]);
    let first = generations[0].token_ids();
    assert!(generations.iter().all(|one| one.token_ids() == first));
}

#[test]
fn a_long_prompt_does_not_stall_the_others() {
    let decoder = pair::decoder();
    let mut batch = Events::new(4, None);
    let decoding = batch.add(decoder.request(&[5, 6][..], &greedy(100)).unwrap());
    batch.step();
    let long = batch.add(decoder.request(text(900, 5), &greedy(4)).unwrap());
    let short = batch.add(decoder.request(text(40, 6), &greedy(4)).unwrap());
    for _ in 0..4 {
        batch.step();
    }
    // After some steps the short one has begun its answer, and the first, whose own prompt took the first step, went on with
    // every one.
    assert!(!batch.chunks(short).is_empty());
    assert!(batch.chunks(long).is_empty());
    assert_eq!(batch.chunks(decoding).len(), 4);
    batch.run();
    assert_eq!(batch.generation(long).tokens.len(), 4);
}

#[test]
fn the_budget_is_never_exceeded_and_no_request_starves() {
    let decoder = pair::decoder();
    let capacity = 600;
    let mut batch = Events::new(8, Some(capacity));
    let requests = (0..20).map(|number| decoder.request(text(60 + number, number), &greedy(60)));
    let ids: Vec<RequestId> = requests
        .map(|request| batch.add(request.unwrap()))
        .collect();
    let mut steps = 0;
    while !batch.scheduler.is_idle() {
        batch.step();
        assert!(batch.cache.used() <= capacity);
        steps += 1;
        assert!(steps < 10_000);
    }
    for id in ids {
        assert_eq!(batch.generation(id).tokens.len(), 60);
    }
    // What could never fit is refused by name.
    let refused = batch.cache.check(600, 700).unwrap_err().to_string();
    assert!(refused.contains("600"), "{refused}");
}

#[test]
fn requests_that_are_cancelled_end_at_the_next_step() {
    let decoder = pair::decoder();
    let mut batch = Events::new(2, None);
    let request = || decoder.request(text(300, 7), &greedy(500)).unwrap();
    let [kept, aborted, cancelled, waiting] = [(); 4].map(|()| request());
    let (token, waiting_token) = (cancelled.cancel_token(), waiting.cancel_token());
    let aborted = batch.add(aborted);
    let cancelled = batch.add(cancelled);
    for _ in 0..12 {
        batch.step();
    }
    let waiting = batch.add(waiting);
    let kept = batch.add(kept);
    waiting_token.cancel();
    batch.step();
    let generation = batch.generation(waiting);
    assert_eq!(generation.finish_reason, FinishReason::Cancelled);
    assert!(generation.tokens.is_empty());
    token.cancel();
    batch.scheduler.abort(aborted);
    batch.step();
    for id in [cancelled, aborted] {
        let generation = batch.generation(id);
        assert_eq!(generation.finish_reason, FinishReason::Cancelled);
        assert!(!generation.tokens.is_empty());
    }
    batch.run();
    assert_eq!(batch.generation(kept).tokens.len(), 500);
}

#[test]
fn single_requests_share_the_prefix_cache_of_their_decoder() {
    let decoder = pair::decoder().apart();
    let prompt = text(200, 8);
    let first = decoder.generate_with(&prompt[..], &greedy(8)).unwrap();
    assert_eq!(first.stats.cached_tokens, 0);
    let again = decoder.generate_with(&prompt[..], &greedy(8)).unwrap();
    assert_eq!(again.stats.cached_tokens, 199);
    assert_eq!(again.token_ids(), first.token_ids());
    let batch = decoder.generate_batch([&prompt[..]], &greedy(8)).unwrap();
    assert_eq!(batch[0].stats.cached_tokens, 199);
    assert_eq!(batch[0].token_ids(), first.token_ids());
    let apart = decoder.apart().generate_with(&prompt[..], &greedy(8));
    assert_eq!(apart.unwrap().stats.cached_tokens, 0);
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
    let decoder = SpeculativeDecoder::with_models(
        picky,
        None::<Box<dyn specdec_rs::LanguageModel>>,
        pair::tokenizer(),
    );
    let config = SpeculativeConfig {
        draft: Some(DraftKind::NONE),
        logit_bias: vec![(13, f64::NEG_INFINITY)],
        ..greedy(20)
    };
    let mut batch = Events::new(4, None);
    let ids = [[5, 6], [5, 13], [7, 8]]
        .map(|prompt| batch.add(decoder.request(&prompt[..], &config).unwrap()));
    batch.run();
    let [first, failed, last] = ids.map(|id| batch.ends.remove(&id).unwrap());
    assert_eq!(first.unwrap().tokens.len(), 20);
    assert!(failed.unwrap_err().to_string().contains("thirteen"));
    assert_eq!(last.unwrap().tokens.len(), 20);
}
