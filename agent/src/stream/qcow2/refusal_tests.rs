//! What is refused, and that the reason is told.

use std::sync::atomic::AtomicUsize;

use futures_util::FutureExt;

use super::{
    Layout, Qcow2Error,
    entry::{self, Mapping},
    header::Header,
    test_images::{CLUSTER, Head, Lab, Tiny, layout, qcow2_error, read},
};

/// The error for a small image after `change`.
fn refusal(change: impl FnOnce(&mut Tiny) -> &mut Tiny) -> Qcow2Error {
    let mut image = Tiny::new();
    change(&mut image);
    qcow2_error(read(&image.0, &[], 4096))
}

fn assert_told(change: impl FnOnce(&mut Tiny) -> &mut Tiny, words: &str) {
    let message = refusal(change).to_string();
    assert!(message.contains(words), "{message:?} does not contain {words:?}");
}

#[test]
fn the_small_image_is_good_and_qemu_agrees() {
    let lab = Lab::new();
    lab.write("tiny", &Tiny::new().0);
    let disk = read(&Tiny::new().0, &[], 4096).unwrap();
    assert!(disk == lab.disk("tiny"));
    assert_eq!(disk.len(), 40 << 10);
    assert_eq!((disk[0], disk[CLUSTER], disk[14 * CLUSTER]), (8, 0, 1));
}

#[test]
fn what_needs_more_than_this_file_is_refused() {
    assert_told(|image| image.u64(8, 104).u32(16, 4), "needs a backing file");
    assert_told(|image| image.u64(72, 1 << 2), "data in another file");
    assert_told(|image| image.u32(32, 1), "is encrypted");
    assert_told(|image| image.u32(32, 2), "qemu-img convert");
}

#[test]
fn real_images_that_need_more_are_refused() {
    let lab = Lab::new();
    lab.qemu_img("create -q -f qcow2 base 1M");
    lab.qemu_img("create -q -f qcow2 -b base -F qcow2 backed");
    lab.qemu_img("create -q -f qcow2 -o data_file=data external 1M");
    lab.qemu_img(
        "create -q -f qcow2 --object secret,id=s,data=x -o encrypt.format=aes,encrypt.key-secret=s aes 1M",
    );
    for (name, reason) in [("backed", "backing file"), ("external", "another file"), ("aes", "encrypted")] {
        let message = qcow2_error(layout(&lab.read(name))).to_string();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn features_that_are_not_known_are_refused() {
    assert_told(|image| image.u64(72, 1 << 5), "bit 5");
    assert_told(|image| image.u64(72, 1 << 63), "bit 63");
    assert_told(|image| image.u64(72, 1 << 1), "marked as corrupt");
    assert!(matches!(refusal(|image| image.u32(4, 1)), Qcow2Error::Version(1)));
    assert!(matches!(refusal(|image| image.u32(4, 4)), Qcow2Error::Version(4)));
    assert!(matches!(refusal(|image| image.u32(0, 0)), Qcow2Error::NotQcow2));
    for (bits, length, kind) in [(1 << 3, 112, 2), (1 << 3, 112, 0), (1 << 3, 104, 1), (0, 112, 1)] {
        assert_told(|image| image.u64(72, bits).u32(100, length).u32(104, kind << 24), "compression_type");
    }
    // Reference counts that may be wrong, compatible and auto-clear features do not concern a reader.
    let mut image = Tiny::new();
    image.u64(72, 1).u64(80, u64::MAX).u64(88, u64::MAX);
    assert!(read(&image.0, &[], 4096).is_ok());
}

#[test]
fn a_header_that_cannot_be_right_is_refused() {
    for (length, words) in [(100, "header_length"), (108, "header_length"), (0, "header_length")] {
        assert_told(|image| image.u32(100, length), words);
    }
    for bits in [0, 8, 22, 63, u32::MAX] {
        assert_told(|image| image.u32(20, bits), "cluster_bits");
    }
    assert_told(|image| image.u64(72, 1 << 4).u32(20, 13), "cluster_bits");
    for size in [0, 513, u64::MAX] {
        assert_told(|image| image.u64(24, size), "size is");
    }
    assert_told(|image| image.u64(24, 1 << 50), "too large for its clusters of 512 bytes");
    assert_told(|image| image.u64(24, 1 << 30), "l1_size");
    assert_told(|image| image.u32(36, 1), "l1_size");
    assert_told(|image| image.u32(36, (4 << 20) + 1), "l1_size");
    for offset in [0, 513, 100] {
        assert_told(|image| image.u64(40, offset), "l1_table_offset");
    }
    for offset in [Tiny::END as u64, 1 << 62, !511] {
        assert_told(|image| image.u64(40, offset), "before its L1 table is complete");
    }
}

#[test]
fn entries_that_cannot_be_right_are_refused() {
    let (inside, outside) = (Tiny::DATA as u64, Tiny::END as u64);
    for (entry, words) in [
        (inside | 1, "reserved bits"),
        (inside | 1 << 56, "reserved bits"),
        (outside, "outside the file"),
        (0x00ff_ffff_ffff_fe00, "outside the file"),
    ] {
        assert_told(|image| image.u64(Tiny::L1, entry), words);
    }
    for (entry, words) in [
        (inside | 2, "reserved bits"),
        (inside | 1 << 56, "reserved bits"),
        (1 << 63, "at the start of the file"),
        (outside, "outside the file"),
        (1 << 62 | outside, "outside the file"),
        (3 << 62 | inside, "reserved bits"),
    ] {
        assert_told(|image| image.entry(3, entry), words);
        assert_told(|image| image.entry(3, entry), "byte 1536 of the disk");
    }
}

#[test]
fn entries_for_larger_clusters_and_subclusters_are_checked() {
    let parsed = Header::parse(&Tiny::new().0, 1 << 20).unwrap();
    let header = Header { cluster_bits: 14, extended_l2: true, ..parsed };
    let (host, unit) = (3 << 14, 512);
    let reason = |entry, bitmap| entry::l2(entry, bitmap, &header).unwrap_err();
    assert_eq!(entry::l1(host, &header), Ok(Some(host)));
    assert!(entry::l1(host + unit, &header).unwrap_err().contains("between two clusters"));
    assert!(entry::l1((1 << 20) - unit, &header).unwrap_err().contains("between two clusters"));
    assert!(reason(host + unit, 1).contains("between two clusters"));
    assert!(reason(host, 1 << 32 | 1).contains("both data and zeros"));
    assert!(reason(host | 1, 1).contains("reserved bits"));
    assert!(reason(0, 1).contains("start of the file"));
    assert_eq!(entry::l2(host, 0xffff_ffff << 32, &header), Ok(Mapping::Zero));
    assert_eq!(entry::l2(host, 5, &header), Ok(Mapping::Data { host, units: 5 }));
    // The file may end within a cluster, behind the last subcluster that is there.
    let header = Header { file_length: host + 3 * unit - 1, ..header };
    assert_eq!(entry::l2(host, 5, &header), Ok(Mapping::Data { host, units: 5 }));
    assert!(entry::l2(host, 8, &header).unwrap_err().contains("outside the file"));
    assert!(entry::l1(host, &header).unwrap_err().contains("outside the file"));
}

#[test]
fn a_part_of_the_file_with_two_uses_is_refused() {
    let overlap = |change: &dyn Fn(&mut Tiny) -> &mut Tiny| {
        let error = refusal(|image| change(image));
        assert!(matches!(error, Qcow2Error::Overlap(_)), "{error:?}");
    };
    // A cluster twice, data in the L1 table, in an L2 table, in the header.
    overlap(&|image| image.entry(1, Tiny::DATA as u64));
    overlap(&|image| image.entry(1, Tiny::L1 as u64));
    overlap(&|image| image.entry(1, Tiny::L2 as u64));
    overlap(&|image| image.entry(1, 1 << 62 | 100));
    // One L2 table for all of the disk; the L1 table as an L2 table.
    overlap(&|image| image.u64(Tiny::L1 + 8, Tiny::L2 as u64));
    overlap(&|image| image.u64(Tiny::L1, Tiny::L1 as u64));
    // Compressed clusters within data, in the same place, and further inside each other than the last sector.
    let packed = |host: usize, sectors: u64| 1 << 62 | sectors << 61 | host as u64;
    overlap(&|image| image.entry(1, packed(Tiny::DATA + 10, 0)));
    let free = |image: &mut Tiny| {
        image.0.resize(20 * CLUSTER, 0);
    };
    overlap(&|image| {
        free(image);
        image.entry(1, packed(6200, 0)).entry(3, packed(6200, 0))
    });
    overlap(&|image| {
        free(image);
        image.entry(1, packed(6200, 1)).entry(3, packed(6300, 1))
    });
}

/// The error for a file that starts with `image` and has `length` bytes, and the number of requests it took.
fn refusal_of_head(image: Tiny, length: u64) -> (Qcow2Error, usize) {
    let head = Head { bytes: image.0.into(), length, requests: AtomicUsize::new(0) };
    let error = qcow2_error(Layout::read(&head).now_or_never().unwrap());
    (error, head.requests.into_inner())
}

/// A header for `tables` L2 tables, and an L1 table that is empty.
fn with_tables(tables: usize) -> Tiny {
    let mut image = Tiny(vec![0; CLUSTER + tables * 8]);
    image.0[..CLUSTER].copy_from_slice(&Tiny::new().0[..CLUSTER]);
    image.u64(24, (tables * 64 * CLUSTER) as u64).u32(36, tables as u32);
    image
}

#[test]
fn many_references_to_one_table_do_not_cost_a_reading_each() {
    let tables = 256 << 10;
    let mut image = with_tables(tables);
    let l2 = image.0.len();
    for entry in 0..tables {
        image.u64(CLUSTER + entry * 8, l2 as u64);
    }
    image.0.resize(l2 + CLUSTER, 0);
    let length = image.0.len();
    let (error, requests) = refusal_of_head(image, length as u64);
    assert!(matches!(error, Qcow2Error::Overlap(_)), "{error:?}");
    assert!(requests < length / CLUSTER + 10, "{requests}");
}

#[test]
fn an_image_of_too_many_fragments_is_refused() {
    // Data in the opposite order, so that no cluster is next to another.
    let tables = 12 << 10;
    let mut image = with_tables(tables);
    let l2 = image.0.len();
    let (first, clusters) = (l2 + tables * CLUSTER, tables * 64);
    image.0.resize(first, 0);
    for table in 0..tables {
        image.u64(CLUSTER + table * 8, (l2 + table * CLUSTER) as u64);
    }
    for cluster in 0..clusters {
        image.u64(l2 + cluster * 8, (first + (clusters - cluster) * CLUSTER) as u64);
    }
    let (error, requests) = refusal_of_head(image, (first + (clusters + 1) * CLUSTER) as u64);
    assert!(matches!(error, Qcow2Error::TooFragmented), "{error:?}");
    assert!(error.to_string().contains("qemu-img convert"), "{error}");
    // Tables that follow each other are read together.
    assert!(requests < 10, "{requests}");
}
