use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;

use super::*;
use crate::{
    stream::{chunks::tests::Pieces, lz4_header, zstd_header},
    test_support::disks::noise,
};

/// Every format that is unpacked in stream.
const PACKED: [ImageFormat; 5] =
    [ImageFormat::Gzip, ImageFormat::Xz, ImageFormat::Zstd, ImageFormat::Bzip2, ImageFormat::Lz4];

/// One member, stream or frame, with every checksum that the format has.
fn pack(format: ImageFormat, bytes: &[u8]) -> Vec<u8> {
    match format {
        ImageFormat::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        ImageFormat::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        ImageFormat::Zstd => {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        ImageFormat::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        ImageFormat::Lz4 => lz4(bytes, BlockMode::Linked),
        ImageFormat::Auto | ImageFormat::Raw | ImageFormat::Qcow2 => bytes.to_vec(),
    }
}

fn lz4(bytes: &[u8], mode: BlockMode) -> Vec<u8> {
    let info = FrameInfo::new()
        .block_mode(mode)
        .block_size(BlockSize::Max64KB)
        .block_checksums(true)
        .content_checksum(true)
        .content_size(Some(bytes.len() as u64));
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Not packed, and not what any packed format starts with.
fn raw(bytes: &[u8]) -> Vec<u8> {
    [b"\xeb\x63\x90", bytes].concat()
}

/// Half noise, half not: so that blocks of every kind occur.
fn mixed(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = raw(&noise(length, seed));
    let (start, end) = (bytes.len() / 4, bytes.len() * 3 / 4);
    bytes[start..end].iter_mut().enumerate().for_each(|(index, byte)| *byte = (index / 50) as u8);
    bytes
}

fn unpack(
    bytes: &[u8],
    lengths: &[usize],
    declared: ImageFormat,
) -> Result<(ImageFormat, Vec<u8>), StreamError> {
    let mut decoder = Decoder::open(Pieces::new(bytes, lengths), declared)?;
    let mut all = Vec::new();
    let mut buffer = vec![0; 777];
    loop {
        let filled = decoder.fill(&mut buffer);
        assert!(filled.is_ok() || decoder.fill(&mut buffer).is_err(), "an error became an end");
        let count = filled?;
        all.extend_from_slice(&buffer[..count]);
        if count < buffer.len() {
            return Ok((decoder.format(), all));
        }
    }
}

fn error_of(bytes: &[u8], declared: ImageFormat) -> DecodeError {
    match unpack(bytes, &[], declared) {
        Err(StreamError::Decode(error)) => error,
        other => panic!("expected a decode error, got {other:?}"),
    }
}

fn any_packed() -> impl Strategy<Value = ImageFormat> {
    proptest::sample::select(&PACKED[..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn every_format_survives_any_chunking(
        seed in any::<u64>(),
        sizes in proptest::collection::vec(0_usize..6000, 1..4),
        lengths in proptest::collection::vec(0_usize..500, 0..60),
        format in prop_oneof![any_packed(), Just(ImageFormat::Raw)],
    ) {
        let parts: Vec<Vec<u8>> = sizes.iter().map(|size| mixed(*size, seed)).collect();
        let content = parts.concat();
        let packed: Vec<u8> = parts.iter().flat_map(|part| pack(format, part)).collect();
        for declared in [ImageFormat::Auto, format] {
            let (found, unpacked) = unpack(&packed, &lengths, declared).unwrap();
            prop_assert_eq!(found, format);
            prop_assert_eq!(&unpacked, &content);
        }
    }

    #[test]
    fn a_packed_image_cut_anywhere_is_an_error(
        seed in any::<u64>(),
        place in any::<proptest::sample::Index>(),
        lengths in proptest::collection::vec(1_usize..500, 0..20),
        format in any_packed(),
    ) {
        let packed = pack(format, &mixed(5000, seed));
        let cut = &packed[..1 + place.index(packed.len() - 1)];
        let error = unpack(cut, &lengths, format).unwrap_err();
        // What is cut within the first bytes is not recognized.
        let expected = match error {
            StreamError::Decode(DecodeError::Truncated { .. }) => true,
            StreamError::Decode(DecodeError::Mismatch { .. }) => cut.len() < 6,
            _ => false,
        };
        prop_assert!(expected, "{error:?}");
    }

    #[test]
    fn a_source_that_fails_never_makes_an_image(
        place in any::<proptest::sample::Index>(),
        lengths in proptest::collection::vec(1_usize..500, 0..20),
        format in any_packed(),
    ) {
        let packed = pack(format, &mixed(5000, 3));
        let cut = &packed[..1 + place.index(packed.len())];
        let source = Pieces { cut_off: true, ..Pieces::new(cut, &lengths) };
        let mut all = vec![0; 6000];
        let outcome = Decoder::open(source, format).and_then(|mut decoder| decoder.fill(&mut all));
        prop_assert!(matches!(outcome, Err(StreamError::Stopped)), "{:?}", outcome);
    }

    #[test]
    fn bytes_after_a_packed_image_are_an_error(
        garbage in proptest::collection::vec(any::<u8>(), 1..40),
        lengths in proptest::collection::vec(1_usize..500, 0..20),
        format in any_packed(),
    ) {
        // Zeros in fours are padding in xz.
        let padding = format == ImageFormat::Xz && garbage.len() % 4 == 0 && garbage.iter().all(|byte| *byte == 0);
        let packed = [pack(format, &mixed(500, 1)), garbage].concat();
        prop_assert_eq!(unpack(&packed, &lengths, format).is_err(), !padding);
    }

    #[test]
    fn a_flipped_bit_is_found_or_does_not_matter(
        seed in any::<u64>(),
        place in any::<proptest::sample::Index>(),
        bit in 0_u32..8,
        format in any_packed(),
    ) {
        let content = mixed(3000, seed);
        let mut packed = pack(format, &content);
        let at = place.index(packed.len());
        packed[at] ^= 1_u8 << bit;
        if let Ok((_, unpacked)) = unpack(&packed, &[], format) {
            prop_assert_eq!(unpacked, content);
        }
    }

    #[test]
    fn arbitrary_bytes_after_a_magic_never_panic(
        arbitrary in proptest::collection::vec(any::<u8>(), 0..200),
        format in any_packed(),
        kept in 3_usize..30,
    ) {
        let mut bytes = pack(format, b"disk");
        bytes.truncate(kept);
        bytes.extend(&arbitrary);
        unpack(&bytes, &[], ImageFormat::Auto).ok();
        unpack(&arbitrary, &[], ImageFormat::Auto).ok();
    }
}

#[test]
fn large_images_with_references_over_block_borders_are_whole() {
    // The noise repeats every 64 KiB: the farthest that lz4 refers back.
    let content = raw(&noise(700_001, 1));
    for format in PACKED {
        let (_, unpacked) = unpack(&pack(format, &content), &[], ImageFormat::Auto).unwrap();
        assert!(unpacked == content, "{format:?}");
    }
    let (_, unpacked) = unpack(&lz4(&content, BlockMode::Independent), &[], ImageFormat::Lz4).unwrap();
    assert!(unpacked == content);
}

#[test]
fn a_declaration_that_differs_from_the_content_is_refused() {
    let content = raw(b"disk");
    let mut cases = vec![
        (content.clone(), ImageFormat::Gzip, "raw"),
        (content.clone(), ImageFormat::Qcow2, "raw"),
        (b"KDMV....".to_vec(), ImageFormat::Raw, "VMDK"),
        (b"QFI\xfb....".to_vec(), ImageFormat::Raw, "qcow2"),
        (b"QFI\xfb....".to_vec(), ImageFormat::Xz, "qcow2"),
        (b"\x5e\x2a\x4d\x18\xff\xff\xff\xff".to_vec(), ImageFormat::Raw, "zstd or lz4"),
    ];
    for format in PACKED {
        for declared in [ImageFormat::Raw, ImageFormat::Qcow2].into_iter().chain(PACKED) {
            if declared != format {
                cases.push((pack(format, &content), declared, format.name()));
            }
        }
    }
    for (bytes, declared, found) in cases {
        let error = error_of(&bytes, declared);
        assert!(matches!(error, DecodeError::Mismatch { .. }), "{error:?}");
        assert!(error.to_string().contains(found), "{error}");
    }
    let error = error_of(b"KDMV\0\0\0\x01", ImageFormat::Auto);
    assert!(matches!(error, DecodeError::Unsupported("VMDK")), "{error:?}");
    for declared in [ImageFormat::Auto, ImageFormat::Qcow2] {
        let error = error_of(b"QFI\xfb\0\0\0\x03", declared);
        assert!(matches!(error, DecodeError::NotInStream(ImageFormat::Qcow2)), "{error:?}");
    }
    assert!(matches!(unpack(b"", &[], ImageFormat::Auto), Err(StreamError::Empty)));
}

#[test]
fn bytes_after_the_last_member_or_frame_are_named_so() {
    for format in PACKED {
        for garbage in [&b"x"[..], b"\0", b"<html>", b"\x1f\x8b"] {
            let error = error_of(&[&pack(format, b"disk")[..], garbage].concat(), ImageFormat::Auto);
            let DecodeError::TrailingGarbage { format: found } = error else { panic!("{error:?}") };
            assert_eq!(found, format);
        }
    }
}

#[test]
fn padding_between_and_after_xz_streams_is_skipped() {
    let content = raw(b"disk");
    let packed = pack(ImageFormat::Xz, &content);
    let padded = |zeros: usize| [&packed[..], &vec![0; zeros]].concat();
    let (_, unpacked) =
        unpack(&[padded(4), padded(12), padded(0)].concat(), &[5, 1], ImageFormat::Xz).unwrap();
    assert_eq!(unpacked, content.repeat(3));
    assert!(unpack(&padded(8), &[], ImageFormat::Xz).is_ok());
    assert!(matches!(error_of(&padded(7), ImageFormat::Xz), DecodeError::TrailingGarbage { .. }));
    let misplaced = [padded(2), padded(0)].concat();
    assert!(matches!(error_of(&misplaced, ImageFormat::Xz), DecodeError::TrailingGarbage { .. }));
}

#[test]
fn an_xz_image_that_wants_too_much_memory_is_refused_with_its_size() {
    let with_dictionary = |mib: u32| {
        let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
        options.dict_size(mib << 20);
        let mut filters = liblzma::stream::Filters::new();
        filters.lzma2(&options);
        let check = liblzma::stream::Check::Crc64;
        let stream = liblzma::stream::Stream::new_stream_encoder(&filters, check).unwrap();
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(b"disk").unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(unpack(&with_dictionary(32), &[], ImageFormat::Auto).unwrap().1, b"disk");
    let error = error_of(&with_dictionary(64), ImageFormat::Auto);
    let DecodeError::XzMemory { needed } = error else { panic!("{error:?}") };
    assert!((64 << 20..66 << 20).contains(&needed), "{needed}");
    assert!(error.to_string().contains("34.0 MiB allowed") && error.to_string().contains("-8"), "{error}");
}

#[test]
fn skippable_frames_are_skipped_wherever_they_are() {
    let content = raw(b"disk");
    let skippable = [&[0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    for format in [ImageFormat::Zstd, ImageFormat::Lz4] {
        let frame = pack(format, &content);
        let packed = [&skippable, &frame, &skippable, &skippable, &frame, &skippable].map(|part| &part[..]);
        let packed = packed.concat();
        for declared in [ImageFormat::Auto, format] {
            let (found, unpacked) = unpack(&packed, &[1; 40], declared).unwrap();
            assert_eq!((found, unpacked), (format, content.repeat(2)));
        }
        let cut = &packed[..packed.len() - 1];
        assert!(matches!(error_of(cut, ImageFormat::Auto), DecodeError::Truncated { .. }));
    }
}

#[test]
fn what_follows_skippable_frames_decides_or_the_declaration_does() {
    let skippable = |length: u32| {
        [&[0x50, 0x2a, 0x4d, 0x18][..], &length.to_le_bytes(), &vec![7; length as usize]].concat()
    };
    let long = [skippable(100_000), pack(ImageFormat::Lz4, b"disk")].concat();
    let error = error_of(&long, ImageFormat::Auto);
    assert!(matches!(error, DecodeError::Undecided), "{error:?}");
    assert!(error.to_string().contains("64.0 KiB"), "{error}");
    assert_eq!(unpack(&long, &[], ImageFormat::Lz4).unwrap().1, b"disk");
    assert!(matches!(error_of(&long, ImageFormat::Zstd), DecodeError::TrailingGarbage { .. }));
    let short = [skippable(10), skippable(9), pack(ImageFormat::Lz4, b"disk")].concat();
    assert!(matches!(error_of(&short, ImageFormat::Zstd), DecodeError::Mismatch { found: "lz4", .. }));
    let raw = [skippable(10), raw(b"disk")].concat();
    assert!(matches!(error_of(&raw, ImageFormat::Auto), DecodeError::Undecided));
    // Others have no skippable frames.
    let gzip = [skippable(10), pack(ImageFormat::Gzip, b"disk")].concat();
    assert!(matches!(error_of(&gzip, ImageFormat::Auto), DecodeError::Undecided));
}

#[test]
fn lz4_frames_that_are_not_unpacked_are_refused_with_the_reason() {
    let legacy = [&lz4_header::LEGACY_MAGIC[..], &[1, 0, 0, 0, 0]].concat();
    let error = error_of(&legacy, ImageFormat::Auto);
    assert!(error.to_string().contains("legacy"), "{error}");
    assert!(matches!(error_of(&legacy, ImageFormat::Lz4), DecodeError::Mismatch { .. }));
    let second = [pack(ImageFormat::Lz4, b"disk"), legacy].concat();
    assert!(matches!(error_of(&second, ImageFormat::Lz4), DecodeError::Unsupported(_)));

    let fields = [0x61, 0x40, 1, 0, 0, 0];
    let checksum = (twox_hash::XxHash32::oneshot(0, &fields) >> 8) as u8;
    let dictionary = [&lz4_header::MAGIC[..], &fields, &[checksum], &[0; 4]].concat();
    assert!(matches!(error_of(&dictionary, ImageFormat::Lz4), DecodeError::Dictionary(ImageFormat::Lz4)));
}

#[test]
fn the_decoders_word_is_told() {
    let mut packed = pack(ImageFormat::Lz4, &mixed(3000, 1));
    let last = packed.len() - 1;
    packed[last] ^= 1;
    let DecodeError::Corrupt { source, bytes, .. } = error_of(&packed, ImageFormat::Lz4) else { panic!() };
    assert_eq!((source.to_string().as_str(), bytes), ("the content does not match its checksum", 3003));
}

#[test]
fn a_window_beyond_the_limit_is_refused_with_its_size() {
    // Descriptor without content size, window of 2^28 bytes, one empty last block.
    let frame = [&zstd_header::MAGIC[..], &[0x00, (28 - 10) << 3, 1, 0, 0]].concat();
    let error = error_of(&frame, ImageFormat::Auto);
    assert!(matches!(error, DecodeError::Window { needed: 0x1000_0000 }), "{error:?}");
    assert!(error.to_string().contains("256.0 MiB") && error.to_string().contains("32.0 MiB"), "{error}");
    let allowed = [&zstd_header::MAGIC[..], &[0x00, (25 - 10) << 3, 1, 0, 0]].concat();
    assert_eq!(unpack(&allowed, &[], ImageFormat::Auto).unwrap().1, b"");
}

#[test]
fn the_content_size_of_a_frame_is_known_before_it_is_unpacked() {
    let content = raw(&noise(100_000, 1));
    for packed in [zstd::bulk::compress(&content, 1).unwrap(), pack(ImageFormat::Lz4, &content)] {
        let skippable = [&[0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc", &packed].concat();
        for packed in [packed, skippable] {
            let decoder = Decoder::open(Pieces::new(&packed, &[1, 1, 1]), ImageFormat::Auto).unwrap();
            assert_eq!(decoder.known_content(), Some(content.len() as u64));
        }
    }
}

#[test]
fn what_the_command_line_tools_make_is_unpacked() {
    macro_rules! seed {
        ($name:literal) => {
            &include_bytes!(concat!("../../../fuzz/corpus/", $name))[..]
        };
    }
    let content = seed!("detect/raw");
    let followed = [content, b"x"].concat();
    for (name, packed, expected) in [
        ("gzip", seed!("gzip/one"), content),
        ("two gzip members", seed!("gzip/two"), &followed),
        ("xz -0", seed!("xz/one"), content),
        ("xz -T2", seed!("xz/blocks"), content),
        ("xz with padding and a filter", seed!("xz/padded"), &followed),
        ("zstd", seed!("zstd/sized"), content),
        ("zstd of a pipe", seed!("zstd/unsized"), content),
        ("zstd, skippable frame", seed!("zstd/skippable"), &followed),
        ("zstd, one block of zeros", seed!("zstd/pool"), &[0; 300_000]),
        ("pzstd", seed!("zstd/pzstd"), content),
        ("bzip2", seed!("bzip2/one"), content),
        ("bzip2, second stream empty", seed!("bzip2/two"), content),
        ("lz4", seed!("lz4/one"), content),
        ("lz4 -BD -BX --content-size", seed!("lz4/linked"), content),
        ("lz4, skippable frame", seed!("lz4/skippable"), &followed),
    ] {
        let (_, unpacked) = unpack(packed, &[7, 1], ImageFormat::Auto).unwrap();
        assert!(unpacked == expected, "{name}");
    }
    assert!(matches!(error_of(seed!("xz/large"), ImageFormat::Xz), DecodeError::XzMemory { .. }));
    assert!(matches!(error_of(seed!("lz4/legacy"), ImageFormat::Auto), DecodeError::Unsupported(_)));
}
