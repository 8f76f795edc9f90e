//! The matching core: prefilter, literals, lazily compiled expressions, evidence, redaction.
//!
//! Pure: bytes in, matches out. Knows nothing of Git, files or policy.
//!
//! ```text
//! bytes ─ wide (UTF-16 made narrow) ─┐
//!   └─ engine: simd → keywords → expressions on regions → evidence
//!        └─ decode (base64, hex, escapes; at most four levels) ─ engine …
//!   ├─ container (archives, streams): each member as a text of its own
//!   └─ place: overlaps, lines, excerpts
//! ```
//!
//! Embedding it: a rule set and a key make a scanner, which serves all threads.
//!
//! ```
//! use lychgate::scan::{FingerprintKey, RuleSet, Scanner};
//!
//! let key = FingerprintKey::new(Box::new([7; 32]));
//! let scanner = Scanner::new(RuleSet::builtin(), &key);
//! let text = ["token = gl", "pat-byrL9ThHtIuNaXgHOxFS"].concat();
//! let found = scanner.scan(text.as_bytes());
//! assert_eq!((found[0].rule.as_str(), found[0].span.start), ("gitlab-pat", 8));
//! assert_eq!(found[0].excerpt, "token = [secret]");
//! // What may be large or never end: in pieces, with the same matches.
//! let mut stream = lychgate::scan::stream::Stream::new(&scanner, 1 << 20);
//! let mut found = stream.feed(b"nothing here\n");
//! found.extend(stream.feed(text.as_bytes()));
//! found.extend(stream.finish());
//! assert_eq!(found[0].span.start_line, 2);
//! ```
//!
//! Bounds: a match may reach [`shape::OPEN`] bytes (64 KiB for armored blocks)
//! round its keyword where its expression sets no smaller bound; what is
//! decoded from decoded text has at most 64 MiB; one text yields at most 10,000 matches, and a
//! text with more yields one more, of the rule [`TOO_MANY`].

mod alike;
mod buckets;
mod container;
mod context;
mod decode;
mod engine;
mod escapes;
mod evidence;
mod explain;
mod expression;
mod joined;
mod likeness;
mod outline;
mod part;
mod place;
mod placeholder;
mod readable;
mod rules;
pub mod shape;
mod simd;
pub mod source;
pub mod stream;
mod table;
mod wide;
mod wrapped;

use crate::finding::{Confidence, Severity, Span};
use container::{Budget, Kind, Trouble};
use engine::{Hit, Hits};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use std::ops::Range;

pub use explain::{Explanation, MAX_PLACES, explain};
pub use part::MARGIN;
pub use place::{MASK, MAX_EXCERPT};
pub use rules::RuleSet;

/// The key of fingerprints: 32 random bytes that only the server knows.
pub type FingerprintKey = SecretBox<[u8; 32]>;

/// The rule id of the match that says: there are more matches than are listed.
pub const TOO_MANY: &str = "too-many-secrets";

/// Whether bytes begin as an archive or a compressed stream whose members [`Scanner::scan`] looks into.
pub fn is_packed(head: &[u8]) -> bool {
    Kind::of(head).is_some()
}

/// Levels of decoding, one inside the other.
const MAX_DEPTH: u32 = 4;

/// One match of one rule in one text. Never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The rule's id.
    pub rule: String,
    /// `provider kind`.
    pub title: String,
    /// How bad.
    pub severity: Severity,
    /// How sure, after evidence.
    pub confidence: Confidence,
    /// Where the secret stands (in decoded inputs: where the encoded form stands).
    pub span: Span,
    /// Its surroundings on the line, the secret replaced, control characters escaped, at most 120 characters.
    pub excerpt: String,
    /// HMAC-SHA-256 of the secret's bytes, hex. In decoded inputs: of the decoded secret.
    pub fingerprint: String,
    /// Where to revoke it.
    pub revoke: Option<String>,
}

/// Matches a rule set, with the key for fingerprints. `Sync`: one scanner serves all threads.
pub struct Scanner<'a> {
    rules: &'a RuleSet,
    key: &'a FingerprintKey,
    level: simd::Level,
}

/// A hit with its excerpt, its place being that in the whole input.
struct Shown {
    hit: Hit,
    excerpt: String,
}

/// What came out of an input's containers.
#[derive(Default)]
struct Unpacked {
    shown: Vec<Shown>,
    troubles: Vec<(Trouble, Range<usize>)>,
    overflow: bool,
}

impl<'a> Scanner<'a> {
    /// A scanner over a rule set; costs nothing.
    pub fn new(rules: &'a RuleSet, key: &'a FingerprintKey) -> Self {
        Self {
            rules,
            key,
            level: simd::Level::detect(),
        }
    }

    /// What it looks for.
    pub fn rules(&self) -> &'a RuleSet {
        self.rules
    }

    /// The same scanner, looking for keywords one byte at a time: what tests and fuzzing compare the vector code with.
    #[must_use]
    pub fn one_byte_at_a_time(mut self) -> Self {
        self.level = simd::Level::Scalar;
        self
    }

    /// All matches in a text, sorted by span and rule; overlapping matches of weaker rules are dropped.
    ///
    /// Bytes of any kind: text, UTF-16 (with or without a mark), binary. Cannot fail.
    pub fn scan(&self, data: &[u8]) -> Vec<Match> {
        self.outline(data).0
    }

    /// The matches as [`Scanner::scan`] gives them, and whether the text is plain: there is nothing in it at all,
    /// and nothing that reaches far. Of a text that is made of a plain one and some changes, only the changed lines
    /// need a look, by [`Scanner::clean_part`].
    pub fn outline(&self, data: &[u8]) -> (Vec<Match>, bool) {
        self.look(data, Kind::of(data).is_some())
    }

    /// The matches in a part of a larger text, which is no container whatever it begins with.
    pub(crate) fn scan_part(&self, data: &[u8]) -> Vec<Match> {
        self.look(data, false).0
    }

    fn look(&self, data: &[u8], packed: bool) -> (Vec<Match>, bool) {
        let mut budget = Budget::default();
        let mut shown = Vec::new();
        let mut overflow = self.plain(data, &mut budget, &mut shown);
        let mut unpacked = Unpacked::default();
        if packed {
            self.unpack(data, None, 1, &mut budget, &mut unpacked);
            overflow |= unpacked.overflow;
        }
        if budget.cut {
            unpacked.troubles.push((Trouble::Slow, 0..data.len()));
        }
        if budget.exceeded {
            let why = if budget.deep { Trouble::Deep } else { Trouble::Bound };
            unpacked.troubles.push((why, 0..data.len()));
        }
        if shown.is_empty() && unpacked.shown.is_empty() && unpacked.troubles.is_empty() && !overflow {
            return (Vec::new(), !budget.far && part::is_text(data));
        }
        (self.matches(data, shown, unpacked, overflow), false)
    }

    /// The matches of a text and of its narrow form, members of containers left out.
    fn plain(&self, data: &[u8], budget: &mut Budget, shown: &mut Vec<Shown>) -> bool {
        let mut overflow = self.text(data, &|span| span.clone(), budget, shown);
        wide::each(data, &mut |narrow| {
            overflow |= self.text(&narrow.bytes, &|span| narrow.outer(span), budget, shown);
        });
        overflow
    }

    /// The matches in the members of a container, each at the member's place in the outermost one.
    fn unpack(&self, data: &[u8], outer: Option<&Range<usize>>, level: u32, budget: &mut Budget, all: &mut Unpacked) {
        let mut troubles = Vec::new();
        container::each(
            data,
            budget,
            &mut |member, budget| {
                let place = outer.unwrap_or(&member.place);
                for text in [&member.name, &*member.bytes] {
                    let mut shown = Vec::new();
                    all.overflow |= self.plain(text, budget, &mut shown) || all.shown.len() > engine::MAX_HITS;
                    let room = (engine::MAX_HITS + 1).saturating_sub(all.shown.len());
                    all.shown.extend(shown.into_iter().take(room).map(|s| Shown {
                        excerpt: s.excerpt,
                        hit: Hit {
                            span: place.clone(),
                            ..s.hit
                        },
                    }));
                }
                match Kind::of(&member.bytes) {
                    None => {}
                    Some(_) if level < container::MAX_NESTING => {
                        self.unpack(&member.bytes, Some(place), level + 1, budget, all);
                    }
                    Some(_) => all.troubles.push((Trouble::Bound, place.clone())),
                }
            },
            &mut |why, place| troubles.push((why, outer.cloned().unwrap_or(place))),
        );
        all.troubles.extend(troubles);
    }

    /// The matches in a name (of a file, a branch, a person), and the name as it may be shown.
    ///
    /// Shown: every secret replaced, whatever its confidence; control characters, bytes that are not UTF-8
    /// and characters that change the direction of writing escaped.
    pub fn scan_name(&self, name: &[u8]) -> (Vec<Match>, String) {
        let hits = self.hits(name, 0, &mut Budget::default()).hits;
        // Nearly all names: nothing in them could be written or packed in another way either.
        let plain = name.iter().all(|byte| (0x20..0x7f).contains(byte)) && Kind::of(name).is_none();
        if hits.is_empty() && plain {
            return (Vec::new(), String::from_utf8_lossy(name).into_owned());
        }
        let secrets = place::union(hits.into_iter().map(|hit| hit.span).collect());
        (self.scan(name), place::printable(name, &secrets))
    }

    /// The hits of one text, decoded pieces included, with excerpts of that text; whether there were too many.
    fn text(
        &self,
        text: &[u8],
        outer: &dyn Fn(&Range<usize>) -> Range<usize>,
        budget: &mut Budget,
        shown: &mut Vec<Shown>,
    ) -> bool {
        let Hits {
            hits,
            overflow,
            far,
            cut,
        } = self.hits(text, 0, budget);
        budget.far |= far;
        budget.cut |= cut;
        if hits.is_empty() {
            return overflow;
        }
        let secrets = place::union(hits.iter().map(|hit| hit.span.clone()).collect());
        shown.extend(place::resolve(self.rules, hits).into_iter().map(|hit| Shown {
            excerpt: place::excerpt(text, &secrets, &hit.span),
            hit: Hit {
                span: outer(&hit.span),
                ..hit
            },
        }));
        overflow
    }

    /// The hits of one text and of what is decoded from it.
    fn hits(&self, text: &[u8], depth: u32, budget: &mut Budget) -> Hits {
        let mut all = engine::run(self.rules, self.level, text, &|secret| self.fingerprint(secret));
        decode::each(text, &mut |piece| {
            if depth >= MAX_DEPTH {
                // Ordinary text that was put together may join on with what follows, and hides nothing by that.
                if !piece.joined {
                    budget.too_deep();
                }
                return;
            }
            if depth > 0 && !budget.decode(piece.bytes.len()) {
                return;
            }
            let inner = self.inner(&piece.bytes, depth + 1, budget);
            all.take(inner, &|span| piece.outer(span));
            if Kind::of(&piece.bytes).is_some() {
                self.packed(&piece, depth + 1, budget, &mut all);
            }
        });
        all
    }

    /// The hits of a text that was found in another, and of its narrow form.
    fn inner(&self, text: &[u8], depth: u32, budget: &mut Budget) -> Hits {
        let mut all = self.hits(text, depth, budget);
        wide::each(text, &mut |narrow| {
            let hits = self.hits(&narrow.bytes, depth, budget);
            all.take(hits, &|span| narrow.outer(span));
        });
        all
    }

    /// The hits in a container that was found encoded in a text; of one level, since it cannot hold much.
    fn packed(&self, piece: &decode::Piece, depth: u32, budget: &mut Budget, all: &mut Hits) {
        let (mut nested, mut bound) = (false, false);
        container::each(
            &piece.bytes,
            budget,
            &mut |member, budget| {
                nested |= Kind::of(&member.bytes).is_some();
                let inner = self.inner(&member.bytes, depth, budget);
                all.take(inner, &|_| piece.outer(&(0..piece.bytes.len())));
            },
            // Text that only looks like a container is no trouble; a bound is.
            &mut |why, _| bound |= why == Trouble::Bound,
        );
        budget.exceeded |= nested || bound;
    }

    fn matches(&self, data: &[u8], shown: Vec<Shown>, unpacked: Unpacked, overflow: bool) -> Vec<Match> {
        let excerpts: std::collections::HashMap<(usize, usize, u16), String> = shown
            .iter()
            .map(|s| ((s.hit.span.start, s.hit.span.end, s.hit.rule), s.excerpt.clone()))
            .collect();
        let hits = place::resolve(self.rules, shown.into_iter().map(|s| s.hit).collect());
        let mut lines = place::Lines::new(data);
        let mut matches: Vec<Match> = hits
            .iter()
            .map(|hit| {
                let excerpt = excerpts.get(&(hit.span.start, hit.span.end, hit.rule));
                self.finish(hit, lines.span(&hit.span), excerpt.cloned().unwrap_or_default())
            })
            .collect();
        // What a container stores as it is has been found already.
        let known: std::collections::HashSet<[u8; 32]> = hits.iter().map(|hit| hit.fingerprint).collect();
        let mut packed = unpacked.shown;
        packed.retain(|s| !known.contains(&s.hit.fingerprint));
        // Lines are counted forward, and members need not come in the order of their places.
        packed.sort_by_key(|s| s.hit.span.start);
        let mut lines = place::Lines::new(data);
        matches.extend(
            packed
                .into_iter()
                .map(|s| self.finish(&s.hit, lines.span(&s.hit.span), s.excerpt)),
        );
        matches.extend(self.troubles(unpacked.troubles, place::Lines::new(data)));
        matches.sort_by(|a, b| (a.span.start, a.span.end, &a.rule).cmp(&(b.span.start, b.span.end, &b.rule)));
        if overflow || matches.len() > engine::MAX_HITS {
            matches.truncate(engine::MAX_HITS);
            matches.extend(self.too_many(matches.last().map(|m| m.span)));
        }
        matches
    }

    fn finish(&self, hit: &Hit, span: Span, excerpt: String) -> Match {
        let entry = &self.rules.entries()[usize::from(hit.rule)];
        Match {
            rule: entry.id.to_string(),
            title: entry.title.to_string(),
            severity: entry.severity,
            confidence: hit.confidence,
            span,
            excerpt,
            fingerprint: hex(&hit.fingerprint),
            revoke: entry.revoke.as_ref().map(ToString::to_string),
        }
    }

    /// The matches that say what of a container was not read: the first of each kind.
    fn troubles(&self, mut troubles: Vec<(Trouble, Range<usize>)>, mut lines: place::Lines) -> Vec<Match> {
        troubles.sort_by_key(|(why, place)| (*why, place.start));
        troubles.dedup_by_key(|(why, _)| *why);
        troubles.sort_by_key(|(_, place)| place.start);
        let tell = |(why, place): (Trouble, Range<usize>)| {
            let (rule, title, certain) = why.told();
            Match {
                rule: rule.to_owned(),
                title: title.to_owned(),
                severity: Severity::High,
                confidence: if certain { Confidence::High } else { Confidence::Medium },
                span: lines.span(&place),
                excerpt: String::new(),
                fingerprint: hex(&self.fingerprint(rule.as_bytes())),
                revoke: None,
            }
        };
        troubles.into_iter().map(tell).collect()
    }

    /// The match that says that the list is not complete.
    fn too_many(&self, last: Option<Span>) -> Option<Match> {
        last.map(|span| Match {
            rule: TOO_MANY.to_owned(),
            title: format!("more than {} matches; the rest is not listed", engine::MAX_HITS),
            severity: Severity::High,
            confidence: Confidence::High,
            span,
            excerpt: String::new(),
            fingerprint: hex(&self.fingerprint(TOO_MANY.as_bytes())),
            revoke: None,
        })
    }

    /// HMAC-SHA-256 under the key (<https://www.rfc-editor.org/rfc/rfc2104>).
    fn fingerprint(&self, secret: &[u8]) -> [u8; 32] {
        // A key shorter than the hash's block is, by definition, filled up with zeros.
        let mut block = zeroize::Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(self.key.expose_secret());
        let mut mac = Hmac::<sha2::Sha256>::new((&*block).into());
        mac.update(secret);
        mac.finalize().into_bytes().into()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
