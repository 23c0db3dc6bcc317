use proptest::prelude::*;

use super::*;
use crate::digest::DigestAlgorithm;

fn range(offset: u64, length: u64) -> Range {
    Range { offset, length, sha256: [0xab; 32] }
}

fn manifest(image_bytes: u64, ranges: Vec<Range>) -> Manifest {
    let digest = Digest::from_bytes(DigestAlgorithm::Sha512, &[7; 64]).unwrap();
    Manifest { image_bytes, image_digest: Some(digest), ranges }
}

fn refused(text: &str) -> String {
    let error = Manifest::parse(text.as_bytes()).expect_err(text);
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn refused_json(image_bytes: u64, ranges: &str) -> String {
    let digest = "ab".repeat(32);
    let ranges = ranges.replace('@', &digest);
    refused(&format!("{{\"bessemer_manifest\": 1, \"image_bytes\": {image_bytes}, \"ranges\": [{ranges}]}}"))
}

/// A bmap with another body; its own checksum fits.
fn refused_bmap(from: &str, to: &str) -> String {
    let whole = manifest(10_000, vec![range(0, 4096), range(8192, 1808)]).to_bmap().unwrap();
    let (_, rest) = whole.split_once("<BmapFileChecksum> ").unwrap();
    let zeroed = whole.replace(&rest[..64], &"0".repeat(64));
    assert!(zeroed.contains(from), "{zeroed}");
    let changed = zeroed.replacen(from, to, 1);
    let Some((head, tail)) = changed.split_once(&"0".repeat(64)) else { return refused(&changed) };
    let checksum = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&changed));
    refused(&format!("{head}{checksum}{tail}"))
}

#[test]
fn both_forms_say_the_same() {
    let mut wanted = manifest(10_000, vec![range(0, 4096), range(8192, 1808)]);
    assert_eq!(Manifest::parse(wanted.to_json().as_bytes()).unwrap(), wanted);
    assert_eq!(wanted.data_bytes(), 5904);
    let bmap = wanted.to_bmap().unwrap();
    wanted.image_digest = None;
    assert_eq!(Manifest::parse(bmap.as_bytes()).unwrap(), wanted);
    assert_eq!(Manifest::parse(format!("\u{feff}\n{}", wanted.to_json()).as_bytes()).unwrap(), wanted);
}

#[test]
fn an_image_of_zeros_has_no_ranges() {
    let wanted = Manifest { image_digest: None, ..manifest(512, vec![]) };
    assert_eq!(Manifest::parse(wanted.to_json().as_bytes()).unwrap(), wanted);
    assert_eq!(Manifest::parse(wanted.to_bmap().unwrap().as_bytes()).unwrap(), wanted);
}

#[test]
fn what_is_no_manifest_is_named() {
    for text in ["", " ", "\0", "sha256:ab", "[]"] {
        assert!(refused(text).contains("neither Bessemer's JSON nor bmap"), "{text}");
    }
    assert!(matches!(Manifest::parse(&[0xff, 0xfe]), Err(ManifestError::UnknownForm)));
    assert!(matches!(Manifest::parse(&vec![b'{'; MAX_BYTES + 1]), Err(ManifestError::TooLong(_))));
    assert!(refused("{}").contains("missing field `bessemer_manifest`"));
    assert!(refused(r#"{"bessemer_manifest": 2, "new": 1}"#).contains("version 2, only 1 is known"));
    let extra = r#"{"bessemer_manifest": 1, "image_bytes": 1, "ranges": [], "more": 1}"#;
    assert!(refused(extra).contains("unknown field `more`"));
    let deep = "[".repeat(1_000_000);
    assert!(refused(&format!("{{\"bessemer_manifest\": {deep}")).contains("not the JSON of version 1"));
}

#[test]
fn ranges_out_of_order_or_place_are_refused() {
    assert!(refused_json(0, "").contains("has 0 bytes"));
    assert!(refused_json(u64::MAX, "").contains("which no disk image has"));
    assert!(refused_json(10, "[0, 0, \"@\"]").contains("range 0 of the manifest, at 0, is empty"));
    assert!(refused_json(10, "[5, 6, \"@\"]").contains("6 bytes at 5, ends after the image"));
    let overflow = "[18446744073709551615, 2, \"@\"]";
    assert!(refused_json(10, overflow).contains("ends after the image"));
    let overlap = refused_json(10, "[0, 5, \"@\"], [4, 1, \"@\"]");
    assert!(overlap.contains("range 1 of the manifest, at 4, begins before byte 5"), "{overlap}");
    assert!(refused_json(10, "[6, 1, \"@\"], [4, 1, \"@\"]").contains("begins before byte 7"));
    assert!(refused_json(10, "[0, 1, \"abcd\"]").contains("64 hexadecimal characters"));
    assert!(refused_json(10, "[-1, 1, \"@\"]").contains("not the JSON"));
    assert!(refused_json(10, "[0, 1, \"@\", 5]").contains("not the JSON"));
    let many = manifest(1 << 40, (0..=MAX_RANGES as u64).map(|at| range(at, 1)).collect());
    assert!(matches!(many.check(), Err(ManifestError::TooManyRanges(_))));
}

#[test]
fn a_bmap_that_cannot_be_used_says_why() {
    for (from, to, part) in [
        ("version=\"2.0\"", "version=\"3.0\"", "has version \"3.0\""),
        ("version=\"2.0\"", "version=\"1.3\"", "whose digests are SHA-1"),
        ("version=\"2.0\"", "version=\"1.2\"", "has no digests"),
        ("version=\"2.0\"", "", "has version \"\""),
        (" sha256 ", " sha1 ", "has sha1 digests, only sha256 is accepted"),
        ("<ChecksumType> sha256 </ChecksumType>", "", "has no ChecksumType"),
        ("<ImageSize> 10000 </ImageSize>", "", "has no ImageSize"),
        ("<ImageSize> 10000", "<ImageSize> -1", "has \"-1\" where a number is needed"),
        ("<ImageSize> 10000", "<ImageSize> 1", "contradicts itself"),
        ("<BlockSize> 4096", "<BlockSize> 0", "contradicts itself"),
        ("<MappedBlocksCount> 2", "<MappedBlocksCount> 3", "its ranges have 2 blocks, it says 3"),
        ("> 2 </Range", "> 3 </Range", "has blocks 3-3 in an image of 3 blocks"),
        ("> 2 </Range", "> 2-1 </Range", "has blocks 2-1"),
        ("> 2 </Range", "> 18446744073709551615 </Range", "in an image of 3 blocks"),
        ("> 2 </Range", "> 0 </Range", "begins before byte 4096"),
        ("> 2 </Range", "></Range", "has \"\" where a number is needed"),
        ("> 2 </Range", "> &two; </Range", "has an entity"),
        ("> 2 </Range", "> &#50; </Range", "has an entity"),
        ("> 2 </Range", "><b/></Range", "has \"b\" where bmap 2.0 has nothing"),
        ("chksum", "sha1", "has \"sha1\" where"),
        ("Range chksum=\"abab", "Range chksum=\"ab", "chksum is no SHA-256"),
        ("</bmap>", "", "is cut off"),
        ("</bmap>", "</bmap><bmap/>", "has \"bmap\" where"),
        ("</BlockMap>", "</Block>", "not well-formed XML"),
        ("<BlockSize> 4096", "<BlockSize> 4096 </BlockSize><BlockSize> 4096", "says BlockSize twice"),
    ] {
        let error = refused_bmap(from, to);
        assert!(error.contains(part), "{from} -> {to}: {error}");
    }
    let digest = format!(" chksum=\"{}\"", "ab".repeat(32));
    assert!(refused_bmap(&digest, "").contains("a range without chksum"));
    assert!(refused_bmap(&digest, &digest.repeat(2)).contains("chksum twice"));
    assert!(refused_bmap("> 2 </Range", &format!("> {} </Range", "2".repeat(300))).contains("too much text"));
}

#[test]
fn a_damaged_bmap_is_told_by_its_own_checksum() {
    let good = manifest(10_000, vec![range(0, 4096)]).to_bmap().unwrap();
    assert!(refused(&good.replace("abab", "abac")).contains("is damaged"));
    assert!(refused(&good.replace("</bmap>", "</bmap> ")).contains("is damaged"));
}

#[test]
fn document_types_are_refused() {
    let bomb =
        "<!DOCTYPE bmap [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><bmap version=\"2.0\"/>";
    assert!(refused(bomb).contains("has a document type"));
    assert!(refused(&"<bmap version=\"2.0\">".repeat(100_000)).contains("has \"bmap\" where"));
    assert!(refused("<bmap version=\"2.0\"/>").contains("has no ChecksumType"));
}

#[test]
fn bmap_takes_only_whole_blocks() {
    let odd = manifest(10_000, vec![range(0, 4096), range(5000, 100)]);
    assert!(matches!(odd.to_bmap(), Err(ManifestError::Blocks { index: 1, offset: 5000 })));
}

fn any_manifest() -> impl Strategy<Value = Manifest> {
    let parts = prop::collection::vec((0u64..5, 1u64..300, any::<[u8; 32]>()), 0..20);
    (parts, 0u64..5, 1u64..4096, any::<bool>()).prop_map(|(parts, gap, cut, is_cut)| {
        let mut at = 0;
        let mut ranges = Vec::new();
        for (gap, length, sha256) in parts {
            ranges.push(Range { offset: (at + gap) * 4096, length: length * 4096, sha256 });
            at += gap + length;
        }
        if let Some(last) = ranges.last_mut().filter(|_| is_cut && gap == 0) {
            last.length -= 4096 - cut;
        }
        let image_bytes = match (ranges.last(), gap) {
            (Some(last), 0) => last.offset + last.length,
            _ => (at + gap + 1) * 4096 - cut,
        };
        Manifest { image_bytes, image_digest: None, ranges }
    })
}

proptest! {
    #[test]
    fn any_manifest_survives_both_forms(wanted in any_manifest()) {
        prop_assert_eq!(&Manifest::parse(wanted.to_json().as_bytes()).unwrap(), &wanted);
        prop_assert_eq!(&Manifest::parse(wanted.to_bmap().unwrap().as_bytes()).unwrap(), &wanted);
    }

    #[test]
    fn mutations_never_panic(
        wanted in any_manifest(),
        is_bmap in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..4),
    ) {
        let text = if is_bmap { wanted.to_bmap().unwrap() } else { wanted.to_json() };
        let mut bytes = text.into_bytes();
        for (index, byte, how) in changes {
            let at = index.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        if let Ok(manifest) = Manifest::parse(&bytes) {
            prop_assert!(manifest.check().is_ok());
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), start in "[{<]") {
        Manifest::parse(&[start.as_bytes(), &bytes].concat()).ok();
    }
}
