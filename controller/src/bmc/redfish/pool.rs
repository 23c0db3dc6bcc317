//! What is kept per BMC and credentials for as long as the process runs: connections and session.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};

use super::{
    Pace,
    auth::{self, Login},
    settings::{Settings, Verify},
    tls,
};
use crate::bmc::{
    BmcError,
    queue::{self, Queue},
    quirks::Identity,
};

/// BMCs remembered at once; the one not used for longest makes room.
const CAPACITY: usize = 16_384;
/// Ways of verifying certificates remembered at once.
const MAX_CLIENTS: usize = 64;
/// Systems of one BMC whose identity is remembered.
const MAX_IDENTITIES: usize = 256;
/// Firmware is replaced now and then.
const IDENTITY_FOR: Duration = Duration::from_secs(15 * 60);

/// What connections to one BMC with the same credentials share.
pub(in crate::bmc) struct Shared {
    pub(super) http: reqwest::Client,
    pub(super) login: Login,
    pub(in crate::bmc) queue: Arc<Queue>,
    /// Who the BMC says it is, by path of the system.
    identities: Mutex<HashMap<String, (Identity, Instant)>>,
}

impl Shared {
    /// Who the BMC said it is, not long ago.
    pub(super) fn identity(&self, system: &str) -> Option<Identity> {
        let identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        let (identity, _) = identities.get(system).filter(|(_, at)| at.elapsed() < IDENTITY_FOR)?;
        Some(identity.clone())
    }

    pub(super) fn remember(&self, system: &str, identity: Identity) {
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        if identities.len() >= MAX_IDENTITIES {
            identities.clear();
        }
        identities.insert(system.to_owned(), (identity, Instant::now()));
    }
}

type Key = [u8; 32];

#[derive(Default)]
struct Pool {
    entries: HashMap<Key, (Arc<Shared>, Instant)>,
    /// HTTP clients are large: one for all BMCs whose certificates are verified in the same way.
    clients: HashMap<Key, reqwest::Client>,
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

/// The shared part for `settings`, made when there is none.
pub(super) fn shared(settings: &Settings, pace: &Pace) -> Result<Arc<Shared>, BmcError> {
    let key = key(settings);
    let now = Instant::now();
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((shared, used)) = pool.entries.get_mut(&key) {
        *used = now;
        return Ok(Arc::clone(shared));
    }
    let http = pool.client(settings, pace)?;
    let queue = queue::of(settings.origin.host_str().unwrap_or_default(), settings.origin.port());
    let shared = Arc::new(Shared { http, login: Login::default(), queue, identities: Mutex::default() });
    if pool.entries.len() >= CAPACITY
        && let Some(oldest) = pool.entries.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key)
    {
        pool.entries.remove(&oldest).into_iter().for_each(|(idle, _)| auth::close_in_background(idle));
    }
    pool.entries.insert(key, (Arc::clone(&shared), now));
    Ok(shared)
}

/// Empties the pool.
pub(super) fn drain() -> Vec<Arc<Shared>> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    pool.entries.drain().map(|(_, (shared, _))| shared).collect()
}

impl Pool {
    fn client(&mut self, settings: &Settings, pace: &Pace) -> Result<reqwest::Client, BmcError> {
        let mut hash = Sha256::new();
        hash_verification(settings, &mut hash);
        hash.update(format!("{:?} {:?}", pace.connect, pace.request));
        let key = hash.finalize().into();
        if let Some(client) = self.clients.get(&key) {
            return Ok(client.clone());
        }
        if self.clients.len() >= MAX_CLIENTS {
            self.clients.clear();
        }
        let client = http_client(settings, pace)?;
        self.clients.insert(key, client.clone());
        Ok(client)
    }
}

fn http_client(settings: &Settings, pace: &Pace) -> Result<reqwest::Client, BmcError> {
    let unusable = |error: &dyn std::fmt::Display| {
        let key = settings.names.verify;
        BmcError::DriverInfo(format!("{key}: its certificates cannot be used: {error}"))
    };
    reqwest::Client::builder()
        .tls_backend_preconfigured(
            tls::config(&settings.verify, settings.only_tls13).map_err(|e| unusable(&e))?,
        )
        .connect_timeout(pace.connect)
        .timeout(pace.request)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .pool_max_idle_per_host(2)
        .pool_idle_timeout(std::time::Duration::from_secs(20))
        .build()
        .map_err(|e| unusable(&e))
}

fn key(settings: &Settings) -> Key {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    part(settings.origin.as_str().as_bytes());
    if let Some(credentials) = &settings.credentials {
        part(credentials.user.as_bytes());
        part(credentials.password.reveal().as_bytes());
    }
    part(format!("{:?}", settings.auth).as_bytes());
    hash_verification(settings, &mut hash);
    hash.finalize().into()
}

fn hash_verification(settings: &Settings, hash: &mut Sha256) {
    hash.update([u8::from(settings.only_tls13)]);
    match &settings.verify {
        Verify::Public => hash.update(b"public"),
        Verify::Nothing => hash.update(b"nothing"),
        Verify::Own(certificates) => {
            for certificate in certificates {
                hash.update(certificate.len().to_le_bytes());
                hash.update(certificate);
            }
        }
    }
}
