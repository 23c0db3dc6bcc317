use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::{
    stream::{chunks::tests::Pieces, zstd_pool::LARGEST_CONTENT},
    test_support::disks::noise,
};

const KIB: usize = 1 << 10;

/// A frame as the zstd library makes it of a whole buffer: the header gives the content size.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let mut packer = zstd::bulk::Compressor::new(1).unwrap();
    packer.include_checksum(true).unwrap();
    packer.compress(bytes).unwrap()
}

/// A frame as pzstd and the seekable format make it: in stream, without a content size.
fn unsized_frame(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn skippable(bytes: &[u8]) -> Vec<u8> {
    [&[0x5e, 0x2a, 0x4d, 0x18][..], &(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

/// Content before the end or the error, and the error in words.
fn outcome(packed: &[u8], lengths: &[usize], threads: usize) -> (Vec<u8>, String) {
    let reader = ChunkReader::new(Pieces::new(packed, lengths));
    let mut frames = ZstdFrames::new(reader, Pool::with_threads(threads)).unwrap();
    let mut all = Vec::new();
    let mut buffer = vec![0; 50_001];
    loop {
        let word = match frames.read(&mut buffer) {
            Ok(0) => "end".to_owned(),
            Ok(count) => {
                all.extend_from_slice(&buffer[..count]);
                continue;
            }
            Err(Failure::Corrupt(error)) => format!("corrupt: {error}"),
            Err(Failure::Truncated) => "truncated".to_owned(),
            Err(Failure::Garbage) => "garbage".to_owned(),
            Err(Failure::Refused(error)) => error.to_string(),
            Err(Failure::Stream(error)) => format!("stream: {error}"),
        };
        return (all, word);
    }
}

fn same_either_way(packed: &[u8], lengths: &[usize]) -> (Vec<u8>, String) {
    let alone = outcome(packed, lengths, 0);
    for threads in [1, 2, 4] {
        let together = outcome(packed, lengths, threads);
        assert!(together == alone, "{threads} threads: {} instead of {}", together.1, alone.1);
    }
    alone
}

/// Frames of every kind, some for the pool and some not, with skippable frames between them.
fn any_stream() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let part = (0_usize..200 * KIB, 0_u8..4, any::<u64>());
    proptest::collection::vec(part, 1..9).prop_map(|parts| {
        let (mut content, mut packed) = (Vec::new(), Vec::new());
        for (length, kind, seed) in parts {
            let bytes = noise(length, seed);
            match kind {
                0 => packed.extend(unsized_frame(&bytes)),
                1 => packed.extend([skippable(b"12"), sized(&bytes)].concat()),
                _ => packed.extend(sized(&bytes)),
            }
            content.extend(bytes);
        }
        packed.extend(skippable(b"a table of all frames"));
        (content, packed)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn many_frames_are_one_image(
        (content, packed) in any_stream(),
        lengths in proptest::collection::vec(0_usize..60_000, 0..30),
    ) {
        let (unpacked, word) = same_either_way(&packed, &lengths);
        prop_assert_eq!(word, "end");
        prop_assert!(unpacked == content);
    }

    #[test]
    fn a_cut_is_found_at_the_same_place_either_way(
        (content, packed) in any_stream(),
        place in any::<proptest::sample::Index>(),
    ) {
        // The last frame is a skippable one, longer than what is cut off at least.
        let cut = &packed[..packed.len() - 1 - place.index(packed.len() - 1)];
        let (unpacked, word) = same_either_way(cut, &[]);
        prop_assert!(content.starts_with(&unpacked));
        prop_assert!(word == "truncated" || word == "garbage" || (word == "end" && unpacked.len() < content.len())
            || packed.len() - cut.len() == 29, "{}", word);
    }

    #[test]
    fn damage_is_found_at_the_same_place_either_way(
        (content, mut packed) in any_stream(),
        place in any::<proptest::sample::Index>(),
        bit in 0_u32..8,
    ) {
        let at = place.index(packed.len());
        packed[at] ^= 1_u8 << bit;
        let (unpacked, word) = same_either_way(&packed, &[]);
        prop_assert!(word != "end" || unpacked == content);
    }
}

#[test]
fn frames_at_and_beyond_the_largest_content_are_whole() {
    let mut content = Vec::new();
    let mut packed = Vec::new();
    for (number, length) in
        [LARGEST_CONTENT, LARGEST_CONTENT + 1, 40 * KIB, LARGEST_CONTENT].iter().enumerate()
    {
        let bytes = noise(*length, number as u64);
        packed.extend(if number % 2 == 0 { sized(&bytes) } else { unsized_frame(&bytes) });
        content.extend(bytes);
    }
    let (unpacked, word) = same_either_way(&packed, &[]);
    assert_eq!(word, "end");
    assert!(unpacked == content);
}

#[test]
fn small_frames_go_to_the_pool_and_all_others_do_not() {
    let goes = |frame: &[u8]| {
        let mut reader = ChunkReader::new(Pieces::new(frame, &[]));
        let header = FrameHeader::parse(frame).unwrap();
        let taken = Pool::with_threads(2).take_in(&mut reader, &header).unwrap();
        let mut rest = vec![0; frame.len()];
        assert_eq!(reader.fill(&mut rest).unwrap(), if taken { 0 } else { frame.len() });
        assert!(taken || rest == frame, "what was looked at is lost");
        taken
    };
    assert!(goes(&sized(&noise(64 * KIB, 1))));
    assert!(goes(&unsized_frame(&noise(900 * KIB, 1))));
    assert!(goes(&sized(&noise(LARGEST_CONTENT, 1))));
    assert!(!goes(&sized(&noise(LARGEST_CONTENT + 1, 1))));
    assert!(!goes(&unsized_frame(&noise(LARGEST_CONTENT + 200 * KIB, 1))));
    assert!(!goes(&sized(b"tiny")));
    let whole = sized(&noise(64 * KIB, 1));
    assert!(!goes(&whole[..whole.len() - 1]));
}

#[test]
fn the_pool_holds_no_more_than_its_slots_and_ends_with_the_decoder() {
    let packed = sized(&noise(64 * KIB, 1)).repeat(50);
    let reader = ChunkReader::new(Pieces::new(&packed, &[]));
    let mut frames = ZstdFrames::new(reader, Pool::with_threads(4)).unwrap();
    let mut buffer = vec![0; 100];
    assert!(frames.read(&mut buffer).is_ok_and(|count| count == 100));
    assert!(!frames.pool.has_room());
    let left = frames.reader.peek(packed.len()).unwrap().len();
    assert_eq!(packed.len() - left, 4 * packed.len() / 50);
    // Joins the threads: a hang here is a failure.
    drop(frames);
}
