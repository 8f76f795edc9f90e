//! 7z.
//!
//! Blocks of members, each block packed as one stream. Read by sevenz-rust2,
//! once the list of members is known to be small: a list of a few kilobytes may
//! unpack to gigabytes, and one that is lost would be looked for byte by byte.
//! A block is read that is packed once, perhaps through a filter: streams packed
//! again and again may cost hours and yield nothing.
//! Format: <https://github.com/ip7z/7zip/blob/main/DOC/7zFormat.txt>.

use super::{Budget, Member, Trouble};
use sevenz_rust2::{Archive, ArchiveEntry, Block, BlockDecoder, EncoderMethod, Error, Password};
use std::io::Cursor;
use std::ops::Range;
use zeroize::Zeroizing;

/// Most bytes of the list of members, unpacked: 200 for each of the most members; it costs a hundred times that.
const MAX_LIST: u64 = 2 << 20;
/// Most memory that unpacking may take, in KiB: a dictionary of 64 MiB, as the highest usual level has, and 1 MiB.
const MEMORY: usize = 65 << 10;
/// Bytes before the packed streams.
const START: usize = 32;

/// What changes bytes without packing them: at most one stands before what packs.
const FILTERS: [&[u8]; 9] = [
    EncoderMethod::ID_DELTA,
    EncoderMethod::ID_BCJ_X86,
    EncoderMethod::ID_BCJ_PPC,
    EncoderMethod::ID_BCJ_IA64,
    EncoderMethod::ID_BCJ_ARM,
    EncoderMethod::ID_BCJ_ARM64,
    EncoderMethod::ID_BCJ_ARM_THUMB,
    EncoderMethod::ID_BCJ_SPARC,
    EncoderMethod::ID_BCJ_RISCV,
];

pub(super) fn each(
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    let whole = 0..data.len();
    let opened = check_list(data).and_then(|()| {
        Archive::read_with_memory_limit(&mut Cursor::new(data), &Password::empty(), MEMORY).map_err(|e| reason(&e))
    });
    let archive = match opened {
        Ok(archive) => archive,
        Err(why) => return trouble(why, whole),
    };
    for number in 0..archive.blocks.len() {
        if let Err(why) = block(data, &archive, number, budget, found) {
            trouble(why, whole.clone());
            if why == Trouble::Bound {
                return;
            }
        }
    }
    // Folders and empty files have only a name.
    let empty = archive.files.iter().zip(&archive.stream_map.file_block_index);
    for (entry, _) in empty.filter(|(_, block)| block.is_none()) {
        if let Err(why) = name(data, entry, budget, found) {
            return trouble(why, whole);
        }
    }
}

/// Hands on the members of a block.
fn block(
    data: &[u8],
    archive: &Archive,
    number: usize,
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
) -> Result<(), Trouble> {
    let (mut source, password) = (Cursor::new(data), Password::empty());
    let decoder = BlockDecoder::new_with_memory_limit(1, MEMORY, number, archive, &password, &mut source);
    if let Err(why) = readable(&archive.blocks[number]) {
        for entry in decoder.entries() {
            name(data, entry, budget, found)?;
        }
        return Err(why);
    }
    let mut end = budget.member();
    let mut first = true;
    let read = decoder.for_each_entries(&mut |entry, content| {
        // A block counts even without members; its first one is counted with it.
        if !std::mem::take(&mut first) {
            end = budget.member();
        }
        if end.is_err() {
            return Ok(false);
        }
        let (bytes, ended) = budget.read(content);
        let (name, place) = (entry.name().as_bytes().to_vec(), 0..data.len());
        found(Member { name, bytes, place }, budget);
        end = ended;
        Ok(end.is_ok())
    });
    end.and(read.map(drop).map_err(|e| reason(&e)))
}

/// Hands on a name alone.
fn name(
    data: &[u8],
    entry: &ArchiveEntry,
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
) -> Result<(), Trouble> {
    budget.member()?;
    let (name, bytes) = (entry.name().as_bytes().to_vec(), Zeroizing::default());
    let place = 0..data.len();
    found(Member { name, bytes, place }, budget);
    Ok(())
}

/// Whether a block is packed as one that is read here.
fn readable(block: &Block) -> Result<(), Trouble> {
    let ids: Vec<&[u8]> = block.coders.iter().map(|coder| coder.encoder_method_id()).collect();
    if ids.contains(&EncoderMethod::ID_AES256_SHA256) {
        return Err(Trouble::Encrypted);
    }
    let packs = ids.iter().filter(|id| !FILTERS.contains(id)).count();
    if packs > 1 || ids.len() > 2 {
        return Err(Trouble::Unknown);
    }
    Ok(())
}

fn reason(error: &Error) -> Trouble {
    match error {
        Error::MaxMemLimited { .. } => Trouble::Bound,
        Error::PasswordRequired => Trouble::Encrypted,
        Error::UnsupportedCompressionMethod(_)
        | Error::UnsupportedVersion { .. }
        | Error::Unsupported(_)
        | Error::ExternalUnsupported => Trouble::Unknown,
        _ => Trouble::Broken,
    }
}

/// Whether the list of members is where the start says, no larger than [`MAX_LIST`], and packed once if at all.
fn check_list(data: &[u8]) -> Result<(), Trouble> {
    let number = |at: usize| {
        let bytes = data.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_le_bytes).ok_or(Trouble::Broken)
    };
    let (offset, size) = (number(12)?, number(20)?);
    // Without a place, as in an archive that was not finished, the library would try every byte.
    if size == 0 {
        return Err(Trouble::Broken);
    }
    if size > MAX_LIST {
        return Err(Trouble::Bound);
    }
    let start = usize::try_from(offset)
        .ok()
        .and_then(|offset| offset.checked_add(START));
    let list = start.and_then(|start| data.get(start..start.checked_add(size as usize)?));
    match list.ok_or(Trouble::Broken)? {
        [1, ..] => Ok(()),
        [0x17, packed @ ..] => packed_list(packed),
        _ => Err(Trouble::Broken),
    }
}

/// The same for a list that is packed: one stream, one block, one method.
fn packed_list(list: &[u8]) -> Result<(), Trouble> {
    let mut list = Numbers(list);
    // The packed stream: place, count, size.
    list.expect(6)?;
    list.number()?;
    list.expect(1)?;
    list.expect(9)?;
    list.number()?;
    if list.byte()? == 10 {
        list.checksum()?;
        list.expect(0)?;
    }
    // The block, in the list itself.
    [7, 11, 1, 0].into_iter().try_for_each(|byte| list.expect(byte))?;
    let methods = list.byte()?;
    for _ in 0..methods.min(4) {
        if list.method()? == EncoderMethod::ID_AES256_SHA256 {
            return Err(Trouble::Encrypted);
        }
    }
    if methods != 1 {
        return Err(Trouble::Unknown);
    }
    list.expect(12)?;
    match list.number()? {
        0..=MAX_LIST => Ok(()),
        _ => Err(Trouble::Bound),
    }
}

/// What the list says before it is unpacked. Whatever is otherwise than every known writer writes it is unknown.
struct Numbers<'a>(&'a [u8]);

impl<'a> Numbers<'a> {
    fn byte(&mut self) -> Result<u8, Trouble> {
        let (byte, rest) = self.0.split_first().ok_or(Trouble::Broken)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Trouble> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Trouble::Broken)?;
        self.0 = rest;
        Ok(taken)
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Trouble> {
        match self.byte()? == wanted {
            true => Ok(()),
            false => Err(Trouble::Unknown),
        }
    }

    /// A number: as many more bytes as its first one has leading ones, the lowest first; the rest of it is the highest.
    fn number(&mut self) -> Result<u64, Trouble> {
        let first = self.byte()?;
        let count = first.leading_ones();
        let low = self.take(count as usize)?.iter().rev();
        let low = low.fold(0, |number, byte| number << 8 | u64::from(*byte));
        let high = u64::from(first) & (0x7f >> count.min(7));
        Ok(low | high.checked_shl(8 * count).unwrap_or(0))
    }

    /// Checksums of one stream.
    fn checksum(&mut self) -> Result<(), Trouble> {
        self.expect(1)?;
        self.take(4).map(drop)
    }

    /// The id of a method with one stream in and out.
    fn method(&mut self) -> Result<&'a [u8], Trouble> {
        let flags = self.byte()?;
        if flags & 0xd0 != 0 {
            return Err(Trouble::Unknown);
        }
        let id = self.take(usize::from(flags & 15))?;
        if flags & 0x20 != 0 {
            let size = self.number()?;
            self.take(usize::try_from(size).map_err(|_| Trouble::Broken)?)?;
        }
        Ok(id)
    }
}
