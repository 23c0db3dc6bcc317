//! HTTP basic authentication against a file of users: lines that `htpasswd -nB` writes.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bcrypt::HashParts;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{
    cache::{Cache, Tag},
    identity::{Identity, SystemRole},
};

/// Largest file of users.
const MAX_FILE: u64 = 1024 * 1024;
/// Most costly hash: each step more doubles the time of a check, and at this one it takes seconds.
const MAX_COST: u32 = 15;
/// How often the file is looked at for changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most pairs of user and password that are remembered as right.
const MAX_REMEMBERED: usize = 1024;
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// Most requests that wait for a check of their password.
const MAX_WAITING: usize = 128;

/// Why the file of users cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    /// It cannot be read.
    #[error("the file of users {path} (api.http_basic_auth_user_file) cannot be read", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is far too large to be one.
    #[error("the file of users {path} is larger than {MAX_FILE} bytes", path = path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// A line that is not one of `htpasswd -nB`.
    #[error(
        "{path}, line {line}: {problem}; write it with `htpasswd -nB NAME`",
        path = path.display()
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counts from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Why a request is not somebody's. Each is an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 401.
    Missing,
    /// 400.
    Malformed(&'static str),
    /// 401.
    Wrong,
    /// 503: too many at once.
    Busy,
    /// 503: the file of users cannot be used right now.
    NoFile,
}

/// The users, as the file names them.
pub(super) struct Passwords {
    path: PathBuf,
    roles: BTreeMap<String, SystemRole>,
    file: Mutex<Loaded>,
    right: Cache<()>,
    waiting: Semaphore,
    checking: Semaphore,
}

/// What the file said when it was last read.
struct Loaded {
    looked: Instant,
    stamp: Option<Stamp>,
    /// `None`: the file cannot be used.
    users: Option<Arc<Users>>,
}

/// Tells whether a file changed.
type Stamp = (SystemTime, u64, u64);

struct Users {
    hashes: HashMap<String, String>,
    /// Is checked for users that do not exist, so that they take as long as those that do.
    decoy: String,
}

/// What is known of a request's credentials without a check.
enum Known {
    /// They were right a moment ago.
    Right(String),
    /// They are to be checked.
    Claim(Claim),
}

struct Claim {
    user: String,
    password: Zeroizing<Vec<u8>>,
    hash: String,
    /// The hash is that of a user, no decoy.
    is_user: bool,
    tag: Tag,
}

// === impl Passwords ===

impl Passwords {
    /// Reads the file of users; `roles` of those that are no admins.
    pub(super) fn open(
        path: PathBuf,
        roles: BTreeMap<String, SystemRole>,
    ) -> Result<Self, PasswordFileError> {
        let (stamp, users) = read(&path)?;
        let cache = Cache::new(MAX_REMEMBERED).map_err(|_| PasswordFileError::Read {
            path: path.clone(),
            source: io::Error::other("the system has no random numbers"),
        })?;
        let loaded = Loaded { looked: Instant::now(), stamp: Some(stamp), users: Some(Arc::new(users)) };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            path,
            roles,
            file: Mutex::new(loaded),
            right: cache,
            waiting: Semaphore::new(MAX_WAITING),
            // Requests that need no check must go on while passwords are guessed.
            checking: Semaphore::new((cores / 2).max(1)),
        })
    }

    /// Whose request it is.
    ///
    /// `may_try` is asked before a password is checked that is not known to be right.
    pub(super) async fn authenticate<R>(
        &self,
        header: Option<&[u8]>,
        may_try: impl FnOnce() -> Result<(), R>,
    ) -> Result<Result<Identity, Refusal>, R> {
        match self.known(header) {
            Ok(Known::Right(user)) => Ok(Ok(self.identity(&user))),
            Ok(Known::Claim(claim)) => {
                may_try()?;
                Ok(self.prove(claim).await)
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// What can be said without a check.
    fn known(&self, header: Option<&[u8]>) -> Result<Known, Refusal> {
        let (user, password) = parse(header.ok_or(Refusal::Missing)?)?;
        let users = self.users().ok_or(Refusal::NoFile)?;
        let known = users.hashes.get(&user);
        let hash = known.unwrap_or(&users.decoy);
        let tag = self.right.tag(&[user.as_bytes(), hash.as_bytes(), &password]);
        if self.right.get(&tag).is_some() {
            return Ok(Known::Right(user));
        }
        let (is_user, hash) = (known.is_some(), hash.clone());
        Ok(Known::Claim(Claim { user, password, hash, is_user, tag }))
    }

    async fn prove(&self, claim: Claim) -> Result<Identity, Refusal> {
        let _waits = self.waiting.try_acquire().map_err(|_| Refusal::Busy)?;
        let _turn = self.checking.acquire().await.map_err(|_| Refusal::Busy)?;
        // Another request may have proven it meanwhile.
        if self.right.get(&claim.tag).is_none() {
            let fits = check(claim.password, claim.hash).await;
            if !(fits && claim.is_user) {
                return Err(Refusal::Wrong);
            }
            self.right.put(claim.tag, (), Instant::now() + REMEMBERED_FOR);
        }
        Ok(self.identity(&claim.user))
    }

    fn identity(&self, user: &str) -> Identity {
        let role = self.roles.get(user).copied().unwrap_or(SystemRole::Admin);
        Identity::system(Some(user), role)
    }

    /// The users of the file as it is now.
    fn users(&self) -> Option<Arc<Users>> {
        let mut loaded = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.looked.elapsed() >= LOOK_EVERY {
            self.look(&mut loaded);
        }
        loaded.users.clone()
    }

    /// Reads the file again if it changed. One that cannot be used lets nobody in.
    fn look(&self, loaded: &mut Loaded) {
        loaded.looked = Instant::now();
        let stamp = fs::metadata(&self.path).and_then(|metadata| stamp(&metadata)).ok();
        if stamp.is_some() && stamp == loaded.stamp {
            return;
        }
        match read(&self.path) {
            Ok((stamp, users)) => {
                tracing::info!(path = %self.path.display(), users = users.hashes.len(), "users read again");
                (loaded.stamp, loaded.users) = (Some(stamp), Some(Arc::new(users)));
            }
            Err(error) => {
                if loaded.users.is_some() {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "nobody is let in until the file of users is right again");
                }
                (loaded.stamp, loaded.users) = (None, None);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn look_now(&self) {
        self.look(&mut self.file.lock().unwrap());
    }
}

/// Compares a password with a hash, beside the threads that serve requests.
async fn check(password: Zeroizing<Vec<u8>>, hash: String) -> bool {
    let checked = tokio::task::spawn_blocking(move || bcrypt::verify(&*password, &hash).unwrap_or(false));
    checked.await.unwrap_or(false)
}

/// User and password of an `Authorization` header.
fn parse(header: &[u8]) -> Result<(String, Zeroizing<Vec<u8>>), Refusal> {
    const UNPARSED: Refusal = Refusal::Malformed("Could not parse Authorization header");
    const UNDECODED: Refusal = Refusal::Malformed("Could not decode authorization token");
    let text = std::str::from_utf8(header).map_err(|_| UNPARSED)?.trim();
    let (scheme, token) = text.split_once(' ').ok_or(UNPARSED)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Refusal::Malformed("Unsupported authorization type"));
    }
    let pair = Zeroizing::new(BASE64_STANDARD.decode(token.trim()).map_err(|_| UNDECODED)?);
    let colon = pair.iter().position(|byte| *byte == b':').ok_or(UNDECODED)?;
    let user = std::str::from_utf8(&pair[..colon]).map_err(|_| UNDECODED)?;
    Ok((user.to_owned(), Zeroizing::new(pair[colon + 1..].to_vec())))
}

// === the file ===

fn read(path: &Path) -> Result<(Stamp, Users), PasswordFileError> {
    let unreadable = |source| PasswordFileError::Read { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.len() > MAX_FILE {
        return Err(PasswordFileError::TooLarge { path: path.to_owned() });
    }
    let stamp = stamp(&metadata).map_err(unreadable)?;
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let mut users = Users { hashes: HashMap::new(), decoy: String::new() };
    let mut cost = 10;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, hash) = entry(line).map_err(|problem| PasswordFileError::Line {
            path: path.to_owned(),
            line: number,
            problem,
        })?;
        cost = cost.max(hash.get_cost());
        let stored = line[user.len() + 1..].to_owned();
        // As Ironic reads it: the first line of a user counts.
        users.hashes.entry(user.to_owned()).or_insert(stored);
    }
    users.decoy = format!("$2b${cost:02}$......................{}", ".".repeat(31));
    Ok((stamp, users))
}

fn entry(line: &str) -> Result<(&str, HashParts), &'static str> {
    let (user, hash) = line.split_once(':').ok_or("there is no colon between a user and a hash")?;
    if user.is_empty() {
        return Err("the user has no name");
    }
    if !["$2y$", "$2b$", "$2a$"].iter().any(|scheme| hash.starts_with(scheme)) {
        return Err("only passwords hashed with bcrypt can be used");
    }
    let parts: HashParts = hash.parse().map_err(|_| "the bcrypt hash is damaged")?;
    if parts.get_cost() > MAX_COST {
        return Err("the hash costs more than 15, so that a check would take many seconds");
    }
    Ok((user, parts))
}

fn stamp(metadata: &fs::Metadata) -> io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    Ok((metadata.modified()?, metadata.len(), metadata.ino()))
}
