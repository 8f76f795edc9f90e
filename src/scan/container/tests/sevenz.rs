//! 7z made by hand: what is in it comes out, within the bounds, and nothing panics.

use super::*;

/// A number of 7z, in its longest form.
fn long(number: usize) -> Vec<u8> {
    [&[0xff][..], &(number as u64).to_le_bytes()].concat()
}

/// Streams of 7z that are packed by these methods, each with its properties, and how long they are unpacked.
fn streams_7z(at: usize, packed: usize, methods: &[(&[u8], &[u8])], unpacked: usize) -> Vec<u8> {
    let mut list = [&[6][..], &long(at), &[1, 9], &long(packed), &[0, 7, 11, 1, 0]].concat();
    list.push(methods.len() as u8);
    for (id, properties) in methods {
        list.push(0x20 | id.len() as u8);
        list.extend_from_slice(id);
        list.extend(long(properties.len()));
        list.extend_from_slice(properties);
    }
    // Each method takes what the next one gives.
    (1..methods.len()).for_each(|at| list.extend([at as u8 - 1, at as u8]));
    list.push(12);
    methods.iter().for_each(|_| list.extend(long(unpacked)));
    list.extend([0]);
    list
}

/// The list of a 7z with one block.
fn list_7z(packed: usize, methods: &[(&[u8], &[u8])], files: &[(&str, usize)]) -> Vec<u8> {
    let unpacked = files.iter().map(|(_, size)| size).sum();
    let mut list = [&[1, 4][..], &streams_7z(0, packed, methods, unpacked)].concat();
    list.extend([&[8, 13][..], &long(files.len()), &[9]].concat());
    let sizes = files.split_last().map_or(&[][..], |(_, first)| first);
    sizes.iter().for_each(|(_, size)| list.extend(long(*size)));
    list.extend([0, 0]);
    list.extend([&[5][..], &long(files.len()), &[17]].concat());
    let names: Vec<u8> = files
        .iter()
        .flat_map(|(name, _)| name.encode_utf16().chain([0]))
        .flat_map(u16::to_le_bytes)
        .collect();
    list.extend([&long(names.len() + 1)[..], &[0], &names, &[0, 0]].concat());
    list
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

/// A 7z of packed streams and a list.
fn archive_7z(packed: &[u8], list: &[u8]) -> Vec<u8> {
    let start = [
        &(packed.len() as u64).to_le_bytes()[..],
        &(list.len() as u64).to_le_bytes(),
        &crc(list),
    ]
    .concat();
    [b"7z\xbc\xaf\x27\x1c\0\x04", &crc(&start)[..], &start, packed, list].concat()
}

const COPY: (&[u8], &[u8]) = (&[0], &[]);
const BZIP2: (&[u8], &[u8]) = (&[4, 2, 2], &[]);
const LZMA2: (&[u8], &[u8]) = (&[0x21], &[0x18]);
const AES: (&[u8], &[u8]) = (&[6, 0xf1, 7, 1], &[0x13, 0]);

fn bzip2(text: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// LZMA2 of one chunk that is not packed.
fn lzma2(text: &[u8]) -> Vec<u8> {
    let size = (text.len() - 1) as u16;
    [&[1][..], &size.to_be_bytes(), text, &[0]].concat()
}

/// A 7z of two members that are stored as they are.
pub(super) fn small() -> Vec<u8> {
    archive_7z(b"words", &list_7z(5, &[COPY], &[("a", 2), ("b", 3)]))
}

fn opened(name: &str, text: &[u8]) -> Opened {
    (name.as_bytes().to_vec(), text.to_vec())
}

#[test]
fn members_of_7z_come_out_with_their_names() {
    let text = b"first words, and then other words";
    let files = [("a.txt", 11), ("b/\u{e4}.txt", text.len() - 11)];
    let wanted = [opened("a.txt", &text[..11]), opened("b/\u{e4}.txt", &text[11..])];
    let bcj: (&[u8], &[u8]) = (&[3, 3, 1, 3], &[]);
    for (methods, packed) in [
        (&[COPY][..], text.to_vec()),
        (&[BZIP2], bzip2(text)),
        (&[LZMA2], lzma2(text)),
        (&[bcj, LZMA2], lzma2(text)),
    ] {
        let list = list_7z(packed.len(), methods, &files);
        assert_eq!(
            open(&archive_7z(&packed, &list)),
            (wanted.to_vec(), vec![]),
            "{methods:?}"
        );
        // The list may be packed itself.
        let both = [&packed[..], &bzip2(&list)].concat();
        let outer = streams_7z(packed.len(), both.len() - packed.len(), &[BZIP2], list.len());
        let outer = [&[0x17][..], &outer, &[0]].concat();
        assert_eq!(
            open(&archive_7z(&both, &outer)),
            (wanted.to_vec(), vec![]),
            "{methods:?}"
        );
    }
    let list = list_7z(0, &[COPY], &[]);
    assert_eq!(open(&archive_7z(b"", &list)).0, []);
}

#[test]
fn what_of_a_7z_cannot_be_read_is_told() {
    let text = b"words in a member";
    let files = [("name", text.len())];
    let names = vec![opened("name", b"")];
    for (methods, why) in [
        (&[AES][..], Trouble::Encrypted),
        (&[AES, LZMA2], Trouble::Encrypted),
        // PPMd, deflate, and what is packed twice.
        (&[(&[4, 1, 8][..], &[][..])], Trouble::Unknown),
        (&[(&[3, 4, 1][..], &[6, 0, 0, 1, 0][..])], Trouble::Unknown),
        (&[BZIP2, LZMA2], Trouble::Unknown),
        (&[COPY, COPY, LZMA2], Trouble::Unknown),
    ] {
        let list = list_7z(text.len(), methods, &files);
        let (members, troubles) = open(&archive_7z(text, &list));
        assert_eq!(troubles, [why], "{methods:?}");
        assert!(members == names || members.is_empty(), "{methods:?}");
    }
    // Names that are encrypted, or packed twice.
    let list = list_7z(text.len(), &[COPY], &files);
    for (methods, why) in [
        (&[AES, LZMA2][..], Trouble::Encrypted),
        (&[BZIP2, LZMA2], Trouble::Unknown),
    ] {
        let outer = [&[0x17][..], &streams_7z(0, text.len(), methods, list.len()), &[0]].concat();
        assert_eq!(open(&archive_7z(text, &outer)), (vec![], vec![why]));
    }
    // A dictionary of 4 GiB, and a list that says it is as large.
    let huge = list_7z(text.len(), &[(&[0x21], &[40])], &files);
    assert_eq!(open(&archive_7z(text, &huge)).1, [Trouble::Bound]);
    let outer = [&[0x17][..], &streams_7z(0, text.len(), &[BZIP2], 1 << 32), &[0]].concat();
    assert_eq!(open(&archive_7z(text, &outer)), (vec![], vec![Trouble::Bound]));
    // A block that hides more than its members have.
    let list = list_7z(text.len(), &[BZIP2], &[("name", 5)]);
    let (members, troubles) = open(&archive_7z(&bzip2(text), &list));
    assert_eq!((members.len(), troubles), (1, vec![Trouble::Broken]));
    // An archive that was never finished, one that is cut, and one whose list is another's.
    let whole = archive_7z(text, &list_7z(text.len(), &[COPY], &files));
    let unfinished = [&whole[..8], &[0; 24], &[1, 0].repeat(1 << 19)].concat();
    for broken in [
        &unfinished,
        &whole[..whole.len() - 1],
        &whole[..40],
        &whole[..31],
        &whole[..6],
    ] {
        assert_eq!(open(broken), (vec![], vec![Trouble::Broken]));
    }
}

#[test]
fn bombs_of_7z_end_at_the_bound() {
    let zeros = vec![0; MAX_INFLATED / 4];
    let packed = bzip2(&zeros.repeat(5));
    let files: Vec<(&str, usize)> = (0..5).map(|_| ("zeros", zeros.len())).collect();
    let (members, troubles) = open(&archive_7z(&packed, &list_7z(packed.len(), &[BZIP2], &files)));
    let unpacked: usize = members.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!((unpacked, troubles), (MAX_INFLATED, vec![Trouble::Bound]));
    // More members than are read, and as many as the largest list can hold.
    let many = |count: usize| {
        let list = list_7z(0, &[COPY], &vec![("", 0); count]);
        let packed = bzip2(&list);
        let outer = [&[0x17][..], &streams_7z(0, packed.len(), &[BZIP2], list.len()), &[0]].concat();
        open(&archive_7z(&packed, &outer))
    };
    assert_eq!(many(10_000).1, []);
    let (members, troubles) = many(150_000);
    assert_eq!((members.len(), troubles), (MAX_MEMBERS, vec![Trouble::Bound]));
    assert_eq!(many(250_000), (vec![], vec![Trouble::Bound]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever a list says whose checksums are right.
    #[test]
    fn a_damaged_list_of_7z_is_read_without_panic(
        packed in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in 0usize..30,
    ) {
        let text = lzma2(b"words and more words");
        let mut list = list_7z(text.len(), &[LZMA2], &[("a", 9), ("b", 11)]);
        if packed {
            list = [&[0x17][..], &streams_7z(0, text.len(), &[LZMA2], list.len()), &[0]].concat();
        }
        for (at, byte) in changes {
            let at = at.index(list.len());
            list[at] = byte;
        }
        list.truncate(list.len().saturating_sub(cut).max(1));
        open(&archive_7z(&text, &list));
    }
}
