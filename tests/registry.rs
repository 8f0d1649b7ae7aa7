//! Draft sources that a program registers: of either kind, used by name like the built-in ones.

mod support;

use specdec_rs::sampling::Distribution;
use specdec_rs::speculation::registry::{AnyDrafter, DraftSource, register, sources};
use specdec_rs::speculation::{Candidate, Draft, DraftLimit, Drafter, RetrievalDrafter};
use specdec_rs::{DraftKind, Result, SpeculativeConfig};
use support::pair;

/// Proposes the last token over and over.
struct Repeat {
    kind: DraftKind,
    last: Option<u32>,
}

impl RetrievalDrafter for Repeat {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.last = text.last().copied();
        Ok(())
    }

    fn enter(&mut self, _parent: Option<usize>, _token: u32) {}

    fn candidates(&self, _node: Option<usize>, found: &mut Vec<Candidate>) {
        found.extend(self.last.map(|token| Candidate {
            token,
            source: self.kind,
            feature: 0,
            prior: 0.5,
        }));
    }
}

/// The same, as a drafter that takes time.
struct SlowRepeat(DraftKind);

impl Drafter for SlowRepeat {
    fn propose(&mut self, history: &[u32], limit: DraftLimit) -> Result<Draft> {
        let mut draft = Draft::default();
        let last = history[history.len() - 1];
        for _ in 0..limit.tokens {
            draft.push(last, Distribution::Point(last), self.0);
        }
        Ok(draft)
    }
}

const REPEAT: DraftSource = DraftSource {
    description: "the last token over and over",
    needs: "",
    beside: false,
    make: &|request| {
        let (kind, last) = (request.kind, None);
        Ok(Some(AnyDrafter::Retrieval(Box::new(Repeat { kind, last }))))
    },
};

/// One test: what it registers is seen by the whole process.
#[test]
fn registered_sources_are_used_by_name() {
    let retrieval = register("repeat", REPEAT).unwrap();
    let costed = register(
        "slow-repeat",
        DraftSource {
            make: &|request| Ok(Some(AnyDrafter::Costed(Box::new(SlowRepeat(request.kind))))),
            ..REPEAT
        },
    )
    .unwrap();
    register(
        "never",
        DraftSource {
            needs: "a miracle",
            make: &|_| Ok(None),
            ..REPEAT
        },
    )
    .unwrap();
    let registered: Vec<_> = sources().into_iter().map(|(kind, _)| kind.name()).collect();
    assert!(registered.ends_with(&["repeat", "slow-repeat", "never"]));
    assert!(registered.contains(&"ngram") && registered.contains(&"model"));

    let decoder = pair::decoder();
    let generate = |draft: &str, adaptive: bool| {
        let config = SpeculativeConfig {
            draft: Some(draft.parse().unwrap()),
            gamma: 3,
            adaptive,
            seed: Some(7),
            max_new_tokens: 40,
            ..SpeculativeConfig::unmodified()
        };
        decoder.generate_with("You may copy", &config)
    };
    let plain = generate("none", true).unwrap();
    for (name, kind) in [("repeat", retrieval), ("slow-repeat", costed)] {
        let drafted = generate(name, false).unwrap();
        assert_eq!(drafted.token_ids(), plain.token_ids(), "{name}");
        let counts: Vec<_> = drafted.stats.sources.keys().copied().collect();
        assert_eq!(counts, [kind], "{name}");
        assert!(drafted.stats.drafted > 0, "{name}");
    }
    let together = generate("auto", true).unwrap();
    assert_eq!(together.token_ids(), plain.token_ids());

    let refused = generate("never", true).unwrap_err().to_string();
    assert!(
        refused.contains("draft = never") && refused.contains("a miracle"),
        "{refused}"
    );

    for name in [
        "repeat", "ngram", "custom", "auto", "none", "", "Upper", "a b",
    ] {
        let refused = register(name, REPEAT).unwrap_err().to_string();
        assert!(refused.contains("a name of its own"), "{refused}");
    }
    for name in ["target", "grammar", "custom"] {
        assert!(name.parse::<DraftKind>().is_err(), "{name}");
    }
    for draft in [DraftKind::TARGET, DraftKind::GRAMMAR, DraftKind::CUSTOM] {
        let config = SpeculativeConfig {
            draft: Some(draft),
            ..SpeculativeConfig::unmodified()
        };
        assert!(config.validate().is_err(), "{draft}");
    }
}
