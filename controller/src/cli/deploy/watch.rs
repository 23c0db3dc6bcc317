//! The live view of a deploy: a progress bar on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::cli::{
    output::{Output, printable},
    wait::Sight,
};

/// Time between two plain lines of one step.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// What a look at the node showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Snapshot {
    state: String,
    step: String,
    stage: String,
    bytes: Option<Bytes>,
    wait_reason: String,
    last_log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes {
    done: u64,
    total: u64,
    per_second: u64,
    eta_seconds: Option<u64>,
}

/// Shows how a deploy goes. On standard error, so that standard output holds the result alone.
#[derive(Debug)]
pub(super) struct Watch {
    node: String,
    view: View,
    start: Instant,
}

#[derive(Debug)]
enum View {
    Bar(ProgressBar),
    Lines { shown: Option<Snapshot>, at: Instant, silent: bool },
}

impl Watch {
    /// A view of that node's deploy.
    pub(super) fn new(node: &str, output: Output) -> Self {
        let start = Instant::now();
        let view = if stderr().is_terminal() && !output.is_json() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
            bar.enable_steady_tick(Duration::from_millis(250));
            View::Bar(bar)
        } else {
            View::Lines { shown: None, at: start, silent: false }
        };
        Self { node: node.to_owned(), view, start }
    }

    /// Shows a look at the node.
    #[allow(clippy::unnecessary_wraps, reason = "the signature of a watcher of wait::until")]
    pub(super) fn see(&mut self, sight: &Sight<'_>) -> anyhow::Result<()> {
        let elapsed = self.start.elapsed();
        match (&mut self.view, sight) {
            (View::Bar(bar), Sight::Node(node)) => draw(bar, &Snapshot::of(node)),
            (View::Bar(bar), Sight::Silence(_)) => {
                bar.set_message("the controller does not answer; trying again".to_owned());
            }
            (View::Lines { silent, .. }, Sight::Silence(error)) => {
                if !*silent {
                    eprintln!("{} {}: {error}; trying again", clock(elapsed), self.node);
                }
                *silent = true;
            }
            (View::Lines { shown, at, silent }, Sight::Node(node)) => {
                *silent = false;
                let now = Snapshot::of(node);
                if shown.as_ref().is_none_or(|shown| now.is_news_after(shown))
                    || (at.elapsed() >= LINE_PERIOD && shown.as_ref() != Some(&now))
                {
                    eprintln!("{} {}: {}", clock(elapsed), self.node, now.sentence());
                    *shown = Some(now);
                    *at = Instant::now();
                }
            }
        }
        Ok(())
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let View::Bar(bar) = &self.view {
            bar.finish_and_clear();
        }
    }
}

impl Snapshot {
    fn of(node: &Value) -> Self {
        let text = |value: &Value| printable(value.as_str().unwrap_or_default());
        let internal = &node["driver_internal_info"];
        let progress = &internal["step_progress"];
        let bytes = progress["bytes_done"].as_u64().map(|done| Bytes {
            done,
            total: progress["bytes_total"].as_u64().unwrap_or_default(),
            per_second: progress["bytes_per_second"].as_u64().unwrap_or_default(),
            eta_seconds: progress["eta_seconds"].as_u64(),
        });
        let step = [&progress["step"], &node["deploy_step"]["step"], &node["clean_step"]["step"]];
        Self {
            state: text(&node["provision_state"]),
            step: step.into_iter().map(text).find(|step| !step.is_empty()).unwrap_or_default(),
            stage: text(&progress["stage"]),
            bytes: bytes.filter(|bytes| bytes.done > 0 || bytes.total > 0),
            wait_reason: text(&internal["wait_reason"]),
            last_log: text(&internal["last_log"]),
        }
    }

    /// Something else happens than before, not only more of the same.
    fn is_news_after(&self, before: &Self) -> bool {
        (&self.state, &self.step, &self.stage, &self.wait_reason)
            != (&before.state, &before.step, &before.stage, &before.wait_reason)
    }

    fn what(&self) -> String {
        let parts = [&self.state, &self.step, &self.stage];
        parts.into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" · ")
    }

    fn sentence(&self) -> String {
        let mut text = self.what();
        if let Some(bytes) = self.bytes {
            text = format!("{text} · {bytes}");
        } else if !self.wait_reason.is_empty() {
            text = format!("{text} · {}", self.wait_reason);
        }
        if !self.last_log.is_empty() {
            text = format!("{text} | {}", self.last_log);
        }
        text.replace('\n', " ")
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", HumanBytes(self.done))?;
        if let Some(percent) = (u128::from(self.done) * 100).checked_div(u128::from(self.total)) {
            write!(f, " of {} ({percent}%)", HumanBytes(self.total))?;
        }
        write!(f, ", {}/s", HumanBytes(self.per_second))?;
        match self.eta_seconds {
            Some(seconds) => write!(f, ", {} left", HumanDuration(Duration::from_secs(seconds))),
            None => Ok(()),
        }
    }
}

/// The bar shows bytes when there are some, else a spinner; the second line is the newest log message.
fn draw(bar: &ProgressBar, now: &Snapshot) {
    let detail = if now.last_log.is_empty() { &now.wait_reason } else { &now.last_log };
    bar.set_prefix(now.what());
    bar.set_message(detail.replace('\n', " "));
    let template = match now.bytes {
        Some(Bytes { total: 1.., .. }) => {
            "[{elapsed_precise}] {prefix}\n{wide_bar} {bytes} of {total_bytes} {postfix}\n{wide_msg}"
        }
        _ => "[{elapsed_precise}] {spinner} {prefix}\n{wide_msg}",
    };
    if let Some(bytes) = now.bytes {
        bar.set_length(bytes.total);
        bar.set_position(bytes.done);
    }
    let rate = now.bytes.map(|bytes| bytes.rate()).unwrap_or_default();
    if let Ok(style) = ProgressStyle::with_template(template) {
        let style =
            style.with_key("postfix", move |_: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = out.write_str(&rate);
            });
        bar.set_style(style);
    }
}

impl Bytes {
    fn rate(&self) -> String {
        let rate = format!("{}/s", HumanBytes(self.per_second));
        match self.eta_seconds {
            Some(seconds) => format!("{rate}, {} left", HumanDuration(Duration::from_secs(seconds))),
            None => rate,
        }
    }
}

fn clock(elapsed: Duration) -> String {
    format!("[{:02}:{:02}]", elapsed.as_secs() / 60, elapsed.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(done: u64, stage: &str) -> Value {
        json!({
            "provision_state": "wait call-back",
            "deploy_step": {"interface": "deploy", "step": "write_image", "priority": 80},
            "driver_internal_info": {
                "last_log": "wrote \u{1b}[31mred",
                "step_progress": {
                    "step": "write_image", "stage": stage, "bytes_done": done, "bytes_total": 4096,
                    "bytes_per_second": 1024, "eta_seconds": (4096 - done) / 1024,
                },
            },
        })
    }

    #[test]
    fn a_line_says_what_happens_how_fast_and_for_how_long_yet() {
        let text = Snapshot::of(&node(1024, "writing")).sentence();
        assert_eq!(
            text,
            "wait call-back · write_image · writing · 1.00 KiB of 4.00 KiB (25%), 1.00 KiB/s, 3 seconds left | \
             wrote \u{fffd}[31mred"
        );
    }

    #[test]
    fn more_bytes_are_no_news_another_stage_is() {
        let before = Snapshot::of(&node(1024, "writing"));
        assert!(!Snapshot::of(&node(2048, "writing")).is_news_after(&before));
        assert!(Snapshot::of(&node(2048, "verifying")).is_news_after(&before));
    }

    #[test]
    fn an_empty_node_is_no_panic() {
        assert_eq!(Snapshot::of(&Value::Null).sentence(), "");
        let huge =
            json!({"driver_internal_info": {"step_progress": {"bytes_done": u64::MAX, "bytes_total": 1}}});
        assert!(!Snapshot::of(&huge).sentence().is_empty());
    }
}
