//! IPMI 2.0 over LAN (RMCP+), cipher suites 3 and 17.
//!
//! [`Session`](session::Session) speaks the protocol, [`Client`] keeps one open and begins another when it is gone; the
//! other files each implement one capability on top of it. What a BMC sends is hostile: sizes, counts and waits are
//! bounded, and nothing is believed that is not signed.

mod beside;
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
    time::Duration,
};

use bessemer_proto::secret::Secret;
use tokio::time::Instant;

pub(in crate::bmc) use self::beside::console;
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
const KEYS: &str = "ipmi_username and ipmi_password";
/// Addresses whose cipher suite is remembered.
const MAX_SUITES: usize = 16_384;
/// How often each cipher suite is offered before the other one is, where none is set.
const OFFERS: usize = 2;
/// How often a session is begun when both ends lose track of each other.
const HANDSHAKES: u32 = 3;
/// How often a busy BMC is asked.
const BUSY_TRIES: u32 = 4;

/// A BMC from the `ipmi_*` keys of `driver_info`.
pub fn open(node: &Node) -> Result<Bmc, BmcError> {
    let settings = Settings::from_driver_info(&node.driver_info)?;
    // What the node asks for; what it asks for wrongly is said where it is used.
    let wanted = WantedFirmware::of(node).map_err(|error| error.to_string());
    // What machines are today, as in Ironic.
    let boot_mode = wanted.map(|wanted| wanted.boot_mode.or(node.boot_mode).unwrap_or(BootMode::Uefi));
    Ok(with(settings, boot_mode, Pace::default()))
}

fn with(settings: Settings, boot_mode: Result<BootMode, String>, pace: Pace) -> Bmc {
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
    /// Which mode a boot choice is for, or what is wrong with the capability that says it.
    boot_mode: Result<BootMode, String>,
}

/// Keeps a session.
struct Client {
    settings: Settings,
    address: String,
    /// That of the settings, until it is changed.
    password: Mutex<Secret>,
    pace: Pace,
    queue: Arc<Queue>,
    session: tokio::sync::Mutex<Option<Session>>,
}

/// The cipher suites that BMCs turned out to have.
static SUITES: LazyLock<Mutex<HashMap<String, Known>>> = LazyLock::new(Mutex::default);

/// The cipher suite of a BMC.
struct Known {
    suite: Suite,
    /// It may have a better one, and did not answer when that was offered.
    until: Option<Instant>,
}

impl Known {
    fn holds(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

// === impl Client ===

impl Client {
    fn new(settings: Settings, pace: Pace) -> Self {
        let queue = queue::of(&settings.host, settings.other_port());
        let (address, password) = (settings.address(), Mutex::new(settings.password.clone()));
        Self { settings, address, password, pace, queue, session: tokio::sync::Mutex::default() }
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
            let busy: &[u8] = if command.once { &command::NOT_DONE } else { &command::BUSY };
            if !busy.contains(&code) || tries == BUSY_TRIES {
                return Ok((code, data));
            }
            tokio::time::sleep(self.pace.busy * tries).await;
            tries += 1;
        }
    }

    async fn exchange_once(&self, command: &Command, data: &[u8]) -> Result<(u8, Vec<u8>), BmcError> {
        let mut kept = self.session.lock().await;
        if let Some(mut session) = kept.take_if(|session| session.used.elapsed() < self.pace.idle)
            && self.is_fit_for(&mut session, command).await
        {
            match session.exchange(command, data).await {
                Ok(answer) => {
                    *kept = Some(session);
                    return Ok(answer);
                }
                // The BMC ended the session or was restarted meanwhile: a new one tells.
                Err(BmcError::Timeout { .. } | BmcError::Unreachable { .. }) if !command.once => {}
                Err(error) => return Err(error),
            }
        }
        *kept = None;
        let mut session = self.begin().await?;
        let answer = session.exchange(command, data).await?;
        *kept = Some(session);
        Ok(answer)
    }

    /// What must not be done twice is not sent in a session that may have ended: silence would say nothing then.
    async fn is_fit_for(&self, session: &mut Session, command: &Command) -> bool {
        !command.once
            || session.used.elapsed() < self.pace.fresh
            || session.exchange(&command::GET_DEVICE_ID, &[]).await.is_ok()
    }

    /// A session of its own, for what keeps it.
    async fn session(&self) -> Result<Session, BmcError> {
        Box::pin(self.queue.run("RAKP", self.pace.command, self.begin())).await
    }

    async fn begin(&self) -> Result<Session, BmcError> {
        let password = self.password.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let account =
            Account { user: &self.settings.user, password: &password, keys: KEYS, address: &self.address };
        let attempt = self.queue.guard(&account).await?;
        match self.begin_with_some_suite(&password).await {
            Ok(session) => {
                attempt.accepted();
                self.raised(session).await
            }
            Err(Refusal::Credentials) => Err(attempt.refused()),
            Err(
                Refusal::Suite(error) | Refusal::Silent(error) | Refusal::Anew(error) | Refusal::Other(error),
            ) => Err(error),
        }
    }

    /// With the suite that is set, else with the one that worked, else with the better one that the BMC has.
    async fn begin_with_some_suite(&self, password: &Secret) -> Result<Session, Refusal> {
        let remembered =
            || suites().get(&self.address).filter(|known| known.holds()).map(|known| known.suite);
        let all = self.pace.waits;
        if let Some(suite) = self.settings.suite.or_else(remembered) {
            let begun = self.begin_with(password, suite, all).await;
            if matches!(begun, Err(Refusal::Suite(_) | Refusal::Silent(_))) {
                // Its firmware may be another by now.
                suites().remove(&self.address);
            }
            return begun;
        }
        let (few, rest) = all.split_at(all.len().min(OFFERS));
        let rest = if rest.is_empty() { few } else { rest };
        // A BMC that says nothing may lack the suite, or be slow, or the packets may be lost.
        let (suite, session, is_sure) = match self.begin_with(password, Suite::Sha256, few).await {
            Err(Refusal::Suite(_)) => (Suite::Sha1, self.begin_with(password, Suite::Sha1, all).await?, true),
            Err(Refusal::Silent(_)) => match self.begin_with(password, Suite::Sha1, few).await {
                Err(Refusal::Silent(_) | Refusal::Suite(_)) => {
                    match self.begin_with(password, Suite::Sha256, rest).await {
                        Err(Refusal::Suite(_)) => {
                            (Suite::Sha1, self.begin_with(password, Suite::Sha1, all).await?, true)
                        }
                        begun => (Suite::Sha256, begun?, true),
                    }
                }
                begun => (Suite::Sha1, begun?, false),
            },
            begun => (Suite::Sha256, begun?, true),
        };
        let mut suites = suites();
        if suites.len() >= MAX_SUITES {
            suites.clear();
        }
        let until = (!is_sure).then(|| Instant::now() + self.pace.doubt);
        suites.insert(self.address.clone(), Known { suite, until });
        Ok(session)
    }

    async fn begin_with(
        &self,
        password: &Secret,
        suite: Suite,
        offers: &[Duration],
    ) -> Result<Session, Refusal> {
        let settings = Settings { password: password.clone(), ..self.settings.clone() };
        let mut tries = 1;
        let mut is_counted = false;
        loop {
            let wire = Wire::open(&settings, self.pace).await.map_err(Refusal::Other)?;
            match Box::pin(handshake::begin(wire, &settings, suite, offers)).await {
                Err(Refusal::Anew(problem)) if tries < HANDSHAKES => {
                    tracing::debug!(bmc = self.address, %problem, "an IPMI session begins anew");
                    is_counted |= handshake::counts(&problem);
                    tries += 1;
                }
                // The password may be right, but for the BMC these were wrong ones: without an end it locks the user.
                Err(Refusal::Anew(problem) | Refusal::Other(problem @ BmcError::Completion { .. }))
                    if is_counted || handshake::counts(&problem) =>
                {
                    tracing::warn!(bmc = self.address, %problem, "no IPMI session begins: its proofs were refused");
                    return Err(Refusal::Credentials);
                }
                begun => {
                    if begun.is_ok() {
                        tracing::debug!(
                            bmc = self.address,
                            cipher_suite = suite.number(),
                            "an IPMI session began"
                        );
                    }
                    return begun;
                }
            }
        }
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

    /// Of the next session.
    fn password_is(&self, password: Secret) {
        *self.password.lock().unwrap_or_else(PoisonError::into_inner) = password;
    }

    fn malformed(&self, command: &Command, problem: &str) -> BmcError {
        command::malformed(&self.address, command, problem)
    }

    fn unsupported(&self, what: impl Into<String>) -> BmcError {
        BmcError::Unsupported { address: self.address.clone(), what: what.into() }
    }
}

fn suites() -> std::sync::MutexGuard<'static, HashMap<String, Known>> {
    SUITES.lock().unwrap_or_else(PoisonError::into_inner)
}
