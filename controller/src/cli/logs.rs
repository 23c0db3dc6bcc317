//! `bessemer node logs`.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{
    client::Client,
    node::say,
    output::{Output, line},
};

/// Lines in one request.
const PAGE: usize = 1000;

/// `bessemer node logs …`
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// UUID or name.
    node: String,
    /// Goes on showing new lines until interrupted.
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    /// Runs it.
    pub(super) async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let mut after = 0;
        let mut silent = false;
        loop {
            let query = [("after", after.to_string()), ("limit", PAGE.to_string())];
            let answer = match client.get(&["nodes", &self.node, "logs"], &query).await {
                Ok(answer) => answer,
                Err(error) if self.follow && error.is_transient() => {
                    if !silent {
                        eprintln!("bessemer: {error}; trying again");
                    }
                    silent = true;
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            silent = false;
            let lines = answer["logs"].as_array().map(Vec::as_slice).unwrap_or_default();
            for record in lines {
                show(record, *output)?;
                after = record["id"].as_i64().unwrap_or(after).max(after);
            }
            if lines.len() < PAGE {
                if !self.follow {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// One line a record: text, or JSON for programs.
fn show(record: &Value, output: Output) -> std::io::Result<()> {
    if output.is_json() {
        return line(&record.to_string());
    }
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    say(&format!("{} {:7} {}: {}", text("time"), text("level"), text("target"), text("message")))
}
