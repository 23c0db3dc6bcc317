//! The kernel's warnings and errors join the agent's log on its way to the controller: a failing disk often says
//! so only there. The consoles have them already.

use std::{fs::File, io::Read as _, thread};

use bessemer_proto::v1::LogLevel;
use nix::errno::Errno;

use crate::report::Report;

/// The kernel's own limit for one record.
const RECORD_BYTES: usize = 8192;
/// Syslog priority of warnings; what is less important stays where it is.
const WARNING: u32 = 4;
const ERROR: u32 = 3;

/// Copies records in a thread, those from before the agent started too.
pub fn follow(report: Report) {
    match File::open("/dev/kmsg") {
        Ok(kmsg) => {
            thread::spawn(move || copy(kmsg, &report));
        }
        Err(error) => tracing::debug!(%error, "the kernel's log cannot be read"),
    }
}

fn copy(mut kmsg: File, report: &Report) {
    let mut buffer = vec![0; RECORD_BYTES];
    loop {
        match kmsg.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if let Some((level, message)) = buffer.get(..length).and_then(record) {
                    report.log(level, "kernel", message);
                }
            }
            // Records were overwritten before they could be read; the next read goes on after them.
            Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// `priority,sequence,microseconds,flags[,...];message`, then lines of properties that start with a space.
fn record(bytes: &[u8]) -> Option<(LogLevel, String)> {
    let text = String::from_utf8_lossy(bytes);
    let (head, message) = text.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    // Facility 0 is the kernel; what programs wrote there is not its word.
    let level = match (priority >> 3, priority & 7) {
        (0, 0..=ERROR) => LogLevel::Error,
        (0, WARNING) => LogLevel::Warn,
        _ => return None,
    };
    Some((level, message.lines().next()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_warnings_and_errors_count() {
        let disk = b"3,1200,98765,-;blk_update_request: I/O error, dev sda\n SUBSYSTEM=block\n DEVICE=b8:0\n";
        assert_eq!(record(disk), Some((LogLevel::Error, "blk_update_request: I/O error, dev sda".into())));
        assert_eq!(record(b"4,1,2,-;hm\n"), Some((LogLevel::Warn, "hm".into())));
        assert_eq!(record(b"6,1,2,-;usb 1-1: new device\n"), None);
        assert_eq!(record(b"11,1,2,-;a program's error\n"), None);
        for junk in [&b""[..], b";", b"x;y", b"3", b"\xff\xff;", b"3;"] {
            record(junk);
        }
    }
}
