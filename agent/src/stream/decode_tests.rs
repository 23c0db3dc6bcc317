use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;
use crate::{stream::chunks::tests::Pieces, test_support::disks::noise};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// Not packed, and not what any packed format starts with.
fn raw(bytes: &[u8]) -> Vec<u8> {
    [b"\xeb\x63\x90", bytes].concat()
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
        let count = decoder.fill(&mut buffer)?;
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_format_survives_any_chunking(
        seed in any::<u64>(),
        sizes in proptest::collection::vec(0_usize..6000, 1..4),
        lengths in proptest::collection::vec(0_usize..500, 0..60),
        kind in 0_usize..3,
    ) {
        let parts: Vec<Vec<u8>> = sizes.iter().map(|size| raw(&noise(*size, seed))).collect();
        let content = parts.concat();
        let (format, packed) = match kind {
            0 => (ImageFormat::Raw, content.clone()),
            1 => (ImageFormat::Gzip, parts.iter().flat_map(|part| gzip(part)).collect()),
            _ => (ImageFormat::Zstd, parts.iter().flat_map(|part| zstd(part)).collect()),
        };
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
        gz in any::<bool>(),
    ) {
        let content = raw(&noise(5000, seed));
        let packed = if gz { gzip(&content) } else { zstd(&content) };
        let cut = &packed[..1 + place.index(packed.len() - 1)];
        let declared = if gz { ImageFormat::Gzip } else { ImageFormat::Zstd };
        prop_assert!(unpack(cut, &lengths, declared).is_err());
    }

    #[test]
    fn damaged_and_arbitrary_bytes_never_panic(
        seed in any::<u64>(),
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        gz in any::<bool>(),
        arbitrary in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let content = raw(&noise(3000, seed));
        let mut packed = if gz { gzip(&content) } else { zstd(&content) };
        let at = place.index(packed.len());
        packed[at] = byte;
        let _ = unpack(&packed, &[], ImageFormat::Auto);
        let mut frame = zstd_frames::MAGIC.to_vec();
        frame.extend(&arbitrary);
        let _ = unpack(&frame, &[], ImageFormat::Auto);
        let mut member = gzip::MAGIC.to_vec();
        member.extend(&arbitrary);
        let _ = unpack(&member, &[], ImageFormat::Auto);
    }
}

#[test]
fn a_declaration_that_differs_from_the_content_is_refused() {
    let content = raw(b"disk");
    for (bytes, declared, found) in [
        (gzip(&content), ImageFormat::Raw, "gzip"),
        (gzip(&content), ImageFormat::Zstd, "gzip"),
        (zstd(&content), ImageFormat::Gzip, "zstd"),
        (content.clone(), ImageFormat::Gzip, "raw"),
        (b"QFI\xfb....".to_vec(), ImageFormat::Raw, "qcow2"),
        (b"\xfd7zXZ\0....".to_vec(), ImageFormat::Raw, "xz"),
    ] {
        let error = error_of(&bytes, declared);
        assert!(matches!(error, DecodeError::Mismatch { .. }), "{error:?}");
        assert!(error.to_string().contains(found), "{error}");
    }
    let error = error_of(b"QFI\xfb\0\0\0\x03", ImageFormat::Auto);
    assert!(matches!(error, DecodeError::Unsupported("qcow2")), "{error:?}");
    assert!(matches!(unpack(b"", &[], ImageFormat::Auto), Err(StreamError::Empty)));
}

#[test]
fn bytes_after_the_last_member_or_frame_are_refused() {
    let content = raw(b"disk");
    for garbage in [&b"x"[..], b"\0", b"<html>", b"\x1f\x8b"] {
        let error = error_of(&[&gzip(&content)[..], garbage].concat(), ImageFormat::Auto);
        assert!(matches!(error, DecodeError::TrailingGarbage { format: ImageFormat::Gzip }), "{error:?}");
        let error = error_of(&[&zstd(&content)[..], garbage].concat(), ImageFormat::Auto);
        assert!(matches!(error, DecodeError::TrailingGarbage { format: ImageFormat::Zstd }), "{error:?}");
    }
}

#[test]
fn skippable_frames_are_skipped_wherever_they_are() {
    let content = raw(b"disk");
    let skippable = [&[0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let packed = [&skippable[..], &zstd(&content), &skippable, &zstd(&content), &skippable].concat();
    let (format, unpacked) = unpack(&packed, &[1; 40], ImageFormat::Auto).unwrap();
    assert_eq!((format, unpacked), (ImageFormat::Zstd, [&content[..], &content].concat()));
    let cut = &packed[..packed.len() - 1];
    assert!(matches!(error_of(cut, ImageFormat::Auto), DecodeError::Truncated { .. }));
}

#[test]
fn a_window_beyond_the_limit_is_refused_with_its_size() {
    // Descriptor without content size, window of 2^28 bytes, one empty last block.
    let frame = [&zstd_frames::MAGIC[..], &[0x00, (28 - 10) << 3, 1, 0, 0]].concat();
    let error = error_of(&frame, ImageFormat::Auto);
    assert!(matches!(error, DecodeError::Window { needed: 0x1000_0000 }), "{error:?}");
    assert!(error.to_string().contains("256.0 MiB") && error.to_string().contains("128.0 MiB"), "{error}");
    let allowed = [&zstd_frames::MAGIC[..], &[0x00, (27 - 10) << 3, 1, 0, 0]].concat();
    assert_eq!(unpack(&allowed, &[], ImageFormat::Auto).unwrap().1, b"");
}

#[test]
fn the_content_size_of_a_frame_is_known_before_it_is_unpacked() {
    let content = raw(&noise(100_000, 1));
    let packed = zstd::bulk::compress(&content, 1).unwrap();
    let decoder = Decoder::open(Pieces::new(&packed, &[1, 1, 1]), ImageFormat::Auto).unwrap();
    assert_eq!(decoder.known_content(), Some(content.len() as u64));
    let header = FrameHeader::parse(&[&zstd_frames::MAGIC[..], &[0x40, 0x00, 0x01, 0x00]].concat());
    assert_eq!(header, Some(FrameHeader { window: 1024, content: Some(257), dictionary: false }));
}
