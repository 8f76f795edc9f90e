//! Between the port's types and columns: every conversion checked, in both directions.

use super::fault::Fault;
use crate::port::{DecisionRecord, Document, EntryRecord, EntryState};
use crate::push::{Oid, RefUpdate, Timestamp};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite};
use std::io::{BufWriter, Read, Write};

/// A count or index as a column's value.
pub(super) fn integer(value: u64) -> Result<i64, Fault> {
    i64::try_from(value).map_err(|_| Fault::Refused(format!("{value} is larger than a column can hold")))
}

/// A column's value as a count or index.
pub(super) fn count(value: i64) -> Result<u64, Fault> {
    u64::try_from(value).map_err(|_| Fault::Corrupt(format!("{value} stands where a count must stand")))
}

/// Reads a column that must be there and of its type.
pub(super) fn column<'r, T>(row: &'r SqliteRow, index: usize) -> Result<T, Fault>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    Ok(row.try_get(index)?)
}

fn oid(raw: &[u8]) -> Result<Oid, Fault> {
    Oid::from_bytes(raw).map_err(|invalid| Fault::Corrupt(invalid.to_string()))
}

fn optional_oid(raw: Option<&[u8]>) -> Result<Option<Oid>, Fault> {
    raw.map(oid).transpose()
}

/// A 32-byte hash.
pub(super) fn hash(raw: &[u8]) -> Result<[u8; 32], Fault> {
    raw.try_into()
        .map_err(|_| Fault::Corrupt(format!("a hash has {} bytes, not 32", raw.len())))
}

/// How a state is written.
pub(super) fn state_name(state: EntryState) -> &'static str {
    match state {
        EntryState::Pending => "pending",
        EntryState::Published => "published",
        EntryState::Void => "void",
    }
}

fn state(name: &str) -> Result<EntryState, Fault> {
    [EntryState::Pending, EntryState::Published, EntryState::Void]
        .into_iter()
        .find(|state| state_name(*state) == name)
        .ok_or_else(|| Fault::Corrupt("an entry has an unknown state".to_owned()))
}

/// A select of whole entries, read back by [`entry`]; the argument is what follows `FROM entry`.
macro_rules! select_entry {
    ($rest:literal) => {
        concat!(
            "SELECT id, push_id, ref_name, old_oid, new_oid, commit_oid, tree_oid, received_at, guarantees, ",
            "state, owner, log_index, status_index, provenance, vsa FROM entry ",
            $rest
        )
    };
}
pub(super) use select_entry;

/// Reads an entry from a row of [`select_entry`].
pub(super) fn entry(row: &SqliteRow) -> Result<EntryRecord, Fault> {
    let name: &str = column(row, 2)?;
    let update = RefUpdate {
        name: name.parse().map_err(|invalid| Fault::Corrupt(format!("{invalid}")))?,
        old: oid(column(row, 3)?)?,
        new: oid(column(row, 4)?)?,
    };
    Ok(EntryRecord {
        id: column(row, 0)?,
        push_id: column(row, 1)?,
        update,
        commit: optional_oid(column(row, 5)?)?,
        tree: optional_oid(column(row, 6)?)?,
        received_at: Timestamp::from_unix(column(row, 7)?),
        guarantees: column(row, 8)?,
        state: state(column(row, 9)?)?,
        owner: column(row, 10)?,
        log_index: column::<Option<i64>>(row, 11)?.map(count).transpose()?,
        status_index: column::<Option<i64>>(row, 12)?.map(count).transpose()?,
        provenance: column(row, 13)?,
        vsa: column(row, 14)?,
    })
}

/// A select of whole decisions, read back by [`decision`]; the argument is what follows the tables.
macro_rules! select_decision {
    ($rest:literal) => {
        concat!(
            "SELECT d.push_id, d.received_at, d.allowed, p.text, d.facts, d.facts_len, d.decision, d.decision_len ",
            "FROM decision d JOIN policy p ON p.digest = d.policy ",
            $rest
        )
    };
}
pub(super) use select_decision;

/// Reads a decision from a row of [`select_decision`].
pub(super) fn decision(row: &SqliteRow) -> Result<DecisionRecord, Fault> {
    Ok(DecisionRecord {
        push_id: column(row, 0)?,
        received_at: Timestamp::from_unix(column(row, 1)?),
        allowed: column::<i64>(row, 2)? == 1,
        policy: column(row, 3)?,
        facts: inflate(column(row, 4)?, count(column(row, 5)?)?)?,
        decision: inflate(column(row, 6)?, count(column(row, 7)?)?)?,
    })
}

/// Below this size deflating costs more, in the memory that it touches first, than it saves on disk.
const SMALL: usize = 4096;
/// Begins a document that is stored as it is; no zlib stream begins so.
const PLAIN: u8 = 0;

/// Deflates what is to be stored, unless it is small; with its length. The fastest level: the hook waits for it.
pub(super) fn deflate(document: &impl Document) -> Result<(Vec<u8>, u64), Fault> {
    let pack = || {
        let mut packer = BufWriter::with_capacity(SMALL, Packer::new());
        document.write_to(&mut packer)?;
        packer.into_inner()?.finish()
    };
    pack().map_err(|error: std::io::Error| Fault::Refused(format!("it cannot be deflated: {error}")))
}

/// Takes a document piece by piece, and holds of it only what is to be stored.
struct Packer {
    length: u64,
    packed: Packed,
}

enum Packed {
    Plain(Vec<u8>),
    Deflating(ZlibEncoder<Vec<u8>>),
}

impl Packer {
    fn new() -> Self {
        Self {
            length: 0,
            packed: Packed::Plain(vec![PLAIN]),
        }
    }

    fn finish(self) -> std::io::Result<(Vec<u8>, u64)> {
        let packed = match self.packed {
            Packed::Plain(plain) => plain,
            Packed::Deflating(encoder) => encoder.finish()?,
        };
        Ok((packed, self.length))
    }
}

impl Write for Packer {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        self.length += piece.len() as u64;
        match &mut self.packed {
            Packed::Deflating(encoder) => encoder.write_all(piece)?,
            Packed::Plain(plain) => {
                plain.extend_from_slice(piece);
                if self.length >= SMALL as u64 {
                    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                    encoder.write_all(&plain[1..])?;
                    self.packed = Packed::Deflating(encoder);
                }
            }
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Inflates what was stored: exactly `len` bytes, so that a damaged row cannot fill the memory.
fn inflate(data: &[u8], len: u64) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    match data.strip_prefix(&[PLAIN]) {
        Some(plain) => out.extend_from_slice(plain),
        None => drop(
            ZlibDecoder::new(data)
                .take(len.saturating_add(1))
                .read_to_end(&mut out)
                .map_err(|error| Fault::Corrupt(format!("a stored document cannot be inflated: {error}")))?,
        ),
    }
    if u64::try_from(out.len()) == Ok(len) {
        Ok(out)
    } else {
        Err(Fault::Corrupt(
            "a stored document has another length than was noted".to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_deflated_inflates_to_itself_and_to_no_other_length(
            data in prop_oneof![any::<Vec<u8>>(), proptest::collection::vec(any::<u8>(), SMALL..SMALL + 100)],
            off in 1u64..9,
        ) {
            let (stored, len) = deflate(&data).unwrap();
            prop_assert_eq!(len, data.len() as u64);
            prop_assert_eq!(inflate(&stored, len).unwrap(), data);
            prop_assert!(inflate(&stored, len + off).is_err());
            prop_assert!(len < off || inflate(&stored, len - off).is_err());
        }

        #[test]
        fn foreign_bytes_are_an_error_and_never_a_document(data: Vec<u8>) {
            // Without a zlib header and checksum nothing of a length > 0 may come out.
            prop_assert!(inflate(&data, 1 << 20).is_err());
        }

        #[test]
        fn integers_go_both_ways_or_fail(value: u64) {
            match integer(value) {
                Ok(stored) => prop_assert_eq!(count(stored).unwrap(), value),
                Err(_) => prop_assert!(value > i64::MAX as u64),
            }
        }
    }

    #[test]
    fn a_negative_count_is_corrupt() {
        assert!(matches!(count(-1), Err(Fault::Corrupt(_))));
    }

    #[test]
    fn states_are_read_as_they_are_written() {
        for each in [EntryState::Pending, EntryState::Published, EntryState::Void] {
            assert_eq!(state(state_name(each)).unwrap(), each);
        }
        assert!(state("gone").is_err());
    }
}
