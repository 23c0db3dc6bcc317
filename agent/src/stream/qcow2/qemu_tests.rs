//! Images that QEMU made, compared with what QEMU reads.

use super::test_images::{Lab, layout, read};
use crate::test_support::disks::{MIB, gpt_image, noise};

/// A disk with GPT, data, text that compresses well, and holes; its end is within a cluster of any size.
fn disk() -> Vec<u8> {
    let mut disk = gpt_image(9 * MIB + 3 * 512, 512);
    disk[2 * MIB..4 * MIB + 4096].fill(0);
    disk[5 * MIB..6 * MIB].fill(b'x');
    for hole in (6 * MIB..7 * MIB).step_by(96 << 10) {
        disk[hole..hole + (40 << 10)].fill(0);
    }
    disk
}

fn compare(lab: &Lab, name: &str) {
    let image = lab.read(name);
    let disk = lab.disk(name);
    for (lengths, buffer) in [(&[][..], MIB), (&[1000; 3000][..], 64 << 10)] {
        let ours = read(&image, lengths, buffer).unwrap();
        assert!(ours == disk, "{name}: the disk differs in chunks of {lengths:?}");
    }
}

#[test]
fn converted_images_of_every_kind_are_read() {
    let lab = Lab::new();
    lab.write("raw", &disk());
    for (name, options) in [
        ("v2", "-o compat=0.10"),
        ("v3", "-o compat=1.1"),
        ("v2-zlib", "-c -o compat=0.10"),
        ("zlib", "-c"),
        ("zstd", "-c -o compression_type=zstd"),
        ("512", "-o cluster_size=512"),
        ("512-zlib", "-c -o cluster_size=512"),
        ("512-zstd", "-c -o cluster_size=512,compression_type=zstd"),
        ("4k", "-o cluster_size=4k"),
        ("2M", "-o cluster_size=2M"),
        ("2M-zlib", "-c -o cluster_size=2M"),
        ("2M-zstd", "-c -o cluster_size=2M,compression_type=zstd"),
        ("subclusters", "-o extended_l2=on"),
        ("subclusters-16k", "-o extended_l2=on,cluster_size=16k"),
        ("subclusters-zlib", "-c -o extended_l2=on"),
        ("metadata", "-o preallocation=metadata"),
        ("full", "-o preallocation=full"),
        ("lazy", "-o lazy_refcounts=on,refcount_bits=1"),
    ] {
        lab.qemu_img(&format!("convert -f raw -O qcow2 {options} raw {name}"));
        compare(&lab, name);
        assert!(lab.disk(name) == disk(), "{name}");
    }
}

#[test]
fn fragmented_images_with_snapshots_are_read() {
    let lab = Lab::new();
    for (name, options) in [
        ("64k", "cluster_size=64k"),
        ("512", "cluster_size=512"),
        ("2M", "cluster_size=2M"),
        ("subclusters", "extended_l2=on"),
        ("v2", "compat=0.10,cluster_size=4k"),
    ] {
        lab.qemu_img(&format!("create -q -f qcow2 -o {options} {name} 8390144"));
        let writes = |seed| -> Vec<String> {
            let random = noise(64 * 8, seed);
            let numbers = random.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
            numbers
                .map(|number| {
                    let (offset, length) = (number % 15_000 * 512, (number >> 20) % 100 * 512 + 512);
                    match number >> 40 & 7 {
                        0 => format!("write -q -z {offset} {length}"),
                        1 => format!("discard -q {offset} {length}"),
                        pattern => format!("write -q -P {pattern} {offset} {length}"),
                    }
                })
                .collect()
        };
        lab.qemu_io(name, &writes(1));
        compare(&lab, name);
        lab.qemu_img(&format!("snapshot -c before {name}"));
        lab.qemu_io(name, &writes(2));
        compare(&lab, name);
        lab.qemu_io(name, &["write -q -P 9 8389632 512".to_owned()]);
        compare(&lab, name);
        // Compressed clusters are only made where nothing is; so in an image of its own.
        lab.qemu_img(&format!("convert -f qcow2 -O qcow2 -c {name} {name}-packed"));
        lab.qemu_io(&format!("{name}-packed"), &writes(3));
        compare(&lab, &format!("{name}-packed"));
    }
}

#[test]
fn an_image_without_any_data_is_zeros() {
    let lab = Lab::new();
    for (name, options) in
        [("none", ""), ("large", "-o cluster_size=2M"), ("metadata", "-o preallocation=metadata")]
    {
        lab.qemu_img(&format!("create -q -f qcow2 {options} {name} 1000448"));
        compare(&lab, name);
    }
    lab.qemu_img("create -q -f qcow2 terabytes 50T");
    let layout = layout(&lab.read("terabytes")).unwrap();
    assert_eq!(layout.zero_ranges().collect::<Vec<_>>(), [(0, 50 << 40)]);
}

#[test]
fn clusters_that_the_file_ends_within_go_on_with_zeros() {
    let lab = Lab::new();
    lab.qemu_img("create -q -f qcow2 image 1M");
    lab.qemu_io("image", &["write -q -P 1 0 512".to_owned()]);
    let image = lab.read("image");
    lab.write("image", &image[..image.len() - 60_000]);
    compare(&lab, "image");
}
