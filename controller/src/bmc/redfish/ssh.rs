//! Serial consoles by SSH, of BMCs whose Redfish service tells the port (DSP0268, `SerialConsole` of `ComputerSystem`).
//! The host key must be known from `driver_info`: whoever answers gets the BMC's password.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use russh::{
    ChannelStream, MethodKind,
    client::{self, AuthResult, KeyboardInteractiveAuthResponse},
    keys::HashAlg,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::settings::Credentials;
use crate::bmc::{
    BmcError, SerialLine,
    queue::{self, Account, Attempt, Queue},
};

/// The key of `driver_info` that holds the fingerprint.
pub(super) const HOST_KEY: &str = "redfish_ssh_host_key";
/// For the whole log-in.
const WITHIN: Duration = Duration::from_secs(45);
/// Signs of life, and how many may get no answer.
const ALIVE: Duration = Duration::from_secs(20);
const MISSED: usize = 3;
/// Of the terminal that the BMC is told of.
const TERMINAL: (&str, u32, u32) = ("vt100", 80, 24);
/// How often it may say something at the log-in that asks nothing.
const MAX_NOTICES: usize = 4;

/// Where a console is.
pub(super) struct Target<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) credentials: &'a Credentials,
    /// That of the BMC, whatever protocol is spoken.
    pub(super) queue: &'a Queue,
    /// The names of their keys in `driver_info`.
    pub(super) keys: &'static str,
    /// `SHA256:…`, as OpenSSH shows it.
    pub(super) host_key: Option<&'a str>,
    /// What leads from the BMC's command line to the console.
    pub(super) entry: Option<&'a str>,
}

/// Opens the console.
pub(super) async fn open(target: &Target<'_>) -> Result<Box<dyn SerialLine>, BmcError> {
    queue::within(&target.address(), "to open its serial console by SSH", WITHIN, target.open()).await
}

/// A password that the BMC has. However this ends, but for a yes, the BMC may have counted a wrong one: also when it
/// hangs up, and when nobody waits any longer.
struct Given<'a>(Option<Attempt<'a>>);

impl Drop for Given<'_> {
    fn drop(&mut self) {
        if let Some(attempt) = self.0.take() {
            attempt.refused();
        }
    }
}

/// Takes one host key.
struct Pinned {
    wanted: Option<String>,
    found: Arc<std::sync::OnceLock<String>>,
}

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let russh::keys::PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let found = key.fingerprint(HashAlg::Sha256).to_string();
        let is_it = self.wanted.as_ref() == Some(&found);
        self.found.set(found).ok();
        Ok(is_it)
    }
}

// === impl Target ===

impl Target<'_> {
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    async fn open(&self) -> Result<Box<dyn SerialLine>, BmcError> {
        let config = client::Config {
            keepalive_interval: Some(ALIVE),
            keepalive_max: MISSED,
            ..client::Config::default()
        };
        let found = Arc::new(std::sync::OnceLock::new());
        let pinned = Pinned { wanted: self.host_key.map(str::to_owned), found: Arc::clone(&found) };
        let mut session = match client::connect(Arc::new(config), (self.host, self.port), pinned).await {
            Ok(session) => session,
            Err(error) => return Err(self.not_this_key(found.get()).unwrap_or_else(|| self.broken(error))),
        };
        self.log_in(&mut session).await?;
        let channel = session.channel_open_session().await.map_err(|error| self.broken(error))?;
        let (term, columns, rows) = TERMINAL;
        let terminal = channel.request_pty(false, term, columns, rows, 0, 0, &[]).await;
        terminal.map_err(|error| self.broken(error))?;
        channel.request_shell(true).await.map_err(|error| self.broken(error))?;
        let mut line = Line { stream: channel.into_stream(), _session: session };
        if let Some(entry) = self.entry {
            let typed = tokio::io::AsyncWriteExt::write_all(&mut line, format!("{entry}\r").as_bytes()).await;
            typed.map_err(|error| BmcError::Unreachable { address: self.address(), source: error.into() })?;
        }
        Ok(Box::new(line))
    }

    /// With the password, in whichever of the two ways the BMC asks for it; once, and not after a refusal.
    async fn log_in(&self, session: &mut client::Handle<Pinned>) -> Result<(), BmcError> {
        let Credentials { user, password } = self.credentials;
        let address = self.address();
        let account = Account { user, password, keys: self.keys, address: &address };
        let attempt = self.queue.guard(&account).await?;
        let broken = |error| self.broken(error);
        let ways = match session.authenticate_none(user).await.map_err(broken)? {
            AuthResult::Success => {
                attempt.accepted();
                return Ok(());
            }
            AuthResult::Failure { remaining_methods, .. } => remaining_methods,
        };
        // A connection that breaks looks like a refusal, and the BMC has no password yet.
        if session.is_closed() {
            return Err(self.broken(russh::Error::Disconnect));
        }
        if ways.contains(&MethodKind::Password) {
            let given = Given(Some(attempt));
            let said = session.authenticate_password(user, password.reveal()).await;
            return self.judged(given, said.map(|answer| answer.success()));
        }
        if ways.contains(&MethodKind::KeyboardInteractive) {
            return self.answer(session, attempt).await;
        }
        Err(self.unsupported("let its users log in with passwords by SSH, as its serial console needs"))
    }

    /// Gives the password when it is asked for.
    async fn answer(
        &self,
        session: &mut client::Handle<Pinned>,
        attempt: Attempt<'_>,
    ) -> Result<(), BmcError> {
        let user = self.credentials.user.as_str();
        let begun = session.authenticate_keyboard_interactive_start(user, None).await;
        let mut answer = begun.map_err(|error| self.broken(error))?;
        for _ in 0..MAX_NOTICES {
            let questions = match answer {
                KeyboardInteractiveAuthResponse::Success => {
                    attempt.accepted();
                    return Ok(());
                }
                KeyboardInteractiveAuthResponse::Failure { .. } => return Err(attempt.refused()),
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts.len(),
            };
            if questions == 1 {
                let given = Given(Some(attempt));
                let said = self.give(session).await;
                return self.judged(given, said);
            }
            if questions > 1 {
                break;
            }
            let next = session.authenticate_keyboard_interactive_respond(Vec::new()).await;
            answer = next.map_err(|error| self.broken(error))?;
        }
        Err(self.unsupported("let its users log in by SSH with one password and nothing else"))
    }

    /// Answers the question. A second one is not answered: that may be another wrong password for the BMC.
    async fn give(&self, session: &mut client::Handle<Pinned>) -> Result<bool, russh::Error> {
        let password = self.credentials.password.reveal().to_owned();
        let mut answer = session.authenticate_keyboard_interactive_respond(vec![password]).await?;
        for _ in 0..MAX_NOTICES {
            let is_notice = match &answer {
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts.is_empty(),
                _ => false,
            };
            if !is_notice {
                break;
            }
            match session.authenticate_keyboard_interactive_respond(Vec::new()).await {
                Ok(next) => answer = next,
                Err(_) => return Ok(false),
            }
        }
        Ok(matches!(answer, KeyboardInteractiveAuthResponse::Success))
    }

    /// What the BMC's answer to the password means.
    fn judged(&self, mut given: Given<'_>, said: Result<bool, russh::Error>) -> Result<(), BmcError> {
        match (given.0.take(), said) {
            (Some(attempt), Ok(true)) => {
                attempt.accepted();
                Ok(())
            }
            // The connection was gone before the password was sent.
            (_, Err(error @ russh::Error::SendError)) => Err(self.broken(error)),
            (Some(attempt), _) => Err(attempt.refused()),
            (None, _) => Err(self.broken(russh::Error::Disconnect)),
        }
    }

    fn unsupported(&self, what: &str) -> BmcError {
        BmcError::Unsupported { address: self.address(), what: what.to_owned() }
    }

    fn not_this_key(&self, found: Option<&String>) -> Option<BmcError> {
        let (found, address) = (found?, self.address());
        match self.host_key {
            Some(wanted) if wanted == found => None,
            Some(_) => Some(BmcError::DriverInfo(format!(
                "the SSH server at {address} has host key {found}, which is not {HOST_KEY}: if the BMC has a new key, correct \
                 {HOST_KEY}; if not, somebody is in between"
            ))),
            None => Some(BmcError::DriverInfo(format!(
                "the SSH server at {address} has host key {found}: compare it with the BMC's, and set {HOST_KEY} to it"
            ))),
        }
    }

    fn broken(&self, error: russh::Error) -> BmcError {
        BmcError::Unreachable { address: self.address(), source: error.into() }
    }
}

/// A console; the session ends with it.
struct Line {
    stream: ChannelStream<client::Msg>,
    _session: client::Handle<Pinned>,
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
