//! The one way to run an external program: no input, a deadline, and its last words in the error.

use std::{
    ffi::OsString,
    io::{self, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

const OUTPUT_LIMIT: u64 = 16 * 1024 * 1024;
const LAST_WORDS: usize = 600;
const POLL: Duration = Duration::from_millis(10);

/// A program and how to call it.
#[derive(Debug)]
pub struct Invocation {
    program: &'static str,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, String)>,
    folder: Option<PathBuf>,
    deadline: Duration,
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It did not start.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It was still running at its deadline and was ended.
    #[error("{program} was not done after {} s and was ended: {last_words}", deadline.as_secs())]
    Deadline {
        /// The program.
        program: &'static str,
        /// How long it had.
        deadline: Duration,
        /// The end of what it wrote to its error output.
        last_words: String,
    },
    /// It failed.
    #[error("{program} failed ({status}): {last_words}")]
    Failed {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to its error output.
        last_words: String,
    },
}

impl Invocation {
    /// A program that is looked up in `PATH`, and how long it may take.
    #[must_use]
    pub fn new(program: &'static str, deadline: Duration) -> Self {
        Self { program, arguments: Vec::new(), environment: Vec::new(), folder: None, deadline }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(OsString::from));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Runs it in a folder.
    #[must_use]
    pub fn in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Runs the program and returns what it wrote to its standard output.
    pub fn run(&self) -> Result<String, CommandError> {
        let start_error = |source| CommandError::Start { program: self.program, source };
        let mut command = Command::new(self.program);
        command.args(&self.arguments).env("LC_ALL", "C");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = command.spawn().map_err(start_error)?;
        let output = collect(child.stdout.take());
        let errors = collect(child.stderr.take());
        let status = wait(&mut child, self.deadline).map_err(start_error)?;
        let output = output.join().unwrap_or_default();
        let last_words = last_words(&errors.join().unwrap_or_default());
        let program = self.program;
        match status {
            None => Err(CommandError::Deadline { program, deadline: self.deadline, last_words }),
            Some(status) if status.success() => Ok(String::from_utf8_lossy(&output).into_owned()),
            Some(status) => Err(CommandError::Failed { program, status, last_words }),
        }
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is still worth showing; the exit status decides.
            let _ = pipe.by_ref().take(OUTPUT_LIMIT).read_to_end(&mut bytes);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        bytes
    })
}

fn wait(child: &mut Child, deadline: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

fn last_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    let cut = text.len().saturating_sub(LAST_WORDS);
    let start = (cut..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    text[start..].lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_comes_back_and_errors_carry_the_last_words() {
        let done = Invocation::new("sh", Duration::from_secs(10)).args(["-c", "echo yes; echo no >&2"]);
        assert_eq!(done.run().unwrap(), "yes\n");
        let failed =
            Invocation::new("sh", Duration::from_secs(10)).args(["-c", "echo the disk is full >&2; exit 3"]);
        let error = failed.run().unwrap_err();
        assert!(matches!(error, CommandError::Failed { .. }));
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let hanging = Invocation::new("sleep", Duration::from_millis(50)).arg("60");
        let start = Instant::now();
        assert!(matches!(hanging.run(), Err(CommandError::Deadline { .. })));
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
