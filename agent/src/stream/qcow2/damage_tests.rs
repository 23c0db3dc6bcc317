//! Images that are cut, changed or arrive in any pieces: no panic, no endless loop, no wrong disk.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{
    Qcow2Error, Qcow2Scatter, fuzz_layout,
    test_images::{Lab, Tiny, layout, qcow2_error, read, read_changed},
};
use crate::{
    stream::{
        DecodeError, StreamError,
        chunks::{Chunks, tests::Pieces},
    },
    test_support::disks::noise,
};

/// Small images of every kind, with their disks.
static IMAGES: LazyLock<Vec<(Vec<u8>, Vec<u8>)>> = LazyLock::new(|| {
    let lab = Lab::new();
    let mut disk = noise(300 * 512, 3);
    // Half of it can be compressed.
    disk[..60_000].iter_mut().for_each(|byte| *byte &= 0x83);
    disk[40_000..90_000].fill(0);
    disk[100_000..120_000].fill(7);
    lab.write("raw", &disk);
    let options = [
        "-o cluster_size=512",
        "-c -o cluster_size=512",
        "-o cluster_size=4k",
        "-c -o cluster_size=4k",
        "-c -o cluster_size=4k,compression_type=zstd",
        "-c -o cluster_size=64k,compression_type=zstd",
        "-c -o cluster_size=64k",
        "-o cluster_size=16k,extended_l2=on",
    ];
    let make = |(number, options): (usize, &&str)| {
        lab.qemu_img(&format!("convert -f raw -O qcow2 {options} raw {number}"));
        (lab.read(&number.to_string()), lab.disk(&number.to_string()))
    };
    options
        .iter()
        .enumerate()
        .map(make)
        .chain([(Tiny::new().0, read(&Tiny::new().0, &[], 512).unwrap())])
        .collect()
});

/// Places worth changing: each byte of header and tables that is not zero or is the first of its number, and as many
/// of the rest.
fn interesting(image: &[u8]) -> Vec<usize> {
    let layout = layout(image).unwrap();
    let tables = (0..).map_while(|number| layout.table(number)).flat_map(|table| table.start..table.end);
    let mut places: Vec<usize> = tables
        .map(|place| place as usize)
        .filter(|place| *place < 112 || image[*place] != 0 || place % 64 == 0)
        .collect();
    let step = image.len() / places.len();
    places.extend((0..image.len()).step_by(step));
    places
}

fn survives(image: &[u8]) {
    let start = Instant::now();
    let _ = fuzz_layout(image);
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_chunking_gives_the_same_disk(
        number in any::<prop::sample::Index>(),
        lengths in proptest::collection::vec(0_usize..3000, 0..300),
        sectors in 1_usize..100,
    ) {
        let (image, disk) = number.get(&IMAGES);
        prop_assert!(read(image, &lengths, sectors * 512).unwrap() == *disk);
    }

    #[test]
    fn changed_bytes_never_panic_and_never_take_long(
        number in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        header_only in any::<bool>(),
    ) {
        let mut image = number.get(&IMAGES).0.clone();
        let places = if header_only { (0..112).collect() } else { interesting(&image) };
        for (place, byte) in changes {
            image[*place.get(&places)] = byte;
        }
        survives(&image);
    }

    #[test]
    fn changed_numbers_never_panic_and_never_take_long(
        number in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
        bits in 0_u32..64,
    ) {
        // One entry takes the place of another, or of a power of two.
        let mut image = number.get(&IMAGES).0.clone();
        let words = image.len() / 8;
        for (from, to) in changes {
            let (from, to) = (from.index(words) * 8, to.index(words.min(2000)) * 8);
            image.copy_within(from..from + 8, to);
            survives(&image);
            image[to..to + 8].copy_from_slice(&(1_u64 << bits).to_be_bytes());
            survives(&image);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        survives(&bytes);
        survives(&[&b"QFI\xfb\0\0\0\x03"[..], &bytes].concat());
    }

    #[test]
    fn a_table_that_changed_since_it_was_read_is_noticed(
        place in 0_usize..3 * 512,
        bit in 0_u32..8,
        lengths in proptest::collection::vec(1_usize..300, 0..30),
    ) {
        let image = Tiny::new();
        // Header, L1 table, L2 tables.
        let place = if place < 112 { place } else if place < 128 { Tiny::L1 + place - 112 } else { Tiny::L2 + place % 1024 };
        let mut changed = image.0.clone();
        changed[place] ^= 1 << bit;
        let error = qcow2_error(read_changed(layout(&image.0).unwrap(), &changed, &lengths, 4096));
        prop_assert!(matches!(error, Qcow2Error::Changed(_)), "{error:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_read_from_a_changed_image_is_what_qemu_reads(
        number in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut image = number.get(&IMAGES).0.clone();
        let places = interesting(&image);
        for (place, byte) in changes {
            image[*place.get(&places)] = byte;
        }
        // Larger disks take long to compare, and QEMU writes them all.
        let small = layout(&image).is_ok_and(|layout| layout.virtual_size() < 16 << 20);
        if small && let Ok(ours) = read(&image, &[], 4096) && let Some(theirs) = Lab::new().disk_of_changed(&image) {
            prop_assert!(ours == theirs);
        }
    }
}

#[test]
fn a_stream_of_another_length_than_the_file_is_an_error() {
    for (image, _) in IMAGES.iter() {
        for length in (0..image.len()).step_by(997).chain([1, 111, 112, 512, image.len() - 1]) {
            let error = qcow2_error(read_changed(layout(image).unwrap(), &image[..length], &[100], 4096));
            assert!(
                matches!(error, Qcow2Error::Changed(place) if place == length as u64),
                "{length}: {error:?}"
            );
        }
        let longer = [&image[..], b"x"].concat();
        for lengths in [&[][..], &[image.len()], &[image.len() - 1]] {
            let error = qcow2_error(read_changed(layout(image).unwrap(), &longer, lengths, 4096));
            assert!(matches!(error, Qcow2Error::Changed(_)), "{error:?}");
        }
    }
}

#[test]
fn a_file_that_is_cut_anywhere_gives_an_error_or_what_qemu_reads() {
    // Within the last cluster that has data, the rest is zeros; QEMU reads it like this, and the digest knows better.
    for (image, disk) in IMAGES.iter() {
        for length in (0..image.len()).step_by(333) {
            if let Ok(cut) = read(&image[..length], &[], 4096) {
                let differ =
                    cut.iter().zip(disk).filter(|(ours, theirs)| ours != theirs && **ours != 0).count();
                assert_eq!(differ, 0, "{length} of {}", image.len());
            }
        }
    }
}

#[test]
fn an_error_stays() {
    let image = Tiny::new().0;
    let mut pieces = Pieces::new(&image[..3000], &[]);
    pieces.cut_off = true;
    assert!(pieces.next().is_ok());
    let mut scatter = Qcow2Scatter::new(layout(&image).unwrap(), pieces);
    let mut buffer = vec![0; 512];
    for _ in 0..3 {
        assert!(matches!(scatter.fill(&mut buffer), Err(StreamError::Stopped)));
    }
}

#[test]
fn damaged_compressed_clusters_are_named_by_their_place_on_the_disk() {
    for number in [1, 3, 4, 5, 6] {
        let (image, _) = &IMAGES[number];
        let (mut damaged, mut found) = (0, 0);
        for place in (1024..image.len()).step_by(1501) {
            let mut image = image.clone();
            image[place..].iter_mut().take(40).for_each(|byte| *byte ^= 0xff);
            damaged += 1;
            let result = read(&image, &[], 4096);
            if let Err(StreamError::Decode(DecodeError::Qcow2(Qcow2Error::Cluster { guest, .. }))) = result {
                assert!(guest < 300 * 512);
                found += 1;
            }
        }
        assert!(found > 0, "image {number}: {found} of {damaged}");
    }
}
