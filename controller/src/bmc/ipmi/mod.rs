//! IPMI 2.0 over LAN (RMCP+), cipher suites 3 and 17.
//!
//! [`Session`](session::Session) speaks the protocol, [`Client`] keeps one open and begins another when it is gone; the
//! other files each implement one capability on top of it. What a BMC sends is hostile: sizes, counts and waits are
//! bounded, and nothing is believed that is not signed.

mod boot;
mod command;
mod crypto;
mod fru;
mod handshake;
mod log;
mod manager;
mod packet;
mod power;
mod sdr;
mod sensors;
mod session;
mod settings;
mod sol;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use self::{
    command::Command,
    crypto::Suite,
    handshake::Refusal,
    session::{Pace, Session, Wire},
    settings::{Privilege, Settings},
};
use super::{
    Bmc, BmcError,
    queue::{self, Account, Queue},
};
use crate::node::{BootMode, Node, firmware::WantedFirmware};

/// What `driver_info` must be changed when a session is refused.
const KEYS: &str = "ipmi_username and ipmi_password (and ipmi_hex_kg_key)";
/// Addresses whose cipher suite is remembered.
const MAX_SUITES: usize = 16_384;
/// How often a busy BMC is asked.
const BUSY_TRIES: u32 = 4;

/// A BMC from the `ipmi_*` keys of `driver_info`.
pub fn open(node: &Node) -> Result<Bmc, BmcError> {
    let settings = Settings::from_driver_info(&node.driver_info)?;
    // What the node asks for; what it asks for wrongly is said where it is used.
    let wanted = WantedFirmware::of(node).unwrap_or_default().boot_mode;
    Ok(with(settings, wanted.or(node.boot_mode), Pace::default()))
}

fn with(settings: Settings, boot_mode: Option<BootMode>, pace: Pace) -> Bmc {
    let machine = Arc::new(Machine { client: Client::new(settings, pace), boot_mode });
    Bmc {
        boot_device: Some(machine.clone()),
        nmi: Some(machine.clone()),
        overview: Some(machine.clone()),
        inventory: Some(machine.clone()),
        sensors: Some(machine.clone()),
        log: Some(machine.clone()),
        console: Some(machine.clone()),
        manager: Some(machine.clone()),
        raw: Some(machine.clone()),
        ..Bmc::only_power(machine)
    }
}

/// One machine behind its BMC.
struct Machine {
    client: Client,
    /// Which mode a boot choice is for, where it is known.
    boot_mode: Option<BootMode>,
}

/// Keeps a session.
struct Client {
    settings: Settings,
    address: String,
    pace: Pace,
    queue: Arc<Queue>,
    session: tokio::sync::Mutex<Option<Session>>,
}

/// The cipher suites that BMCs turned out to have.
static SUITES: LazyLock<Mutex<HashMap<String, Suite>>> = LazyLock::new(Mutex::default);

// === impl Client ===

impl Client {
    fn new(settings: Settings, pace: Pace) -> Self {
        let queue = queue::of(&settings.host, settings.other_port());
        Self { address: settings.address(), settings, pace, queue, session: tokio::sync::Mutex::default() }
    }

    /// Sends a command; answers with the data after the completion code, which must be 0.
    async fn command(&self, command: &Command, data: &[u8]) -> Result<Vec<u8>, BmcError> {
        match self.exchange(command, data).await? {
            (0, data) => Ok(data),
            (code, _) => Err(command::refused(&self.address, command, code)),
        }
    }

    /// The same for answers that must have `N` bytes at least.
    async fn ask<const N: usize>(&self, command: &Command, data: &[u8]) -> Result<[u8; N], BmcError> {
        let answer = self.command(command, data).await?;
        answer.first_chunk().copied().ok_or_else(|| self.malformed(command, "it is too short"))
    }

    /// The same; says the completion code. A BMC that is busy is asked again.
    async fn exchange(&self, command: &Command, data: &[u8]) -> Result<(u8, Vec<u8>), BmcError> {
        let mut tries = 1;
        loop {
            let once = self.queue.run(command.name, self.pace.command, self.exchange_once(command, data));
            let (code, data) = Box::pin(once).await?;
            if !command::BUSY.contains(&code) || tries == BUSY_TRIES {
                return Ok((code, data));
            }
            tokio::time::sleep(self.pace.busy * tries).await;
            tries += 1;
        }
    }

    async fn exchange_once(&self, command: &Command, data: &[u8]) -> Result<(u8, Vec<u8>), BmcError> {
        let mut kept = self.session.lock().await;
        if let Some(mut session) = kept.take_if(|session| session.used.elapsed() < self.pace.idle) {
            match session.exchange(command, data).await {
                Ok(answer) => {
                    *kept = Some(session);
                    return Ok(answer);
                }
                // The BMC ended the session or was restarted meanwhile: a new one tells.
                Err(BmcError::Timeout { .. } | BmcError::Unreachable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        *kept = None;
        let mut session = self.begin().await?;
        let answer = session.exchange(command, data).await?;
        *kept = Some(session);
        Ok(answer)
    }

    /// A session of its own, for what keeps it.
    async fn session(&self) -> Result<Session, BmcError> {
        Box::pin(self.queue.run("RAKP", self.pace.command, self.begin())).await
    }

    async fn begin(&self) -> Result<Session, BmcError> {
        let account = Account {
            user: &self.settings.user,
            password: &self.settings.password,
            keys: KEYS,
            address: &self.address,
        };
        let attempt = self.queue.guard(&account).await?;
        match self.begin_with_some_suite().await {
            Ok(session) => {
                attempt.accepted();
                self.raised(session).await
            }
            Err(Refusal::Credentials) => Err(attempt.refused()),
            Err(Refusal::Suite(error) | Refusal::Other(error)) => Err(error),
        }
    }

    /// With the suite that is set, else with the one that worked, else with the better one that the BMC has.
    async fn begin_with_some_suite(&self) -> Result<Session, Refusal> {
        let remembered = || suites().get(&self.address).copied();
        if let Some(suite) = self.settings.suite.or_else(remembered) {
            let begun = self.begin_with(suite).await;
            if matches!(begun, Err(Refusal::Suite(_))) {
                // Its firmware may be another by now.
                suites().remove(&self.address);
            }
            return begun;
        }
        let (suite, session) = match self.begin_with(Suite::Sha256).await {
            Ok(session) => (Suite::Sha256, session),
            Err(Refusal::Suite(_)) => (Suite::Sha1, self.begin_with(Suite::Sha1).await?),
            Err(refusal) => return Err(refusal),
        };
        let mut suites = suites();
        if suites.len() >= MAX_SUITES {
            suites.clear();
        }
        suites.insert(self.address.clone(), suite);
        Ok(session)
    }

    async fn begin_with(&self, suite: Suite) -> Result<Session, Refusal> {
        let wire = Wire::open(&self.settings, self.pace).await.map_err(Refusal::Other)?;
        let session = handshake::begin(wire, &self.settings, suite).await?;
        tracing::debug!(bmc = self.address, cipher_suite = suite.number(), "an IPMI session began");
        Ok(session)
    }

    /// Sessions begin with the privilege of a user (section 22.18).
    async fn raised(&self, mut session: Session) -> Result<Session, BmcError> {
        if self.settings.privilege != Privilege::User {
            let (code, _) =
                session.exchange(&command::SET_PRIVILEGE, &[self.settings.privilege as u8]).await?;
            match code {
                0 => {}
                0x80..=0x83 => {
                    return Err(BmcError::Completion {
                        address: self.address.clone(),
                        what: command::SET_PRIVILEGE.name.to_owned(),
                        code,
                        meaning: "the user may not have this privilege: set ipmi_priv_level",
                    });
                }
                code => return Err(command::refused(&self.address, &command::SET_PRIVILEGE, code)),
            }
        }
        Ok(session)
    }

    fn malformed(&self, command: &Command, problem: &str) -> BmcError {
        command::malformed(&self.address, command, problem)
    }

    fn unsupported(&self, what: impl Into<String>) -> BmcError {
        BmcError::Unsupported { address: self.address.clone(), what: what.into() }
    }
}

fn suites() -> std::sync::MutexGuard<'static, HashMap<String, Suite>> {
    SUITES.lock().unwrap_or_else(PoisonError::into_inner)
}
