//! A rule's expression, compiled: a machine that tells whether and where a match ends, and what tells the rest of it.
//!
//! Of a hundred searches near a keyword one ends in a match. So the machine
//! that all of them run is all that is made at first, and what tells where the
//! match began and where the secret stands in it is made for the first match.
//! The machine's states are made as texts need them; threads hand them to each
//! other, so that each state is made once and not once a thread.

use super::shape;
use regex_automata::hybrid::dfa::{self, Cache, DFA};
use regex_automata::meta;
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{HalfMatch, Input, Match, PatternID};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Bytes of states that are kept of one machine.
const STATES: usize = 4 << 20;

/// A compiled expression.
pub(crate) struct Expression {
    text: String,
    /// None where the machine has no room in [`STATES`] or cannot tell what a look round a match asks for.
    ends: Option<DFA>,
    /// States that no thread uses now.
    idle: Mutex<Vec<Cache>>,
    whole: OnceLock<Option<Whole>>,
}

/// What tells all of a match.
pub(crate) struct Whole {
    pub(crate) regex: meta::Regex,
    /// The capture group that holds the secret; 0 = the whole match.
    pub(crate) group: usize,
}

impl Expression {
    /// `None` for what is no expression.
    pub(crate) fn compile(text: &str) -> Option<Self> {
        let this = Self {
            text: text.to_owned(),
            ends: ends(text),
            idle: Mutex::default(),
            whole: OnceLock::new(),
        };
        (this.ends.is_some() || this.whole().is_some()).then_some(this)
    }

    /// What tells all of a match; `None` if it cannot be compiled, which loading has excluded.
    pub(crate) fn whole(&self) -> Option<&Whole> {
        self.whole.get_or_init(|| Whole::compile(&self.text)).as_ref()
    }

    /// The first match in an input.
    pub(crate) fn search(&self, input: &Input) -> Option<Match> {
        let end = match self.end(input) {
            Some(Ok(None)) => return None,
            // The same match is the first one of the text up to its end.
            Some(Ok(Some(found))) => found.offset(),
            Some(Err(_)) | None => input.end(),
        };
        let part = input.start()..end;
        match self.whole() {
            Some(whole) => whole.regex.search(&input.clone().span(part)),
            // Cannot be: loading compiles every expression. Were it so, what has an end must not pass.
            None => Some(Match::new(PatternID::ZERO, part)),
        }
    }

    /// Where the first match ends; an error where the machine gives up.
    fn end(&self, input: &Input) -> Option<Result<Option<HalfMatch>, regex_automata::MatchError>> {
        let machine = self.ends.as_ref()?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut cache = idle.unwrap_or_else(|| machine.create_cache());
        let end = machine.try_search_fwd(&mut cache, input);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(cache);
        Some(end)
    }
}

impl Whole {
    fn compile(text: &str) -> Option<Self> {
        let regex = shape::compile(text).ok()?;
        let info = regex.group_info();
        let named = info.to_index(PatternID::ZERO, "secret");
        let group = named.unwrap_or(usize::from(info.group_len(PatternID::ZERO) > 1));
        Some(Self { regex, group })
    }
}

fn ends(text: &str) -> Option<DFA> {
    let nfa = thompson::Config::new()
        .utf8(false)
        .nfa_size_limit(Some(shape::MAX_COMPILED))
        .which_captures(WhichCaptures::None);
    // Where the states do not serve long enough to be worth their making, it gives up.
    let states = dfa::Config::new()
        .unicode_word_boundary(true)
        .cache_capacity(STATES)
        .minimum_cache_clear_count(Some(3))
        .minimum_bytes_per_state(Some(10));
    dfa::Builder::new()
        .syntax(shape::syntax())
        .thompson(nfa)
        .configure(states)
        .build(text)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXPRESSIONS: [&str; 6] = [
        r"(?P<secret>k[a-c]{2,4})(?:[^a-c]|$)",
        r"\bk([a-c]+?|b)b\b",
        r"(?i)(?:ka|k|kab)c*(=[a-z]{1,3})?",
        r"(?m)^k.*c$",
        r"a|ab|abc|(b{2}k)",
        r"(?s)k.{3,8}b",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn the_first_match_is_that_of_one_engine_alone(
            text in "[kabcK= \n]{0,60}", from in 0usize..30, length in 0usize..60, anchored in any::<bool>(),
        ) {
            let from = from.min(text.len());
            let part = from..text.len().min(from + length);
            let anchored = if anchored { regex_automata::Anchored::Yes } else { regex_automata::Anchored::No };
            let input = Input::new(&text).span(part).anchored(anchored);
            for expression in EXPRESSIONS {
                let alone = Whole::compile(expression).unwrap().regex.search(&input);
                let compiled = Expression::compile(expression).unwrap();
                prop_assert_eq!(compiled.search(&input), alone, "{}", expression);
                prop_assert_eq!(compiled.search(&input), alone, "{}", expression);
                let slow = Expression { ends: None, ..compiled };
                prop_assert_eq!(slow.search(&input), alone, "{}", expression);
            }
        }
    }

    #[test]
    fn what_is_no_expression_is_not_compiled() {
        assert!(Expression::compile("(").is_none());
    }
}
