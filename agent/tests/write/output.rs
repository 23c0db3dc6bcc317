//! What is shown: bars, JSON lines, nothing; and that nobody has to look.

use std::{
    io::{Read, Write as _},
    process::Stdio,
    time::Duration,
};

use crate::{
    disks::{MIB, TestDisk, gpt_image, sha256},
    program::{Said, honest, start, write, write_json},
    server::{Served, Server},
};

const IMAGE: usize = 4 * MIB;

fn image() -> Vec<u8> {
    gpt_image(IMAGE, 512)
}

/// Breaks once, and takes a second.
fn slow() -> Server {
    let served = Served::new(image());
    Server::serve(move |request| {
        let reply = served.reply(request).paced(128 << 10, Duration::from_millis(30));
        if request.number == 0 { reply.cut_at(2 * MIB) } else { reply }
    })
}

fn said(style: &str, server: &Server, digest_of: &[u8]) -> Said {
    let disk = TestDisk::file(IMAGE);
    let hex = sha256(digest_of).hex();
    let mut command = write(["--progress", style, "--sha256", &hex, server.url("/image").as_str()]);
    command.arg(&disk.path);
    Said::of(command)
}

#[test]
fn json_lines_tell_the_whole_run() {
    let disk = TestDisk::file(IMAGE);
    let server = slow();
    let said =
        Said::of(write_json(server.url("/image").as_str(), &disk.path, &image(), &["--verify-readback"]));
    let receipt = said.receipt();
    assert!(said.err.is_empty(), "{}", said.err);
    let events = said.events();
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    let (progress, warnings) = (of("progress"), of("warning"));
    assert_eq!(progress.len() + warnings.len() + 1, events.len(), "other events: {}", said.out);
    let done: Vec<_> = progress.iter().map(|event| event["bytes_done"].as_u64().unwrap()).collect();
    assert!(done.len() >= 3 && done.is_sorted(), "{done:?}");
    assert_eq!(done.last(), Some(&(IMAGE as u64)));
    for event in &progress {
        assert_eq!(event["bytes_total"], IMAGE);
        assert!(event["bytes_per_second"].is_u64() && event["seconds"].is_f64(), "{event}");
    }
    assert_eq!(progress.first().unwrap()["stage"], "writing");
    assert_eq!(progress.last().unwrap()["stage"], "writing boot area");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0]["message"].as_str().unwrap().contains("going on from byte 2097152"), "{warnings:?}");
    assert_eq!(receipt["work"]["retries"], 1);
    assert_eq!(receipt["work"]["bytes_read_back"], IMAGE);
}

#[test]
fn a_bar_is_on_standard_error_and_clears_its_line() {
    let good = said("bar", &slow(), &image());
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.out.is_empty() && good.err.contains("\r\x1b[Kwriting: "), "{good:?}");
    assert!(good.err.contains("\r\x1b[Kwarning: ") && good.err.contains("written and proved in"), "{good:?}");
    let bad = said("bar", &slow(), b"other");
    assert_eq!(bad.code, Some(4));
    let last = bad.err.trim_end().rsplit('\r').next().unwrap().to_owned();
    assert!(last.starts_with("\x1b[Kbessemer-agent: the image was not written; "), "{last:?}");
}

#[test]
fn none_is_silent_but_for_errors() {
    let good = said("none", &slow(), &image());
    assert_eq!((good.code, &*good.out, &*good.err), (Some(0), "", ""));
    let bad = said("none", &slow(), b"other");
    assert_eq!((bad.code, &*bad.out), (Some(4), ""));
    assert!(bad.err.starts_with("bessemer-agent: ") && bad.err.lines().count() == 1, "{bad:?}");
}

#[test]
fn auto_is_log_lines_where_there_is_no_terminal() {
    let good = said("auto", &slow(), &image());
    assert_eq!((good.code, &*good.out), (Some(0), ""));
    assert!(!good.err.contains('\r') && !good.err.contains('\x1b'), "{good:?}");
    for part in ["writing image", "warning: ", "written and proved in"] {
        assert!(good.err.contains(part), "{part} is not in: {}", good.err);
    }
}

#[test]
fn a_write_does_not_need_an_audience() {
    for style in ["auto", "bar", "json", "none"] {
        let disk = TestDisk::file(IMAGE);
        let server = slow();
        let hex = sha256(&image()).hex();
        let mut command = write(["--progress", style, "--sha256", &hex, server.url("/image").as_str()]);
        command.arg(&disk.path);
        let mut child = start(command);
        // As `2>&1 | head -1` does.
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{style}");
        assert!(disk.content() == image(), "{style}");
    }
}

#[test]
fn a_reader_that_stops_reading_ends_up_with_what_was_said_first() {
    let disk = TestDisk::file(IMAGE);
    let server = honest(&image());
    let mut command = write_json(server.url("/image").as_str(), &disk.path, &image(), &[]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut byte = [0];
    child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"{");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A pipe that is full and open: `bessemer-agent write … | sleep 1000`.
#[test]
fn a_reader_that_does_not_read_stops_nothing() {
    use std::os::fd::AsFd as _;
    let (_reader, mut writer) = std::io::pipe().unwrap();
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(writer.as_fd(), nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    nix::fcntl::fcntl(writer.as_fd(), nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    for style in ["json", "bar", "auto"] {
        let disk = TestDisk::file(IMAGE);
        let server = slow();
        let hex = sha256(&image()).hex();
        let mut command = write(["--progress", style, "--sha256", &hex, server.url("/image").as_str()]);
        command.arg(&disk.path).stdout(writer.try_clone().unwrap()).stderr(writer.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let begun = std::time::Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > std::time::Duration::from_secs(60) {
                child.kill().unwrap();
                panic!("{style}: it waits for its reader");
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        };
        assert!(status.success(), "{style}: {status}");
        assert!(disk.content() == image(), "{style}: other bytes are on the disk");
    }
}
