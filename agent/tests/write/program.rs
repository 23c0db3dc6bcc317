//! Runs the program.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use crate::{
    disks::sha256,
    server::{Served, Server},
};

/// `bessemer-agent write` with nothing of the test's environment that it would heed.
pub(crate) fn write<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bessemer-agent"));
    command.arg("write").args(arguments).stdin(Stdio::null());
    for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// `write` of `url` to `device`, proved by the digest of `served`, with JSON lines.
pub(crate) fn write_json(url: &str, device: &Path, served: &[u8], more: &[&str]) -> Command {
    let hex = sha256(served).hex();
    let mut command = write(["--progress", "json", "--sha256", &hex, url]);
    command.arg(device).args(more);
    command
}

/// A server that does nothing wrong.
pub(crate) fn honest(image: &[u8]) -> Server {
    let served = Served::new(image.to_vec());
    Server::serve(move |request| served.reply(request))
}

/// Starts a command whose output is kept.
pub(crate) fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a run said.
#[derive(Debug)]
pub(crate) struct Said {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(mut command: Command) -> Self {
        Self::from(command.output().unwrap())
    }

    /// The lines of `--progress json`, each of which must be an object with an event.
    pub(crate) fn events(&self) -> Vec<Value> {
        assert!(self.out.is_empty() || self.out.ends_with('\n'), "the last line is cut: {}", self.out);
        let event = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(value["event"].is_string(), "{line}");
            value
        };
        self.out.lines().map(event).collect()
    }

    pub(crate) fn last_event(&self) -> Value {
        self.events().pop().unwrap_or_else(|| panic!("nothing on standard output: {self:?}"))
    }

    /// The receipt; the run must have succeeded.
    pub(crate) fn receipt(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        let last = self.last_event();
        assert_eq!(last["event"], "receipt", "{last}");
        last["receipt"].clone()
    }

    /// The message of the error; the run must have ended with this code and said so.
    pub(crate) fn error(&self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        let last = self.last_event();
        assert_eq!((&last["event"], &last["exit_code"]), (&"error".into(), &code.into()), "{last}");
        let message = last["message"].as_str().unwrap();
        assert!(self.err.contains(message), "standard error does not say so: {self:?}");
        message.to_owned()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}
