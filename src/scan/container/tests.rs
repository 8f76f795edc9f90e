//! Containers made by hand and at random: what is in them comes out, within the bounds, and nothing panics.

mod sevenz;

use super::*;
use flate2::Compression;
use proptest::prelude::*;
use std::io::Write;

/// A member's name and its bytes.
type Opened = (Vec<u8>, Vec<u8>);

/// All members and troubles of a container, one level deep.
fn open(data: &[u8]) -> (Vec<Opened>, Vec<Trouble>) {
    let (mut members, mut troubles) = (Vec::new(), Vec::new());
    each(
        data,
        &mut Budget::default(),
        &mut |member, _| {
            assert!(member.place.end <= data.len());
            members.push((member.name, member.bytes.to_vec()));
        },
        &mut |why, place| {
            assert!(place.start <= place.end && place.end <= data.len());
            troubles.push(why);
        },
    );
    (members, troubles)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A zip of one member: a local header, its content, no directory.
fn zip_of(name: &str, method: u16, flags: u16, packed: &[u8]) -> Vec<u8> {
    let mut zip = b"PK\x03\x04\x14\0".to_vec();
    zip.extend(flags.to_le_bytes());
    zip.extend(method.to_le_bytes());
    zip.extend([0; 8]);
    zip.extend((packed.len() as u32).to_le_bytes());
    zip.extend([0; 4]);
    zip.extend((name.len() as u16).to_le_bytes());
    zip.extend([0; 2]);
    zip.extend(name.as_bytes());
    zip.extend(packed);
    zip
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn members_come_out_with_their_names() {
    let text = b"some words in a member".as_slice();
    assert_eq!(open(&gzip(text)), (vec![(Vec::new(), text.to_vec())], vec![]));
    for (method, packed) in [(0, text.to_vec()), (8, deflate(text))] {
        let zip = zip_of("a.txt", method, 0, &packed);
        assert_eq!(open(&zip), (vec![(b"a.txt".to_vec(), text.to_vec())], vec![]));
    }
}

#[test]
fn what_cannot_be_read_is_told() {
    let text = vec![b'x'; 4000];
    let cut = gzip(&text);
    assert_eq!(open(&cut[..cut.len() - 9]).1, [Trouble::Broken]);
    assert_eq!(open(&zip_of("a", 8, 1, b"??")).1, [Trouble::Encrypted]);
    assert_eq!(open(&zip_of("a", 99, 0, b"??")).1, [Trouble::Unknown]);
    assert_eq!(open(b"PK\x03\x04").1, [Trouble::Broken]);
    assert!(open(b"plain text").0.is_empty());
}

#[test]
fn a_bomb_ends_at_the_bound() {
    let bomb = gzip(&vec![0; MAX_INFLATED + 1]);
    let (members, troubles) = open(&bomb);
    assert_eq!(members[0].1.len(), MAX_INFLATED);
    assert_eq!(troubles, [Trouble::Bound]);
    let many: Vec<u8> = (0..=MAX_MEMBERS).flat_map(|_| zip_of("a", 0, 0, b"")).collect();
    let (members, troubles) = open(&many);
    assert_eq!((members.len(), troubles), (MAX_MEMBERS, vec![Trouble::Bound]));
}

/// A directory entry for the local header at `at`.
fn entry(at: usize, size: usize) -> Vec<u8> {
    let mut entry = vec![0; 46];
    entry[..4].copy_from_slice(b"PK\x01\x02");
    entry[20..24].copy_from_slice(&(size as u32).to_le_bytes());
    entry[42..46].copy_from_slice(&(at as u32).to_le_bytes());
    entry
}

/// A zip's bytes with another packed size in its first header.
fn with_size(mut zip: Vec<u8>, size: usize) -> Vec<u8> {
    zip[18..22].copy_from_slice(&(size as u32).to_le_bytes());
    zip
}

fn texts(data: &[u8]) -> Vec<Vec<u8>> {
    open(data).0.into_iter().map(|(_, bytes)| bytes).collect()
}

#[test]
fn a_header_with_a_wrong_size_hides_no_member() {
    let (first, second) = (b"first".as_slice(), b"the second member".as_slice());
    // Deflate tells its end; of a stored member only the directory tells the next one.
    for (method, packed) in [(8, deflate(first)), (0, first.to_vec())] {
        let next = zip_of("b", 8, 0, &deflate(second));
        let lying = with_size(zip_of("a", method, 0, &packed), packed.len() + next.len());
        let at = lying.len();
        let zip = [lying, next, entry(at, 0)].concat();
        assert!(texts(&zip).contains(&second.to_vec()), "{method}");
    }
    let beyond = with_size(zip_of("a", 0, 0, first), 1 << 30);
    assert_eq!(
        open(&beyond),
        (vec![(b"a".to_vec(), first.to_vec())], vec![Trouble::Broken])
    );
}

#[test]
fn members_whose_size_comes_after_them_are_read_without_a_directory() {
    let (first, second) = (b"first".as_slice(), b"the second member".as_slice());
    for (method, packed) in [(8, deflate(first)), (0, first.to_vec())] {
        let streamed = with_size(zip_of("a", method, 8, &packed), 0);
        let zip = [streamed, b"PK\x07\x08".to_vec(), vec![0; 12], zip_of("b", 0, 0, second)].concat();
        assert_eq!(texts(&zip), [first, second], "{method}");
    }
    // A size of 64 bits, in its field.
    let mut zip = with_size(zip_of("a", 0, 0, &[]), 0xffff_ffff);
    zip[28..30].copy_from_slice(&20u16.to_le_bytes());
    zip.extend([1, 0, 16, 0]);
    zip.extend([first.len() as u64; 2].iter().flat_map(|size| size.to_le_bytes()));
    zip.extend(first);
    zip.extend(zip_of("b", 0, 0, second));
    assert_eq!(texts(&zip), [first, second]);
}

#[test]
fn an_archive_behind_something_else_is_read() {
    let mut end = vec![0; 22];
    end[..4].copy_from_slice(b"PK\x05\x06");
    for before in [
        b"#!/usr/bin/env python3\n".as_slice(),
        b"\x7fELF\0\0",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xd9",
    ] {
        let data = [before, &zip_of("a", 8, 0, &deflate(b"words")), &end].concat();
        assert!(texts(&data).contains(&b"words".to_vec()), "{before:?}");
    }
}

/// Members that quote the next one's header and share its content: <https://www.usenix.org/conference/woot19/presentation/fifield>.
#[test]
fn overlapping_members_are_unpacked_twice_at_most() {
    const KERNEL: usize = 1 << 20;
    let (mut packed, mut tail) = (deflate(&vec![0; KERNEL]), Vec::new());
    for _ in 0..200 {
        let header = zip_of("n", 8, 0, &packed);
        let header = &header[..31];
        let size = (header.len() as u16).to_le_bytes();
        tail.push(packed.len());
        packed = [&[0, size[0], size[1], !size[0], !size[1]][..], header, &packed].concat();
    }
    let mut zip = zip_of("n", 8, 0, &packed);
    let length = zip.len();
    zip.extend(tail.iter().flat_map(|size| entry(length - size - 31, *size)));
    let (members, troubles) = open(&zip);
    assert!(members.len() > 200, "{}", members.len());
    assert!(members.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() < 3 * KERNEL);
    // Most of them end in the middle, which is told.
    assert!(troubles.contains(&Trouble::Broken));
}

#[test]
fn a_directory_of_more_members_than_are_read_is_told() {
    let cover = zip_of("a", 0, 0, &vec![b'x'; 1 << 20]);
    let entries: Vec<u8> = (0..=MAX_MEMBERS).flat_map(|i| entry(40 + i, 0)).collect();
    assert_eq!(open(&[cover, entries].concat()).1, [Trouble::Bound]);
}

/// A tar header and its content.
fn tar_of(name: &str, magic: &[u8], content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[257..257 + magic.len()].copy_from_slice(magic);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.extend(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

#[test]
fn tar_is_read_old_and_new_and_after_its_end() {
    for magic in [b"ustar\x0000".as_slice(), b"ustar  \0", b""] {
        let one = [tar_of("a", magic, b"first"), vec![0; 1024]].concat();
        let two = tar_of("b", magic, b"second");
        assert_eq!(
            texts(&[one.clone(), two].concat()),
            [b"first".to_vec(), b"second".to_vec()]
        );
        assert_eq!(open(&[one, b"other words".repeat(100)].concat()).1, []);
    }
    let cut = tar_of("a", b"ustar", &[b'x'; 2000]);
    assert_eq!(open(&cut[..1500]).1, [Trouble::Broken]);
    let many = tar_of("a", b"ustar", b"").repeat(MAX_MEMBERS + 1);
    let (members, troubles) = open(&many);
    assert_eq!((members.len(), troubles), (MAX_MEMBERS, vec![Trouble::Bound]));
}

/// An ar header and its content.
fn ar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let header = format!(
        "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
        0,
        0,
        0,
        100_644,
        content.len()
    );
    let mut member = [header.as_bytes(), content].concat();
    member.resize(member.len().next_multiple_of(2), b'\n');
    member
}

fn cpio_of(name: &str, content: &[u8]) -> Vec<u8> {
    let fields = [0, 0, 0, 0, 0, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    let mut member = b"070701".to_vec();
    member.extend(fields.iter().flat_map(|n| format!("{n:08x}").into_bytes()));
    member.extend(name.bytes().chain([0]));
    member.resize(member.len().next_multiple_of(4), 0);
    member.extend(content);
    member.resize(member.len().next_multiple_of(4), 0);
    member
}

fn rpm_of(payload: &[u8]) -> Vec<u8> {
    let header = |texts: &[u8]| {
        let mut header = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        header.extend((texts.len() as u32).to_be_bytes());
        header.extend([0; 16]);
        header.extend(texts);
        header
    };
    let mut rpm = [&[0xed, 0xab, 0xee, 0xdb][..], &[0; 92]].concat();
    rpm.extend(header(b"signature"));
    rpm.resize(rpm.len().next_multiple_of(8), 0);
    rpm.extend(header(b"name"));
    rpm.extend(payload);
    rpm
}

#[test]
fn packages_hand_on_what_is_packed_in_them() {
    let packed = gzip(b"words");
    let ar = [
        b"!<arch>\n".to_vec(),
        ar_of("debian-binary", b"2.0"),
        ar_of("data.tar.gz", &packed),
    ]
    .concat();
    assert_eq!(
        open(&ar),
        (vec![(b"data.tar.gz     ".to_vec(), packed.clone())], vec![])
    );
    assert_eq!(open(&ar[..ar.len() - 9]).1, [Trouble::Broken]);
    assert_eq!(open(&[ar, b"rest".to_vec()].concat()).1, [Trouble::Broken]);

    let trailer = cpio_of("TRAILER!!!", b"");
    let cpio = [cpio_of("a", b"plain"), cpio_of("bc", &packed), trailer.clone()].concat();
    assert_eq!(open(&cpio), (vec![(b"bc".to_vec(), packed.clone())], vec![]));
    assert_eq!(open(&cpio[..200]).1, [Trouble::Broken]);
    let image = [&cpio_of("early", b"microcode"), &trailer, &vec![0; 300], &packed]
        .map(Vec::as_slice)
        .concat();
    assert_eq!(texts(&image), [packed.as_slice()]);

    assert_eq!(open(&rpm_of(&packed)), (vec![(vec![], packed.clone())], vec![]));
    assert_eq!(open(&rpm_of(b"what is this?")).1, [Trouble::Unknown]);
    assert_eq!(open(&rpm_of(b"")).1, [Trouble::Broken]);
}

#[test]
fn packages_of_too_many_members_end_at_the_bound() {
    let many = [b"!<arch>\n".to_vec(), ar_of("a", b"").repeat(MAX_MEMBERS + 1)].concat();
    assert_eq!(open(&many).1, [Trouble::Bound]);
    assert_eq!(open(&cpio_of("a", b"").repeat(MAX_MEMBERS + 1)).1, [Trouble::Bound]);
}

#[test]
fn xmp_of_several_segments_is_put_together() {
    let segment = |kind: u8, content: &[u8]| {
        let size = (content.len() as u16 + 2).to_be_bytes();
        [&[0xff, kind][..], &size, content].concat()
    };
    let part = |text: &[u8]| {
        segment(
            0xe1,
            &[b"http://ns.adobe.com/xmp/extension/\0".as_slice(), &[b'0'; 40], text].concat(),
        )
    };
    let head = [
        &[0xff, 0xd8][..],
        &segment(0xe0, b"JFIF\0"),
        &part(b"<x:xmpmeta>one tok"),
    ]
    .concat();
    let jpeg = [
        head.clone(),
        segment(0xfe, b"a comment"),
        part(b"en</x:xmpmeta>"),
        segment(0xda, b""),
        vec![0; 9],
    ]
    .concat();
    assert_eq!(
        open(&jpeg),
        (vec![(vec![], b"<x:xmpmeta>one token</x:xmpmeta>".to_vec())], vec![])
    );
    assert_eq!(texts(&head), [b"<x:xmpmeta>one tok"]);
    assert!(texts(b"\xff\xd8\xff\xe1\0").is_empty());
}

/// Each compressed form of the same text.
fn streams() -> Vec<Vec<u8>> {
    use base64::Engine;
    let text = b"some words in a member".as_slice();
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bzip2.write_all(text).unwrap();
    vec![
        gzip(text),
        bzip2.finish().unwrap(),
        decode(
            "/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQAVc29tZSB3b3JkcyBpbiBhIG1lbWJlcgAAAAoqSqddgeb5AAEuFlYJVd8ftvN9AQAAAAAEWVo=",
        ),
        decode(
            "/Td6WFoAAATm1rRGAgAhARwAAAAQz1jMAQAVc29tZSB3b3JkcyBpbiBhIG1lbWJlcgAAAAoqSqddgeb5AAEuFlYJVd8ftvN9AQAAAAAEWVo=",
        ),
        decode("XQAAgAD//////////wA5m8ny51DKg8dq4TgjEdLDRHl8u4GmzmH14f//tPqAAA=="),
        zstd(text),
    ]
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn every_stream_is_read_and_each_cut_is_told() {
    let text = b"some words in a member".to_vec();
    for stream in streams() {
        assert_eq!(open(&stream), (vec![(vec![], text.clone())], vec![]));
        for end in 13..stream.len() {
            assert_eq!(open(&stream[..end]).1, [Trouble::Broken], "{:?} at {end}", &stream[..4]);
        }
    }
}

#[test]
fn streams_that_follow_each_other_are_one() {
    for stream in streams().into_iter().filter(|stream| stream[0] != 0x5d) {
        let (text, troubles) = open(&stream.repeat(3));
        assert_eq!(text[0].1, b"some words in a member".repeat(3), "{:?}", &stream[..4]);
        assert_eq!(troubles, []);
    }
    let skipped = [b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(), zstd(b"words")].concat();
    assert_eq!(texts(&[zstd(b"some "), skipped.clone()].concat()), [b"some words"]);
    assert_eq!(texts(&skipped), [b"words"]);
    assert_eq!(open(b"\x50\x2a\x4d\x18\xff\xff\xff\xff").1, [Trouble::Broken]);
}

#[test]
fn what_only_begins_as_a_container_is_told() {
    let rest = b" and then words of another kind that go on for some time".repeat(20);
    for magic in [
        b"PK\x03\x04".as_slice(),
        b"\x1f\x8b\x08\0",
        b"\xfd7zXZ\0\0\x04",
        b"BZh91AY&SY",
        b"\x28\xb5\x2f\xfd",
        b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"!<arch>\n",
        b"\xed\xab\xee\xdb",
    ] {
        let data = [magic, &rest].concat();
        assert!(Kind::of(&data).is_some());
        assert_eq!(open(&data).1.first(), Some(&Trouble::Broken), "{magic:?}");
    }
}

#[test]
fn archives_that_are_not_read_are_told() {
    for magic in [
        b"Rar!\x1a\x07\x01\0".as_slice(),
        b"\x04\x22\x4d\x18",
        b"LZIP\x01",
        b"\x1f\x9d\x90",
    ] {
        assert_eq!(open(&[magic, b" and more"].concat()), (vec![], vec![Trouble::Unknown]));
    }
}

/// A database of pages of 512 bytes with one value that goes on in two more.
fn database(value: &[u8]) -> Vec<u8> {
    const USABLE: usize = 512;
    let mut data = vec![0; 4 * USABLE];
    data[..16].copy_from_slice(b"SQLite format 3\0");
    data[16..18].copy_from_slice(&[2, 0]);
    let length = value.len();
    let least = (USABLE - 12) * 32 / 255 - 23;
    let even = least + (length - least) % (USABLE - 4);
    let local = if even <= USABLE - 35 { even } else { least };
    // The second page: a leaf with one cell, whose value goes on in the fourth and then the third.
    let at = USABLE - local - 7;
    data[USABLE..USABLE + 10].copy_from_slice(&[13, 0, 0, 0, 1, 0, 0, 0, (at >> 8) as u8, at as u8]);
    let cell = [
        &[0x80 | (length >> 7) as u8, length as u8 & 0x7f, 1][..],
        &value[..local],
        &[0, 0, 0, 4],
    ]
    .concat();
    data[USABLE + at..2 * USABLE].copy_from_slice(&cell);
    let (second, third) = value[local..].split_at((length - local).min(USABLE - 4));
    data[3 * USABLE + 3] = 3;
    data[3 * USABLE + 4..][..second.len()].copy_from_slice(second);
    data[2 * USABLE + 4..][..third.len()].copy_from_slice(third);
    data
}

#[test]
fn values_of_several_pages_are_put_together() {
    let value: Vec<u8> = (0..1000u32)
        .flat_map(|i| i.to_string().into_bytes())
        .take(1200)
        .collect();
    assert_eq!(texts(&database(&value)), [[&value[..], b"\n"].concat()]);
    let mut own_end = database(&value);
    own_end[3 * 512 + 3] = 4;
    assert!(texts(&own_end)[0].len() < value.len());
    assert_eq!(open(b"SQLite format 3\0").1, [Trouble::Broken]);
}

/// A compound file whose sectors hold, from the first: chains, directory, parts of a stream (2, 4), of the small
/// streams (3, 5), and the chains of those.
fn compound(text: &[u8], small: &[u8]) -> Vec<u8> {
    let mut data = vec![0xff; 8 * 512];
    data[..8].copy_from_slice(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]);
    let mut put = |at: usize, number: u32| data[at..at + 4].copy_from_slice(&number.to_le_bytes());
    put(30, 6 << 16 | 9);
    put(48, 1);
    put(60, 6);
    put(76, 0);
    for (sector, next) in [0xffff_fffd, 0xffff_fffe, 4, 5, 0xffff_fffe, 0xffff_fffe, 0xffff_fffe]
        .into_iter()
        .enumerate()
    {
        put(512 + 4 * sector, next);
    }
    put(2 * 512 + 116, 3);
    // Small sectors 0 and 9 are one stream.
    put(7 * 512, 9);
    put(7 * 512 + 36, 0xffff_fffe);
    let mut place =
        |sector: usize, at: usize, text: &[u8]| data[(sector + 1) * 512 + at..][..text.len()].copy_from_slice(text);
    place(2, 0, &text[..512]);
    place(4, 0, &text[512..]);
    place(3, 0, &small[..64]);
    place(5, 64, &small[64..]);
    data
}

#[test]
fn streams_that_lie_in_parts_are_put_together() {
    let text: Vec<u8> = (0..1000u32)
        .flat_map(|i| i.to_string().into_bytes())
        .take(700)
        .collect();
    let all = texts(&compound(&text, &text[..100])).concat();
    assert!(memchr::memmem::find(&all, &text).is_some());
    assert!(memchr::memmem::find(&all, &text[..100]).is_some_and(|at| at < all.len()));
    let of_small = memchr::memmem::rfind(&all, &text[..100]).unwrap();
    assert!(of_small > memchr::memmem::find(&all, &text).unwrap());
    assert_eq!(open(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1").1, [Trouble::Broken]);
    assert!(texts(&compound(&text, &text[..100])[..512]).is_empty());
}

#[test]
fn what_is_encrypted_is_told() {
    let pdf = b"%PDF-1.7\n1 0 obj<</Length 9>>stream\n\x01\x02endstream\ntrailer<</Encrypt 5 0 R>>";
    assert_eq!(open(pdf).1, [Trouble::Encrypted]);
    for method in [0, 8, 12, 93, 99] {
        let zip = [zip_of("a", method, 1, b"??"), zip_of("b", 0, 0, b"words")].concat();
        assert_eq!(open(&zip).1, [Trouble::Encrypted]);
        assert_eq!(texts(&zip)[1], b"words");
    }
}

#[test]
fn what_is_decoded_again_and_again_is_bounded() {
    let mut budget = Budget::default();
    assert!(budget.decode(MAX_INFLATED) && !budget.exceeded);
    assert!(!budget.decode(1) && budget.exceeded && budget.deep);
    assert!(!budget.decode(usize::MAX));
}

#[test]
fn every_kind_of_bomb_ends_at_the_bound() {
    let zeros = vec![0; MAX_INFLATED / 4];
    let quarter = deflate(&zeros);
    let zlib = |text: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let stream = [b" stream\n".as_slice(), &zlib(&zeros), b"\nendstream"].concat();
    let text = [b"k\0\0".as_slice(), &zlib(&zeros)].concat();
    let chunk = [&(text.len() as u32).to_be_bytes()[..], b"zTXt", &text, b"crc!"].concat();
    let bombs = [
        zip_of("a", 8, 0, &quarter).repeat(5),
        gzip(&zeros).repeat(5),
        zstd(&zeros).repeat(5),
        [b"%PDF-1.7".to_vec(), stream.repeat(5)].concat(),
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunk.repeat(5)].concat(),
    ];
    for bomb in bombs {
        let (members, troubles) = open(&bomb);
        let unpacked: usize = members.iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(
            (unpacked, troubles),
            (MAX_INFLATED, vec![Trouble::Bound]),
            "{:?}",
            &bomb[..4]
        );
    }
}

const MAGICS: [&[u8]; 16] = [
    b"PK\x03\x04",
    b"\x1f\x8b\x08\0",
    b"\xfd7zXZ\0\0\x04",
    b"BZh91AY&SY",
    b"\x28\xb5\x2f\xfd",
    b"%PDF-1.4 stream\n\x78\x9c",
    b"\x89PNG\r\n\x1a\n\0\0\0\x09zTXta\0\0",
    b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xd8\xff\xe1\0\x70http://ns.adobe.com/xmp/extension/\0",
    b"!<arch>\n",
    b"\xed\xab\xee\xdb",
    b"SQLite format 3\0\x02\0\0\0\0",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"7z\xbc\xaf\x27\x1c\0\x04",
    b"7z\xbc\xaf\x27\x1c\0\x04\0\0\0\0",
    b"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_after_any_magic_are_read_without_panic(
        kind in 0..MAGICS.len(),
        rest in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        open(&[MAGICS[kind], &rest].concat());
    }

    #[test]
    fn a_damaged_container_is_read_without_panic(at in 0usize..4000, byte in any::<u8>(), cut in 0usize..200) {
        let packed = gzip(b"words and words and words");
        let mut whole = vec![zip_of("name", 8, 0, &deflate(b"words and words")), tar_of("name", b"ustar", b"words")];
        whole.extend([[b"!<arch>\n".to_vec(), ar_of("name", &packed)].concat(), cpio_of("name", &packed), rpm_of(&packed)]);
        whole.extend(streams());
        let value = [b'x'; 1200];
        whole.extend([database(&value), compound(&value[..700], &value[..100])]);
        whole.push(sevenz::small());
        for mut data in whole {
            let length = data.len();
            data[at % length] = byte;
            data.truncate(length - cut % length);
            open(&data);
        }
    }
}
