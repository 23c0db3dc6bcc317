//! No second try with a user and password that a BMC refused: BMCs lock accounts after a few.

use std::{
    collections::HashMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use bessemer_proto::secret::Secret;
use sha2::{Digest as _, Sha256};
use tokio::sync::MutexGuard;

use super::{Queue, locked};
use crate::bmc::BmcError;

/// Accounts remembered per BMC.
const MAX_ACCOUNTS: usize = 16;

/// Who logs in.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// User name.
    pub user: &'a str,
    /// Password.
    pub password: &'a Secret,
    /// The keys of `driver_info` that hold them, for messages.
    pub keys: &'static str,
    /// The BMC as messages show it.
    pub address: &'a str,
}

/// What is known of users and passwords, kept as hashes with a salt of this process.
#[derive(Debug, Default)]
pub(super) struct Accounts(HashMap<Key, Known>);

type Key = [u8; 32];

#[derive(Clone, Copy, Debug)]
enum Known {
    Right,
    Refused(Instant),
}

/// A user and password on their way to the BMC. While they are not known to be right, nobody else may try any.
#[derive(Debug)]
#[must_use]
pub struct Attempt<'a> {
    queue: &'a Queue,
    key: Key,
    error: BmcError,
    turn: Option<MutexGuard<'a, ()>>,
}

impl Accounts {
    fn note(&mut self, key: Key, known: Known) {
        if self.0.len() >= MAX_ACCOUNTS && !self.0.contains_key(&key) {
            self.0.retain(|_, known| matches!(known, Known::Refused(_)));
        }
        if self.0.len() >= MAX_ACCOUNTS
            && let Some(oldest) = self.0.iter().min_by_key(|(_, known)| known.at()).map(|(key, _)| *key)
        {
            self.0.remove(&oldest);
        }
        self.0.insert(key, known);
    }

    pub(super) fn any_refused(&self, lockout: Duration) -> bool {
        self.0.values().any(|known| known.is_locked(lockout))
    }
}

impl Known {
    fn at(&self) -> Option<Instant> {
        match self {
            Self::Right => None,
            Self::Refused(at) => Some(*at),
        }
    }

    fn is_locked(&self, lockout: Duration) -> bool {
        self.at().is_some_and(|at| at.elapsed() < lockout)
    }
}

impl Account<'_> {
    fn key(&self) -> Key {
        static SALT: LazyLock<[u8; 32]> = LazyLock::new(rand::random);
        let mut hash = Sha256::new();
        hash.update(*SALT);
        hash.update(self.user.len().to_le_bytes());
        hash.update(self.user);
        hash.update(self.password.reveal());
        hash.finalize().into()
    }

    fn error(&self) -> BmcError {
        BmcError::Credentials {
            address: self.address.to_owned(),
            user: self.user.to_owned(),
            keys: self.keys,
        }
    }
}

// === impl Queue, Attempt ===

impl Queue {
    /// Before a user and password are sent. Those that were refused lately are refused at once. Those that are not known
    /// to be right wait until nobody else tries any.
    pub async fn guard(&self, account: &Account<'_>) -> Result<Attempt<'_>, BmcError> {
        let key = account.key();
        let mut turn = None;
        if !self.may_try(&key, account)? {
            turn = Some(self.login.lock().await);
            // Who was first may have been refused meanwhile.
            if self.may_try(&key, account)? {
                turn = None;
            }
        }
        Ok(Attempt { queue: self, key, error: account.error(), turn })
    }

    /// Whether they are known to be right.
    fn may_try(&self, key: &Key, account: &Account<'_>) -> Result<bool, BmcError> {
        let state = locked(&self.state);
        match state.accounts.0.get(key) {
            Some(known) if known.is_locked(state.limits.lockout) => Err(account.error()),
            Some(Known::Right) => Ok(true),
            _ => Ok(false),
        }
    }

    /// The BMC was given this password: that it was refused before means nothing any more.
    pub fn forget_refusal(&self, account: &Account<'_>) {
        locked(&self.state).accounts.0.remove(&account.key());
    }

    pub(super) fn remembers_refusal(&self) -> bool {
        let state = locked(&self.state);
        state.accounts.any_refused(state.limits.lockout)
    }
}

impl Attempt<'_> {
    /// They are not known to be right.
    #[must_use]
    pub fn is_untested(&self) -> bool {
        self.turn.is_some()
    }

    /// The BMC took them.
    pub fn accepted(self) {
        let mut state = locked(&self.queue.state);
        let lockout = state.limits.lockout;
        // An answer that was under way while another one said no proves nothing.
        if !state.accounts.0.get(&self.key).is_some_and(|known| known.is_locked(lockout)) {
            state.accounts.note(self.key, Known::Right);
        }
    }

    /// The BMC refused them; the error to say so.
    pub fn refused(self) -> BmcError {
        locked(&self.queue.state).accounts.note(self.key, Known::Refused(Instant::now()));
        tracing::warn!(
            bmc = self.queue.host,
            "a user and password were refused: they are not tried again for a while"
        );
        self.error
    }
}
