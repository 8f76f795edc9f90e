//! Rules that stand beside the shipped ones, as bytes: ready to match without being read and checked again.
//!
//! In scope: the form, and refusing what is not exactly what this program
//! wrote for exactly these rule files. Out of scope: where the bytes are kept
//! (`cmd`). A stamp names the files, the shipped rules and the program's
//! version, a digest covers the rest; whatever is cut, changed, older or
//! foreign is no set, and the files are then read as if there were no bytes.
//! Even so no keyword is believed that the masks would not let through.

use super::super::buckets::{Choice, Pattern};
use super::super::table::{self, FOLD, Keyword};
use super::*;
use crate::rule::CHECKSUMS;
use sha2::{Digest, Sha256};

/// Changes with the form.
const MAGIC: &[u8; 16] = b"lychgate rules 1";
const STAMP: usize = 32;

impl RuleSet {
    /// The bytes of a set that [`RuleSet::parse`] made of the shipped rules and others; `None` of any other set.
    pub fn compiled(&self) -> Option<Vec<u8>> {
        let shipped = Self::builtin();
        let known = shipped.entries().len();
        let same = |(a, b): (&Entry, &Entry)| a.id == b.id;
        let Entries::Made(entries) = &self.entries else {
            return None;
        };
        let own = entries.get(known..)?;
        if own.is_empty() || !entries.iter().zip(shipped.entries()).all(same) {
            return None;
        }
        let mut out = Out(Vec::new());
        out.list(own, |out, entry| out.entry(entry));
        out.list(&self.severities, |out, one| {
            let globs: Vec<&str> = one.paths.iter().map(PathGlob::as_str).collect();
            out.list(&globs, |out, glob| out.text(glob));
            out.list(&one.rules, |out, id| out.text(id));
            out.number(one.severity as u32);
        });
        let first = u16::try_from(known).ok()?;
        out.keywords(&self.table, shipped.table.keywords.len(), first);
        for side in [&self.table.masks.low, &self.table.masks.high] {
            out.0.extend(side.as_flattened().as_flattened());
        }
        let sum = Sha256::digest(&out.0);
        Some([MAGIC, &stamp(self.digest())[..], &sum[..], &out.0].concat())
    }

    /// The set of the shipped rules and others from its bytes; `None` if they are not those of these files, of these
    /// shipped rules and of this program.
    ///
    /// * `digest`: that of the files, [`RuleSet::digest_beside`].
    pub fn from_compiled(digest: &str, bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(&stamp(digest))?;
        let (sum, body) = rest.split_at_checked(STAMP)?;
        if Sha256::digest(body)[..] != *sum {
            return None;
        }
        let shipped = Self::builtin();
        let mut from = In(body);
        let own = from.list(In::entry)?;
        let severities = from.list(In::severity)?;
        let known = shipped.entries().len();
        let all = known + own.len();
        let table = from.table(&shipped.table, known..all)?;
        let sound = |entry: &Entry| entry.near.iter().all(|near| usize::from(*near) < all);
        if all > source::MAX_RULES || !own.iter().all(sound) {
            return None;
        }
        if !from.0.is_empty() {
            return None;
        }
        let numbered = (known..).zip(&own);
        let slow = numbered.filter(|(_, entry)| entry.slow);
        let with_keyword: HashSet<u16> = table.keywords.iter().flat_map(|k| k.rules.iter().copied()).collect();
        let slow = slow.filter_map(|(number, _)| u16::try_from(number).ok());
        let slow: Vec<u16> = slow.filter(|number| !with_keyword.contains(number)).collect();
        Some(Self {
            slow: Cow::Owned([&shipped.slow[..], &slow].concat()),
            severities: Cow::Owned(severities),
            table: Cow::Owned(table),
            digest: Cow::Owned(digest.to_owned()),
            entries: Entries::Made(shipped.entries().iter().map(Entry::again).chain(own).collect()),
        })
    }
}

/// What the bytes are for: the rules, the tables that they extend, and the program.
fn stamp(digest: &str) -> [u8; STAMP] {
    let masks = RuleSet::builtin().table.masks;
    let mut hash = Sha256::new();
    hash.update(format!("{digest}\n{}\n", env!("CARGO_PKG_VERSION")));
    for side in [&masks.low, &masks.high] {
        hash.update(side.as_flattened().as_flattened());
    }
    hash.finalize().into()
}

fn position<T: PartialEq>(all: &[T], one: &T) -> u32 {
    all.iter().position(|other| other == one).unwrap_or(all.len()) as u32
}

/// Writes numbers of four bytes, texts and lists with their lengths before them.
struct Out(Vec<u8>);

impl Out {
    fn number(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.extend(text.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u32);
        items.iter().for_each(|item| write(self, item));
    }

    fn entry(&mut self, entry: &Entry) {
        self.text(&entry.id);
        self.text(&entry.title);
        self.text(&entry.regex);
        self.text(entry.revoke.as_deref().unwrap_or_default());
        let named = CHECKSUMS.map(Check::named);
        let Reach {
            before,
            after,
            one_line,
        } = entry.reach;
        for number in [
            u32::from(entry.revoke.is_some()),
            entry.severity as u32,
            entry.confidence as u32,
            u32::from(entry.generic),
            position(&named, &entry.check),
            before,
            after,
            u32::from(one_line),
            entry.within,
            u32::from(entry.slow),
        ] {
            self.number(number);
        }
        self.0.extend(entry.entropy.to_le_bytes());
        self.list(&entry.near, |out, near| out.number(u32::from(*near)));
    }

    /// The keywords of rules from `first` on: of those that the shipped rules have too only the numbers, of the
    /// others text and window.
    fn keywords(&mut self, table: &Table, known: usize, first: u16) {
        let own = |keyword: &Keyword| keyword.rules.iter().copied().filter(|rule| *rule >= first).collect();
        let own: Vec<Vec<u16>> = table.keywords.iter().map(own).collect();
        let shared: Vec<usize> = (0..known).filter(|number| !own[*number].is_empty()).collect();
        self.list(&shared, |out, number| {
            out.number(*number as u32);
            out.list(&own[*number], |out, rule| out.number(u32::from(*rule)));
        });
        let windows = table.chosen();
        let new: Vec<usize> = (known..own.len()).collect();
        self.list(&new, |out, number| {
            let (pattern, offset) = windows[*number];
            out.text(&table.keywords[*number].text);
            out.list(&own[*number], |out, rule| out.number(u32::from(*rule)));
            out.number(pattern.key());
            out.number(u32::from(pattern.open));
            out.number(offset as u32);
        });
    }
}

/// Reads what [`Out`] writes; `None` for anything else.
struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.number()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn rule(&mut self) -> Option<u16> {
        self.number()?.try_into().ok()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.number()? as usize).copied()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()? as usize;
        // Each item has at least four bytes.
        if count > self.0.len() / 4 {
            return None;
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn entry(&mut self) -> Option<Entry> {
        let [id, title, regex, revoke] = [self.text()?, self.text()?, self.text()?, self.text()?];
        let revoke = self.flag()?.then_some(Cow::Owned(revoke));
        let severity = self.one_of(&Severity::NAMED)?.1;
        let confidence = self.one_of(&Confidence::NAMED)?.1;
        let generic = self.flag()?;
        let named = CHECKSUMS.map(Check::named);
        let check = match self.number()? as usize {
            at if at == named.len() => None,
            at => *named.get(at)?,
        };
        let reach = Reach {
            before: self.number()?,
            after: self.number()?,
            one_line: self.flag()?,
        };
        Some(Entry {
            id: Cow::Owned(id),
            title: Cow::Owned(title),
            severity,
            confidence,
            generic,
            revoke,
            check,
            reach,
            within: self.number()?,
            slow: self.flag()?,
            entropy: f64::from_le_bytes(self.bytes()?),
            near: Cow::Owned(self.list(Self::rule)?),
            regex: Cow::Owned(regex),
            ready: None,
            outline: OnceLock::new(),
            expression: OnceLock::new(),
        })
    }

    fn severity(&mut self) -> Option<PathSeverity> {
        let paths = self.list(|from| PathGlob::parse(&from.text()?).ok())?;
        let rules = self.list(Self::text)?;
        let severity = self.one_of(&Severity::NAMED)?.1;
        Some(PathSeverity { paths, rules, severity })
    }

    /// The tables of the shipped rules, extended.
    ///
    /// * `own`: the numbers that rules may have.
    fn table(&mut self, base: &Table, own: Range<usize>) -> Option<Table> {
        let mut keywords = base.keywords.to_vec();
        let mut windows = base.chosen();
        let rules = |from: &mut Self| {
            let rules = from.list(Self::rule)?;
            rules
                .iter()
                .all(|rule| own.contains(&usize::from(*rule)))
                .then_some(rules)
        };
        let shared = self.list(|from| Some((from.number()? as usize, rules(from)?)))?;
        for (number, more) in shared {
            keywords.get_mut(number)?.rules.to_mut().extend(more);
        }
        let new = self.list(|from| {
            let (text, rules) = (from.text()?, rules(from)?);
            let (key, open, offset) = (from.number()?, from.flag()?, from.number()? as usize);
            let bytes = key.to_le_bytes();
            Some((Cow::Owned(text), Cow::Owned(rules), Pattern { bytes, open }, offset))
        })?;
        for (text, rules, pattern, offset) in new {
            keywords.push(Keyword { text, rules });
            windows.push((pattern, offset));
        }
        let mut masks = base.masks;
        for side in [&mut masks.low, &mut masks.high] {
            for row in side.as_flattened_mut() {
                *row = self.bytes()?;
            }
        }
        let fits = |(keyword, window): (&Keyword, &(Pattern, usize))| stands(&keyword.text, *window, &masks);
        let sound = keywords.len() <= usize::from(u16::MAX) && keywords.iter().zip(&windows).all(fits);
        sound.then(|| table::assemble(keywords, &Choice { windows, masks }))
    }
}

/// Whether a window is that of the keyword, and passes the masks.
fn stands(keyword: &str, (pattern, offset): (Pattern, usize), masks: &table::Masks) -> bool {
    let width = if pattern.open { 3 } else { 4 };
    let there = keyword.as_bytes().get(offset..offset + width);
    let mut folded = [0; 4];
    let same = there.is_some_and(|bytes| {
        folded[..width].copy_from_slice(bytes);
        folded[..width].iter_mut().for_each(|byte| *byte |= FOLD as u8);
        folded == pattern.bytes
    });
    // Any fourth byte may follow an open one.
    let fourth = if pattern.open {
        0..=u8::MAX
    } else {
        folded[3]..=folded[3]
    };
    same && offset <= usize::from(u8::MAX)
        && fourth
            .filter(|byte| !pattern.open || byte | FOLD as u8 == *byte)
            .all(|byte| masks.admits([folded[0], folded[1], folded[2], byte]))
}
