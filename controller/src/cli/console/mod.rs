//! `bessemer console`.

mod escape;
mod filter;
mod terminal;

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};
use url::Url;

use self::{
    escape::{Escape, Typed},
    filter::Filter,
    terminal::{RawMode, keys},
};
use super::{
    client::Client,
    output::{Output, printable},
    socket::Socket,
};

/// Longest message of the controller.
const MAX_MESSAGE: usize = 256 * 1024;
/// For the controller to answer.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// Shows the serial console of a machine and types on it.
///
/// Ends with Enter, then ~ and a full stop. Turns the console on when it is off; it stays on, and is recorded.
#[derive(Debug, Args)]
pub(super) struct Console {
    /// UUID or name.
    node: String,
    /// Only shows it.
    #[arg(short, long)]
    watch: bool,
}

impl Console {
    /// Runs it.
    pub(super) async fn run(self, client: &Client, _output: &Output) -> anyhow::Result<()> {
        let url = self.url(client).await?;
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE));
        let socket = tokio::time::timeout(OPEN_WITHIN, client.socket(&url, config));
        let mut socket = socket.await.context("the controller does not open the console")??;
        let is_terminal = std::io::stdin().is_terminal();
        let raw = (is_terminal && !self.watch).then(RawMode::enter).transpose().context("the terminal")?;
        if raw.is_some() {
            note("connected; Enter, then ~. ends it, ~? helps");
        }
        let typed = if self.watch { None } else { Some(keys()) };
        let ended = talk(&mut socket, typed, is_terminal).await;
        drop(raw);
        socket.close(None).await.ok();
        eprintln!();
        ended
    }

    /// Turns the console on, and asks for a URL that opens it once.
    async fn url(&self, client: &Client) -> anyhow::Result<Url> {
        let path = ["nodes", &self.node, "states", "console"];
        let mut console = client.get(&path, &[]).await?;
        // Enabled and without a URL: whoever enables it again is told why.
        if console["console_enabled"] != true || !console["console_info"]["url"].is_string() {
            client.put(&path, &json!({"enabled": true})).await?;
            console = client.get(&path, &[]).await?;
        }
        match console["console_info"]["url"].as_str() {
            Some(url) => Ok(url.parse()?),
            None => {
                bail!("the console of node {} leads nowhere: its driver only pretends to have one", self.node)
            }
        }
    }
}

async fn talk(
    socket: &mut Socket,
    mut typed: Option<mpsc::Receiver<Vec<u8>>>,
    is_terminal: bool,
) -> anyhow::Result<()> {
    let (mut filter, mut escape) = (Filter::default(), Escape::new(is_terminal));
    loop {
        tokio::select! {
            message = socket.next() => match message {
                None => bail!("the controller closed the console"),
                Some(message) => match message.context("the connection to the controller broke")? {
                    Message::Binary(bytes) => {
                        let mut out = std::io::stdout();
                        out.write_all(&filter.pass(&bytes))?;
                        out.flush()?;
                    }
                    Message::Text(text) if !status(&text) => return Ok(()),
                    Message::Close(_) => bail!("the controller closed the console"),
                    _ => {}
                },
            },
            keys = next(&mut typed) => match keys {
                // The end of a file that is typed; what the machine answers is still shown.
                None => typed = None,
                Some(keys) => for typed in escape.pass(&keys) {
                    match typed {
                        Typed::Keys(keys) => {
                            socket.send(Message::Binary(keys.into())).await.context("the connection broke")?;
                        }
                        Typed::Help => note("~. ends it   ~~ types ~   ~? this"),
                        Typed::End => return Ok(()),
                    }
                },
            },
        }
    }
}

async fn next(typed: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match typed {
        Some(typed) => typed.recv().await,
        None => std::future::pending().await,
    }
}

/// Shows how the console is; false: it is closed.
fn status(text: &str) -> bool {
    let status: Value = serde_json::from_str(text).unwrap_or_default();
    let reason = printable(status["reason"].as_str().unwrap_or_default());
    match status["status"].as_str() {
        Some("connecting") => note("waiting for the BMC"),
        Some("connected") => note("the console is there"),
        Some("disconnected") => note(&format!("the console broke and is opened again: {reason}")),
        Some("refused") => note(&reason),
        Some("skipped") => note("some of what was shown was left out: this end was too slow"),
        Some("closed") => {
            note("the console was turned off");
            return false;
        }
        _ => {}
    }
    true
}

/// On standard error, on a line of its own whatever mode the terminal is in.
fn note(text: &str) {
    eprint!("\r\n[bessemer: {text}]\r\n");
}
