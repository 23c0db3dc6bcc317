//! What the command shows: a line that moves on a terminal, or JSON lines for programs.

use std::{
    io::IsTerminal as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bessemer_proto::step::WriteImageReceipt;
use clap::ValueEnum;
use serde::Serialize;

use super::exit::Failure;
use crate::{disk::human_size, report::Console, steps::StepReport};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressStyle {
    /// A bar on a terminal, else log lines.
    Auto,
    /// A line that moves.
    Bar,
    /// One JSON object a line on standard output.
    Json,
    /// Nothing but errors.
    None,
}

/// A line of `--progress json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Progress {
        stage: &'a str,
        bytes_done: u64,
        /// 0 when not known.
        bytes_total: u64,
        bytes_per_second: u64,
        seconds: f64,
    },
    Warning {
        message: &'a str,
    },
    Receipt {
        receipt: &'a WriteImageReceipt,
    },
    Error {
        exit_code: u8,
        /// `unchanged`, `no_boot_area` or `unknown`.
        device_left: &'a str,
        message: String,
    },
}

/// Shows a write.
pub(super) struct Shown {
    style: ProgressStyle,
    out: Console,
    err: Arc<Console>,
    started: Instant,
    last: Mutex<(Instant, u64)>,
}

impl Shown {
    pub(super) fn new(style: ProgressStyle) -> Arc<Self> {
        let style = match style {
            ProgressStyle::Auto if std::io::stderr().is_terminal() => ProgressStyle::Bar,
            style => style,
        };
        let now = Instant::now();
        let (out, err) = (Console::stdout(), Arc::new(Console::stderr()));
        Arc::new(Self { style, out, err, started: now, last: Mutex::new((now, 0)) })
    }

    /// Standard error, for log lines.
    pub(super) fn stderr(&self) -> Arc<Console> {
        self.err.clone()
    }

    /// Whether log lines go to standard error.
    pub(super) fn logs(&self) -> bool {
        self.style == ProgressStyle::Auto
    }

    pub(super) fn finished(&self, receipt: &WriteImageReceipt) {
        match self.style {
            ProgressStyle::Json => self.out.last_line(&json(&Event::Receipt { receipt })),
            ProgressStyle::None => {}
            ProgressStyle::Bar | ProgressStyle::Auto => {
                let rate = receipt.bytes_written as f64 / receipt.seconds.max(0.001);
                let line = format!(
                    "{}{}: {} written and proved in {:.1} s ({}/s); {}; slowest stage: {}",
                    if self.style == ProgressStyle::Bar { "\r\x1b[K" } else { "" },
                    receipt.device.name,
                    human_size(receipt.bytes_written),
                    receipt.seconds,
                    human_size(rate as u64),
                    receipt.digest,
                    receipt.work.bottleneck.as_deref().unwrap_or("none"),
                );
                self.err.last_line(&line);
            }
        }
    }

    pub(super) fn failed(&self, failure: &Failure) {
        let message = crate::report::layer::chain(failure);
        if self.style == ProgressStyle::Json {
            self.out.last_line(&json(&Event::Error {
                exit_code: failure.code(),
                device_left: failure.left().name(),
                message: message.clone(),
            }));
        }
        let clear = if self.style == ProgressStyle::Bar { "\r\x1b[K" } else { "" };
        self.err.last_line(&format!("{clear}bessemer-agent: {message}"));
    }

    /// Bytes a second since the last call.
    fn rate(&self, done: u64) -> u64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, before) = *last;
        *last = (Instant::now(), done);
        (done.saturating_sub(before) as f64 / at.elapsed().max(Duration::from_millis(1)).as_secs_f64()) as u64
    }
}

impl StepReport for Shown {
    fn progress(&self, stage: &'static str, bytes_done: u64, bytes_total: u64) {
        let bytes_per_second = self.rate(bytes_done);
        match self.style {
            ProgressStyle::Json => {
                let seconds = self.started.elapsed().as_secs_f64();
                let event = Event::Progress { stage, bytes_done, bytes_total, bytes_per_second, seconds };
                self.out.line(&json(&event));
            }
            ProgressStyle::Bar => {
                let part = match bytes_done.saturating_mul(100).checked_div(bytes_total) {
                    Some(percent) => format!("{percent:3} % of {}", human_size(bytes_total)),
                    None => human_size(bytes_done),
                };
                self.err.text(&format!("\r\x1b[K{stage}: {part}, {}/s", human_size(bytes_per_second)));
            }
            ProgressStyle::Auto | ProgressStyle::None => {}
        }
    }

    fn warning(&self, message: String) {
        match self.style {
            ProgressStyle::Json => self.out.line(&json(&Event::Warning { message: &message })),
            ProgressStyle::Bar => self.err.line(&format!("\r\x1b[Kwarning: {message}")),
            ProgressStyle::Auto => self.err.line(&format!("warning: {message}")),
            ProgressStyle::None => {}
        }
    }
}

fn json(event: &Event<'_>) -> String {
    // Strings and numbers: nothing of it can fail.
    serde_json::to_string(event).unwrap_or_default()
}
