//! Where people see what the agent does: standard output and error of an ordinary process, or every console of the
//! kernel (screen and serial line) in a ramdisk. Each has a thread of its own: a stuck serial line, a stopped terminal
//! or a pipe that nobody reads stops nobody.

use std::{
    fs::OpenOptions,
    io::Write,
    path::Path,
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    time::{Duration, Instant},
};

/// Texts that wait for one slow console; one that does not fit is not shown there.
const WAITING: usize = 512;
/// How long the consoles get to show the last lines.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);
/// Consoles that are used.
const MAX_CONSOLES: usize = 8;

enum Message {
    Text(String),
    Flush(SyncSender<()>),
}

/// Takes lines; never blocks the caller for long.
pub struct Console {
    outputs: Vec<SyncSender<Message>>,
}

impl Console {
    /// Standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self { outputs: spawn(std::io::stderr()).into_iter().collect() }
    }

    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self { outputs: spawn(std::io::stdout()).into_iter().collect() }
    }

    /// All consoles that the kernel uses; `/dev/console` when it does not say which.
    #[must_use]
    pub fn kernel(sys: &Path, dev: &Path) -> Self {
        let active = std::fs::read_to_string(sys.join("class/tty/console/active")).unwrap_or_default();
        let mut names: Vec<_> = active.split_ascii_whitespace().filter(|name| !name.contains('/')).collect();
        names.truncate(MAX_CONSOLES);
        let open = |path: &Path| OpenOptions::new().write(true).open(path).ok().and_then(spawn);
        let mut outputs: Vec<_> = names.iter().filter_map(|name| open(&dev.join(name))).collect();
        if outputs.is_empty() {
            outputs.extend(open(&dev.join("console")));
        }
        Self { outputs }
    }

    /// Shows a line.
    pub fn line(&self, line: &str) {
        self.text(&format!("{line}\n"));
    }

    /// Shows a text as it is.
    pub fn text(&self, text: &str) {
        for output in &self.outputs {
            output.try_send(Message::Text(text.to_owned())).ok();
        }
    }

    /// Shows a line that matters more than those before it: waits for room, but not for ever.
    pub fn last_line(&self, line: &str) {
        let deadline = Instant::now() + FLUSH_DEADLINE;
        for output in &self.outputs {
            send(output, Message::Text(format!("{line}\n")), deadline);
        }
        self.flush();
    }

    /// Waits until everything is shown, but not for ever.
    pub fn flush(&self) {
        let deadline = Instant::now() + FLUSH_DEADLINE;
        let (done, finished) = sync_channel(self.outputs.len());
        let waiting =
            self.outputs.iter().filter(|output| send(output, Message::Flush(done.clone()), deadline)).count();
        for _ in 0..waiting {
            let left = deadline.saturating_duration_since(Instant::now());
            if finished.recv_timeout(left).is_err() {
                return;
            }
        }
    }
}

/// Waits for room until the deadline; whether there was any.
fn send(output: &SyncSender<Message>, mut message: Message, deadline: Instant) -> bool {
    loop {
        message = match output.try_send(message) {
            Ok(()) => return true,
            Err(TrySendError::Full(message)) if Instant::now() < deadline => message,
            Err(_) => return false,
        };
        std::thread::sleep(POLL);
    }
}

fn spawn(mut output: impl Write + Send + 'static) -> Option<SyncSender<Message>> {
    let (sender, receiver) = sync_channel(WAITING);
    let thread = std::thread::Builder::new().name("console".into()).spawn(move || {
        for message in receiver {
            match message {
                // When nobody reads, the work goes on all the same.
                Message::Text(text) => {
                    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
                }
                Message::Flush(done) => {
                    let _ = done.try_send(());
                }
            }
        }
    });
    thread.ok().map(|_| sender)
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
