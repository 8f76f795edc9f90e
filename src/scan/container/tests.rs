//! Containers made by hand and at random: what is in them comes out, within the bounds, and nothing panics.

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

const MAGICS: [&[u8]; 8] = [
    b"PK\x03\x04",
    b"\x1f\x8b\x08\0",
    b"\xfd7zXZ\0\0\x04",
    b"BZh91AY&SY",
    b"\x28\xb5\x2f\xfd",
    b"%PDF-1.4 stream\n\x78\x9c",
    b"\x89PNG\r\n\x1a\n\0\0\0\x09zTXta\0\0",
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
    fn a_damaged_container_is_read_without_panic(at in 0usize..200, byte in any::<u8>(), cut in 0usize..200) {
        for mut data in [gzip(b"words and words and words"), zip_of("name", 8, 0, &deflate(b"words and words"))] {
            let length = data.len();
            data[at % length] = byte;
            data.truncate(length - cut % length);
            open(&data);
        }
    }
}
