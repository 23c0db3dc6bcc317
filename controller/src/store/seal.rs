//! Encryption of what must not be read from the database file: ChaCha20-Poly1305 (RFC 8439), a fresh random
//! nonce for each value, and the row and column as associated data, so that a value cannot be moved.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use zeroize::Zeroizing;

use super::StoreError;

const KEY_BYTES: usize = 32;
const FORMAT: &str = "1:";

/// Seals and opens columns.
pub(super) struct Sealer {
    key: LessSafeKey,
    random: SystemRandom,
}

/// The value is not one that this key sealed for this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOurs;

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// Reads the key file; makes it when `may_create`, which is so as long as nothing was sealed.
    pub(super) fn open(
        path: &Path,
        may_create: bool,
        problem: &dyn Fn(&'static str) -> StoreError,
    ) -> Result<Self, StoreError> {
        let file = |action| move |source| StoreError::File { action, path: path.to_owned(), source };
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
        match File::open(path) {
            Ok(opened) => {
                let mode = opened.metadata().map_err(file("look at"))?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(problem("can be read by others: chmod 600 it"));
                }
                opened.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(file("read"))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_create => {
                bytes.resize(KEY_BYTES, 0);
                SystemRandom::new()
                    .fill(&mut bytes)
                    .map_err(|_| problem("cannot be made: the system has no random numbers"))?;
                create(path, &bytes).map_err(file("write"))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(problem("is missing, without it the database cannot be read: put it back"));
            }
            Err(error) => return Err(file("read")(error)),
        }
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes)
            .map_err(|_| problem("is not 32 bytes long: put the right one back"))?;
        Ok(Self { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    /// Seals `plain` for the column `column` of the row `row`.
    pub(super) fn seal(&self, row: &str, column: &str, plain: &[u8]) -> Result<String, NotOurs> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| NotOurs)?;
        let mut sealed = plain.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), place(row, column), &mut sealed)
            .map_err(|_| NotOurs)?;
        let bytes: Vec<u8> = nonce.into_iter().chain(sealed).collect();
        Ok(format!("{FORMAT}{}", STANDARD_NO_PAD.encode(bytes)))
    }

    /// Opens what [`Self::seal`] made for the same place.
    pub(super) fn unseal(
        &self,
        row: &str,
        column: &str,
        sealed: &str,
    ) -> Result<Zeroizing<Vec<u8>>, NotOurs> {
        let text = sealed.strip_prefix(FORMAT).ok_or(NotOurs)?;
        let mut bytes = Zeroizing::new(STANDARD_NO_PAD.decode(text).map_err(|_| NotOurs)?);
        if bytes.len() < NONCE_LEN {
            return Err(NotOurs);
        }
        let mut cipher = Zeroizing::new(bytes.split_off(NONCE_LEN));
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| NotOurs)?;
        let length =
            self.key.open_in_place(nonce, place(row, column), &mut cipher).map_err(|_| NotOurs)?.len();
        cipher.truncate(length);
        Ok(cipher)
    }
}

fn place(row: &str, column: &str) -> Aad<String> {
    Aad::from(format!("{row}/{column}"))
}

/// On disk before the first secret is sealed with it.
fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
