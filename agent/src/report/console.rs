//! Where people see what the agent does: standard error of an ordinary process, or every console of the kernel
//! (screen and serial line) in a ramdisk.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    time::Duration,
};

/// Lines that wait for one slow console; a line that does not fit is not shown there.
const WAITING_LINES: usize = 512;
/// How long the consoles get to show the last lines.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);
/// Consoles that are used.
const MAX_CONSOLES: usize = 8;

enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

/// Takes lines; never blocks the caller for long.
pub enum Console {
    /// Standard error.
    Stderr,
    /// Every console of the kernel, each with a thread of its own: a stuck serial line stops nobody.
    Kernel(KernelConsoles),
}

/// The kernel's consoles.
pub struct KernelConsoles {
    consoles: Vec<SyncSender<Message>>,
}

impl Console {
    /// All consoles that the kernel uses; `/dev/console` when it does not say which.
    #[must_use]
    pub fn kernel(sys: &Path, dev: &Path) -> Self {
        let active = std::fs::read_to_string(sys.join("class/tty/console/active")).unwrap_or_default();
        let mut names: Vec<_> = active.split_ascii_whitespace().filter(|name| !name.contains('/')).collect();
        names.truncate(MAX_CONSOLES);
        let mut consoles: Vec<_> = names.iter().filter_map(|name| spawn(&dev.join(name))).collect();
        if consoles.is_empty() {
            consoles.extend(spawn(&dev.join("console")));
        }
        Self::Kernel(KernelConsoles { consoles })
    }

    /// Shows a line.
    pub fn line(&self, line: &str) {
        match self {
            Self::Stderr => {
                let mut text = line.to_owned();
                text.push('\n');
                std::io::stderr().write_all(text.as_bytes()).ok();
            }
            Self::Kernel(KernelConsoles { consoles }) => {
                for console in consoles {
                    console.try_send(Message::Line(line.to_owned())).ok();
                }
            }
        }
    }

    /// Waits until everything is shown, but not for ever.
    pub fn flush(&self) {
        let Self::Kernel(KernelConsoles { consoles }) = self else { return };
        let (done, finished) = sync_channel(consoles.len());
        let waiting = consoles
            .iter()
            .filter(|console| {
                !matches!(console.try_send(Message::Flush(done.clone())), Err(TrySendError::Disconnected(_)))
            })
            .count();
        for _ in 0..waiting {
            if finished.recv_timeout(FLUSH_DEADLINE).is_err() {
                return;
            }
        }
    }
}

fn spawn(path: &Path) -> Option<SyncSender<Message>> {
    let mut file: File = OpenOptions::new().write(true).open(path).ok()?;
    let (sender, receiver) = sync_channel(WAITING_LINES);
    std::thread::Builder::new()
        .name("console".into())
        .spawn(move || {
            for message in receiver {
                match message {
                    Message::Line(mut line) => {
                        line.push('\n');
                        file.write_all(line.as_bytes()).ok();
                    }
                    Message::Flush(done) => {
                        done.try_send(()).ok();
                    }
                }
            }
        })
        .ok()?;
    Some(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_active_console_gets_every_line() {
        let root = tempfile::tempdir().unwrap();
        let tty = root.path().join("class/tty/console");
        std::fs::create_dir_all(&tty).unwrap();
        std::fs::write(tty.join("active"), "tty0 ttyS0\n").unwrap();
        for name in ["tty0", "ttyS0", "console"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        let console = Console::kernel(root.path(), root.path());
        console.line("hello");
        console.flush();
        for (name, text) in [("tty0", "hello\n"), ("ttyS0", "hello\n"), ("console", "")] {
            assert_eq!(std::fs::read_to_string(root.path().join(name)).unwrap(), text);
        }
    }
}
