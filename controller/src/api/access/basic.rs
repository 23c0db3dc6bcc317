//! HTTP basic authentication against a file of users: lines that `htpasswd -nB` writes.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    ops::Range,
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
    limits::{Attempts, TooMany},
};

/// Largest file of users.
const MAX_FILE: u64 = 1024 * 1024;
/// Most costly hash: each step more doubles the time of a check, and at this one it takes seconds.
const MAX_COST: u32 = 15;
/// Cost where no line has one.
const USUAL_COST: u32 = 10;
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
    /// A role for somebody who is not in the file: the user who was meant would be an administrator.
    #[error(
        "api.http_basic_user_roles names {user}, whom no line of {path} is for: correct the name, or remove it",
        path = path.display()
    )]
    NoSuchUser {
        /// Which file.
        path: PathBuf,
        /// The name.
        user: String,
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
    /// Cost of the most costly line: so much costs each wrong password.
    most_costly: u32,
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
    /// Cost of the most costly line of the file.
    most_costly: u32,
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
        if let Some(user) = users.missing(&roles).next() {
            return Err(PasswordFileError::NoSuchUser { user: user.clone(), path });
        }
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

    /// Whose request it is. `attempts` of the client count only when a password has to be checked.
    pub(super) async fn authenticate(
        &self,
        header: Option<&[u8]>,
        attempts: &Attempts<'_>,
    ) -> Result<Result<Identity, Refusal>, TooMany> {
        match self.known(header) {
            Ok(Known::Right(user)) => Ok(Ok(self.identity(&user))),
            Ok(Known::Claim(claim)) => {
                attempts.may()?;
                self.prove(claim, attempts).await
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
        let (is_user, hash, most_costly) = (known.is_some(), hash.clone(), users.most_costly);
        Ok(Known::Claim(Claim { user, password, hash, is_user, most_costly, tag }))
    }

    async fn prove(
        &self,
        claim: Claim,
        attempts: &Attempts<'_>,
    ) -> Result<Result<Identity, Refusal>, TooMany> {
        let Ok(_waits) = self.waiting.try_acquire() else { return Ok(Err(Refusal::Busy)) };
        let Ok(_turn) = self.checking.acquire().await else { return Ok(Err(Refusal::Busy)) };
        // Another request may have proven it meanwhile.
        if self.right.get(&claim.tag).is_none() {
            attempts.begin()?;
            if !check(claim.password, claim.hash, claim.most_costly).await || !claim.is_user {
                return Ok(Err(Refusal::Wrong));
            }
            attempts.was_right();
            self.right.put(claim.tag, (), Instant::now() + REMEMBERED_FOR);
        }
        Ok(Ok(self.identity(&claim.user)))
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
                for user in users.missing(&self.roles) {
                    tracing::error!(
                        user, path = %self.path.display(),
                        "api.http_basic_user_roles names a user whom no line of the file is for"
                    );
                }
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

// === impl Users ===

impl Users {
    /// Those who have a role and no line.
    fn missing<'a>(&self, roles: &'a BTreeMap<String, SystemRole>) -> impl Iterator<Item = &'a String> {
        roles.keys().filter(|user| !self.hashes.contains_key(*user))
    }
}

/// Compares a password with a hash, beside the threads that serve requests. A wrong one costs as much as the most
/// costly line, so that time does not tell which users there are.
async fn check(password: Zeroizing<Vec<u8>>, hash: String, most_costly: u32) -> bool {
    let checked = tokio::task::spawn_blocking(move || {
        let is_right = bcrypt::verify(&*password, &hash).unwrap_or(false);
        if !is_right {
            for cost in missing_costs(&hash, most_costly) {
                bcrypt::verify(&*password, &decoy(cost)).ok();
            }
        }
        is_right
    });
    checked.await.unwrap_or(false)
}

/// What is to be checked after `hash` to make it as costly as the most costly one: each cost is twice the one before, so
/// 5, 5, 6 and 7 are 8.
fn missing_costs(hash: &str, most_costly: u32) -> Range<u32> {
    let cost = hash.parse::<HashParts>().map_or(most_costly, |parts| parts.get_cost());
    cost..most_costly
}

/// A hash that no password has.
fn decoy(cost: u32) -> String {
    format!("$2b${cost:02}$......................{}", ".".repeat(31))
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
    let mut users = Users { hashes: HashMap::new(), decoy: String::new(), most_costly: 0 };
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
        users.most_costly = users.most_costly.max(hash.get_cost());
        let stored = line[user.len() + 1..].to_owned();
        // As Ironic reads it: the first line of a user counts.
        users.hashes.entry(user.to_owned()).or_insert(stored);
    }
    if users.hashes.is_empty() {
        users.most_costly = USUAL_COST;
    }
    users.decoy = decoy(users.most_costly);
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

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

    #[test]
    fn every_wrong_password_costs_as_the_most_costly_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("htpasswd");
        let costs = |text: &str| {
            fs::write(&path, text).unwrap();
            let (_, users) = read(&path).unwrap();
            users.decoy.parse::<HashParts>().unwrap().get_cost()
        };
        assert_eq!(costs(&format!("ann:$2b$05${HASH}\n")), 5);
        assert_eq!(costs(&format!("ann:$2b$05${HASH}\nbob:$2b$12${HASH}\n")), 12);
        assert_eq!(costs(""), USUAL_COST);
        for (own, most) in [(5, 5), (5, 6), (5, 12), (10, 15)] {
            let hash = format!("$2b${own:02}${HASH}");
            let rest: u64 = missing_costs(&hash, most).map(|cost| 1 << cost).sum();
            assert_eq!((1 << own) + rest, 1 << most, "{own} {most}");
        }
    }
}
