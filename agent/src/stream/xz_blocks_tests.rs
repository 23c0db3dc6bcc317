use bessemer_proto::step::ImageFormat;
use liblzma::stream::Check;
use proptest::prelude::*;

use super::*;
use crate::{
    stream::{DecodeError, chunks::tests::Pieces, decode::Decoder, fuzzing::Memory},
    test_support::{
        disks::{MIB, noise},
        xz::{XzBlock, xz_blocks, xz_stream},
    },
};

const ANY: Terms = Terms { threads: 2, content: 1, alignment: 1 };

/// What became of an image.
#[derive(Debug, PartialEq)]
struct Outcome {
    content: Vec<u8>,
    /// How much of it was unpacked side by side.
    side_by_side: u64,
    word: String,
}

fn outcome(source: impl Chunks, terms: Option<Terms>) -> Outcome {
    let mut decoder = Decoder::open(source, ImageFormat::Xz).unwrap();
    let memory = Memory::new(1 << 30, 4096);
    let done = match terms {
        Some(terms) => decoder.side_by_side_by(terms, &memory),
        None => Ok(Unpacked::default()),
    };
    let (mut content, mut buffer) = (memory.into_content(), vec![0; 5000]);
    let side_by_side = done.as_ref().map_or(0, |done| done.content);
    let mut ended = done.map(|_| ());
    while ended.is_ok() {
        ended = match decoder.fill(&mut buffer) {
            Ok(count) => {
                content.extend_from_slice(&buffer[..count]);
                if count < buffer.len() {
                    break;
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
    }
    assert!(ended.is_ok() || decoder.fill(&mut buffer).is_err(), "an error became an end");
    let word = match ended {
        Ok(()) => "end".to_owned(),
        Err(StreamError::Decode(DecodeError::Corrupt { .. })) => "corrupt".to_owned(),
        Err(StreamError::Decode(DecodeError::Truncated { .. })) => "truncated".to_owned(),
        Err(error) => error.to_string(),
    };
    Outcome { content, side_by_side, word }
}

fn alone(packed: &[u8]) -> Outcome {
    outcome(Pieces::new(packed, &[]), None)
}

fn together(packed: &[u8]) -> Outcome {
    outcome(Pieces::new(packed, &[]), Some(ANY))
}

/// The image is whole, and so much of it was unpacked side by side.
fn is_whole(packed: &[u8], content: &[u8], side_by_side: usize) {
    let one = together(packed);
    assert_eq!((one.word.as_str(), one.side_by_side), ("end", side_by_side as u64));
    assert!(one.content == content);
    assert!(alone(packed).content == content);
}

fn any_check() -> impl Strategy<Value = Check> {
    proptest::sample::select(&[Check::None, Check::Crc32, Check::Crc64, Check::Sha256][..])
}

/// Streams of blocks of all kinds, most of them of the kind that is unpacked side by side, with padding.
fn any_image() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let block = (0_usize..60_000, any::<u64>(), 0_u8..20).prop_map(|(length, seed, kind)| {
        let plain = XzBlock::sized(&noise(length, seed));
        match kind {
            0 => XzBlock { sized: false, ..plain },
            1 => XzBlock { dictionary: 1 << 20, ..plain },
            2 => XzBlock { filtered: true, ..plain },
            3 => XzBlock { sized: false, filtered: true, ..plain },
            4 => XzBlock { content: vec![0; length], ..plain },
            7 => XzBlock { dictionary: 4 << 10, ..plain },
            5 => XzBlock { sized: false, ..XzBlock::sized(&vec![7; length * 30]) },
            // As the library makes them only for checks that are zero for nothing.
            6 => XzBlock::sized(b""),
            _ => plain,
        }
    });
    let stream = (any_check(), proptest::collection::vec(block, 0..6), 0_usize..4);
    (any_check(), proptest::collection::vec(stream, 1..4)).prop_map(|(usual, streams)| {
        let (mut content, mut packed) = (Vec::new(), Vec::new());
        for (number, (check, mut blocks, padding)) in streams.into_iter().enumerate() {
            let check = if number == 1 { check } else { usual };
            blocks.retain(|block| !block.content.is_empty() || !matches!(check, Check::Sha256));
            content.extend(blocks.iter().flat_map(|block| &block.content));
            packed.extend(xz_stream(check, &blocks));
            packed.resize(packed.len() + padding * 4, 0);
        }
        (content, packed)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn any_streams_are_the_image_that_the_library_unpacks(
        (content, packed) in any_image(),
        lengths in proptest::collection::vec(0_usize..20_000, 0..60),
        threads in 2_usize..5,
    ) {
        let source = Pieces::new(&packed, &lengths);
        let unpacked = outcome(source, Some(Terms { threads, ..ANY }));
        prop_assert_eq!(unpacked.word, "end");
        prop_assert!(unpacked.content == content);
        prop_assert!(alone(&packed).content == content);
    }

    #[test]
    fn damage_and_cuts_are_found_either_way(
        (_, mut packed) in any_image(),
        place in any::<proptest::sample::Index>(),
        bit in 0_u32..8,
        cut in any::<bool>(),
        lengths in proptest::collection::vec(0_usize..20_000, 0..20),
    ) {
        // What is not recognized is not unpacked.
        let at = 6 + place.index(packed.len() - 6);
        if cut { packed.truncate(at) } else { packed[at] ^= 1_u8 << bit }
        let unpacked = outcome(Pieces::new(&packed, &lengths), Some(ANY));
        let expected = alone(&packed);
        prop_assert_eq!(&unpacked.word, &expected.word);
        prop_assert!(unpacked.word != "end" || unpacked.content == expected.content);
    }
}

/// Two streams of three blocks, padding between and behind them.
fn small() -> (Vec<u8>, Vec<u8>) {
    let content = noise(900, 1);
    let stream = xz_blocks(&content, 350);
    (content.repeat(2), [&stream[..], &[0; 8], &stream, &[0; 4]].concat())
}

#[test]
fn a_file_cut_anywhere_is_an_error_or_its_first_stream() {
    let (content, packed) = small();
    is_whole(&packed, &content, content.len());
    for length in 6..packed.len() {
        let (one, other) = (together(&packed[..length]), alone(&packed[..length]));
        assert_eq!(one.word, other.word, "{length}");
        assert!(one.word != "end" || one.content == other.content && content.starts_with(&one.content));
    }
}

#[test]
fn every_flipped_bit_is_found_or_does_not_matter() {
    let (content, packed) = small();
    for at in 6..packed.len() {
        for bit in [at % 8, (at + 3) % 8] {
            let mut flipped = packed.clone();
            flipped[at] ^= 1 << bit;
            let (one, other) = (together(&flipped), alone(&flipped));
            assert_eq!(one.word, other.word, "bit {bit} of byte {at}");
            assert!(one.word != "end" || one.content == content, "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn an_index_of_other_blocks_is_found() {
    let blocks = |lengths: &[usize]| {
        let blocks: Vec<_> = lengths.iter().map(|length| XzBlock::sized(&noise(*length, 3))).collect();
        xz_stream(Check::Crc32, &blocks)
    };
    let index = |stream: &[u8]| {
        let length = u32::from_le_bytes(stream[stream.len() - 8..][..4].try_into().unwrap());
        stream.len() - 12 - (length as usize + 1) * 4
    };
    let right = blocks(&[900, 800, 700]);
    // The same sums in another order; one more; one less.
    for other in [blocks(&[800, 900, 700]), blocks(&[900, 800, 700, 1]), blocks(&[900, 800])] {
        let mixed = [&right[..index(&right)], &other[index(&other)..]].concat();
        let one = together(&mixed);
        assert_eq!((one.word.as_str(), one.side_by_side), ("corrupt", 0));
        assert_eq!(alone(&mixed).word, "corrupt");
    }
}

#[test]
fn what_is_of_another_kind_is_unpacked_on_one_thread_with_all_after_it() {
    let content = noise(50_000, 1);
    let plain = XzBlock::sized(&content);
    let others = [
        XzBlock { sized: false, ..plain.clone() },
        XzBlock { dictionary: 32 << 20, ..plain.clone() },
        XzBlock { filtered: true, ..plain.clone() },
        XzBlock { filtered: true, sized: false, ..plain.clone() },
        XzBlock::sized(b""),
    ];
    for other in others {
        let blocks = [plain.clone(), plain.clone(), other.clone(), plain.clone()];
        let length = content.len() * 3 + other.content.len();
        let packed = xz_stream(Check::Crc64, &blocks).repeat(2);
        is_whole(&packed, &content.repeat(8)[..length * 2], content.len() * 2);
    }
    let small = XzBlock { dictionary: 4 << 10, ..plain.clone() };
    let blocks = [small.clone(), plain.clone(), small, plain.clone()];
    is_whole(&xz_stream(Check::Crc64, &blocks), &content.repeat(4), content.len() * 4);
    let one = |check| xz_stream(check, std::slice::from_ref(&plain));
    let streams = |second| [one(Check::Crc64), second].concat();
    is_whole(&streams(one(Check::None)), &content.repeat(2), content.len());
    is_whole(&streams(xz_stream(Check::Crc64, &[])), &content, content.len());
    let garbage = together(&streams(b"<html>".to_vec()));
    assert_eq!(garbage.word, alone(&streams(b"<html>".to_vec())).word);
    let too_large = XzBlock { dictionary: 64 << 20, ..plain.clone() };
    let packed = xz_stream(Check::Crc64, &[plain.clone(), plain, too_large]);
    let word = together(&packed).word;
    assert!(word.contains("34.0 MiB allowed") && word == alone(&packed).word, "{word}");
}

#[test]
fn terms_decide_what_is_unpacked_side_by_side() {
    let content = noise(5 * MIB, 1);
    let done = |packed: &[u8], terms: Terms| {
        let unpacked = outcome(Pieces::new(packed, &[]), Some(terms));
        assert!(unpacked.word == "end" && unpacked.content == content);
        unpacked.side_by_side
    };
    let terms = Terms { threads: 2, ..Terms::new() };
    assert_eq!(done(&xz_blocks(&content, 2 * MIB), terms), 5 << 20);
    assert_eq!(done(&xz_blocks(&content, 2 * MIB), Terms { threads: 1, ..terms }), 0);
    // A block that is too small ends it, and one that ends within a block of the disk.
    assert_eq!(done(&xz_blocks(&content, 3 * MIB / 2), terms), 9 << 19);
    assert_eq!(done(&xz_blocks(&content, MIB - 4096), terms), 0);
    let sized = |length: usize, at: usize| XzBlock::sized(&content[at..at + length]);
    let odd = [sized(2 * MIB, 0), sized(MIB + 512, 2 * MIB), sized(2 * MIB - 512, 3 * MIB + 512)];
    assert_eq!(done(&xz_stream(Check::Crc64, &odd), terms), 2 << 20);
    // Memory for one dictionary of this size only.
    let large = |mib: u32| {
        let block = |content: &[u8]| XzBlock { dictionary: mib << 20, ..XzBlock::sized(content) };
        xz_stream(Check::Crc64, &content.chunks(MIB).map(block).collect::<Vec<_>>())
    };
    assert_eq!((done(&large(8), terms), done(&large(16), terms)), (5 << 20, 0));
    // Without sizes, as one thread of xz writes it.
    let one = XzBlock { sized: false, ..XzBlock::sized(&content) };
    assert_eq!(done(&xz_stream(Check::Crc64, &[one]), terms), 0);
}

#[test]
fn sizes_that_lie_are_found() {
    let content = noise(9000, 1);
    let honest = XzBlock::sized(&content);
    let packed = honest.packed_length();
    let huge = (1 << 63) - 1;
    for lies in [
        (packed, 8999),
        (packed, 9001),
        (packed, 0),
        (packed + 8, 9000),
        (packed - 8, 9000),
        (1, 9000),
        (huge, 9000),
        (huge - 100, 9000),
        (packed, huge),
        (huge, huge),
    ] {
        let liar = XzBlock { lies: Some(lies), ..honest.clone() };
        let image = xz_stream(Check::Crc64, &[honest.clone(), honest.clone(), liar.clone(), honest.clone()]);
        let (one, other) = (together(&image), alone(&image));
        assert_ne!(other.word, "end");
        let too_large = lies.1 == huge && one.word.contains("larger than the disk");
        assert!(one.word == other.word || too_large, "{lies:?}: {one:?}", one = one.word);
        let image = xz_stream(Check::Crc64, &[liar.clone(), liar, honest.clone()]);
        assert_ne!(together(&image).word, "end", "{lies:?}");
    }
}

#[test]
fn the_first_damage_in_the_order_of_the_image_counts() {
    let content = noise(40_000, 1);
    let stream = xz_blocks(&content, 10_000);
    // Where the checks of the blocks are: behind each the header of the next, or the index.
    for _ in 0..20 {
        let mut damaged = stream.clone();
        let last = damaged.len() - 20;
        damaged[last] ^= 1;
        damaged.truncate(last + 4);
        damaged[200] ^= 1;
        let Err(StreamError::Decode(DecodeError::Corrupt { bytes, .. })) =
            Decoder::open(Pieces::new(&damaged, &[]), ImageFormat::Xz)
                .unwrap()
                .side_by_side_by(ANY, &Memory::new(1 << 20, 4096))
        else {
            panic!("no damage was found")
        };
        assert!(bytes < 10_000, "{bytes}");
    }
}
