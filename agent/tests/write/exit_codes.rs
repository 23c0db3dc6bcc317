//! A run for every exit code that `write --help` and docs/write.md list.

use std::path::Path;

use crate::{
    disks::{MIB, TestDisk, assert_boot_area_is_zero, gpt_image, gzip, sha256},
    program::{Said, honest, write, write_json},
    server::{Reply, Server},
};

const IMAGE: usize = 3 * MIB;

fn image() -> Vec<u8> {
    gpt_image(IMAGE, 512)
}

#[test]
fn zero_is_written_and_proved() {
    let disk = TestDisk::file(IMAGE);
    let server = honest(&image());
    let said = Said::of(write_json(server.url("/image").as_str(), &disk.path, &image(), &[]));
    let receipt = said.receipt();
    assert_eq!(receipt["digest"], sha256(&image()).to_string());
    assert_eq!(receipt["bytes_written"], IMAGE);
    assert!(disk.content() == image());
}

#[test]
fn two_is_for_wrong_arguments_and_nothing_is_done() {
    let disk = TestDisk::file(IMAGE);
    let before = disk.content();
    let (path, digest) = (disk.path.to_str().unwrap(), sha256(b"").hex());
    let server = honest(b"");
    let url = server.url("/image").to_string();
    for arguments in [
        vec![],
        vec![&*url, path],
        vec!["--sha256", &digest, "--sha512", &digest, &url, path],
        vec!["--sha256", "abc", &url, path],
        vec!["--sha512", &digest, &url, path],
        vec!["--sha256", &digest, "no url", path],
        vec!["--sha256", &digest, &url],
        vec!["--sha256", &digest, "--connections", "0", &url, path],
        vec!["--sha256", &digest, "--connections", "9", &url, path],
        vec!["--sha256", &digest, "--format", "zip", &url, path],
        vec!["--sha256", &digest, "--progress", "loud", &url, path],
        vec!["--sha256", &digest, "--frobnicate", &url, path],
        vec!["--sha256", &digest, "ftp://127.0.0.1/image", path],
    ] {
        let said = Said::of(write(&arguments));
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(!said.err.is_empty() && said.out.is_empty(), "{said:?}");
    }
    assert!(server.requests().is_empty() && disk.content() == before);
}

#[test]
fn two_is_for_files_and_proxies_that_cannot_be_used() {
    let disk = TestDisk::file(IMAGE);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (no_pem, no_header) = (file("no.pem", "hello"), file("header", "Bearer a\u{1}b"));
    let server = honest(&image());
    let url = server.url("/image");
    for more in [["--ca", &no_pem], ["--authorization-file", &no_header]] {
        Said::of(write_json(url.as_str(), &disk.path, &image(), &more)).error(2);
    }
    for more in [["--ca", "/nonexistent"], ["--authorization-file", "/nonexistent"]] {
        let message = Said::of(write_json(url.as_str(), &disk.path, &image(), &more)).error(2);
        assert!(message.contains("/nonexistent"), "{message}");
    }
    let mut command = write_json(url.as_str(), &disk.path, &image(), &[]);
    command.env("http_proxy", "socks5://127.0.0.1:1");
    let message = Said::of(command).error(2);
    assert!(message.contains("proxy"), "{message}");
    assert!(server.requests().is_empty() && disk.content() == vec![0xa5; IMAGE]);
}

/// The run must end with `code` and leave no boot area; returns the message.
fn ends(code: i32, server: &Server, served: &[u8], more: &[&str]) -> String {
    let disk = TestDisk::file(IMAGE);
    let said = Said::of(write_json(server.url("/image").as_str(), &disk.path, served, more));
    let content = disk.content();
    if content != vec![0xa5; IMAGE] {
        assert_boot_area_is_zero(&content);
    }
    said.error(code)
}

#[test]
fn three_is_for_the_image_server() {
    let missing = Server::start(|_| Reply::status("404 Not Found"));
    assert!(ends(3, &missing, b"", &[]).contains("404 Not Found"));
    let packed = Server::start(|_| Reply::ok("x").header("Content-Encoding: gzip"));
    assert!(ends(3, &packed, b"", &[]).contains("content encoding"));
    let tls = Server::start_tls(|_| Reply::ok("x"));
    assert!(ends(3, &tls, b"", &[]).contains("certificate"));
    let sums = Server::start(|path| match path {
        "/SHA256SUMS" => Reply::status("403 Forbidden"),
        _ => Reply::ok("x"),
    });
    let disk = TestDisk::file(IMAGE);
    let mut command = write(["--progress", "json", "--checksum-url", sums.url("/SHA256SUMS").as_str()]);
    command.arg(sums.url("/image").as_str()).arg(&disk.path);
    assert!(Said::of(command).error(3).contains("403"));
}

#[test]
fn four_is_for_bytes_that_are_not_the_ones_asked_for() {
    let mut flipped = image();
    flipped[2 * MIB] ^= 1;
    assert!(ends(4, &honest(&flipped), &image(), &[]).contains("expected is sha256:"));
    let sums = Server::start(|path| match path {
        "/SHA256SUMS" => Reply::ok(format!("{}  other\n", "0".repeat(64))),
        _ => Reply::ok("x"),
    });
    let disk = TestDisk::file(IMAGE);
    let mut command = write(["--progress", "json", "--checksum-url", sums.url("/SHA256SUMS").as_str()]);
    command.arg(sums.url("/image").as_str()).arg(&disk.path);
    Said::of(command).error(4);
    let old = crate::server::Served::new(image());
    let new = crate::server::Served { etag: Some("\"v2\""), ..old.clone() };
    let changing = Server::serve(move |request| match request.number {
        0 => old.reply(request).cut_at(2 * MIB),
        _ => new.reply(request),
    });
    assert!(ends(4, &changing, &image(), &[]).contains("changed on the server"));
}

#[test]
fn five_is_for_images_that_do_not_unpack_or_fit() {
    let large = gpt_image(IMAGE + 512, 512);
    let packed = gzip(&image());
    let cut = &packed[..packed.len() / 2];
    for (served, more, says) in [
        (&large[..], &[][..], "larger than the disk"),
        (&gzip(&large), &[], "larger than the disk"),
        (&packed, &["--format", "xz"], "declared as xz"),
        (cut, &[], "ends in the middle"),
        (b"", &[], "empty"),
        (&[7; 5000], &[], "no partition table"),
        (&gpt_image(IMAGE, 4096), &[], "sectors of 4096"),
    ] {
        let message = ends(5, &honest(served), served, more);
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn six_is_for_devices_that_are_refused() {
    let server = honest(&image());
    let url = server.url("/image").to_string();
    let folder = tempfile::tempdir().unwrap();
    for device in [
        Path::new("/dev/null"),
        Path::new("/dev/no-such-disk"),
        folder.path(),
        &folder.path().join("no/such/folder"),
    ] {
        let message = Said::of(write_json(&url, device, &image(), &[])).error(6);
        assert!(message.contains(device.to_str().unwrap()), "{message}");
    }
    assert!(server.requests().is_empty(), "a refused device costs no server anything");
}

#[test]
fn the_help_lists_the_codes() {
    let said = Said::of(write(["--help"]));
    for code in ["0 written", "2 wrong", "3 the", "4 the", "5 the", "6 the", "7 the", "8 the", "130 "] {
        assert!(said.out.contains(code), "{code} is not in: {}", said.out);
    }
}
