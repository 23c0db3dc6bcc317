//! The algorithms of cipher suites 3 and 17 (IPMI 2.0, sections 13.28 to 13.32), for both ends.

use aes::{Aes128, cipher::KeyIvInit as _};
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, block_padding::NoPadding};
use ring::hmac;
use zeroize::Zeroizing;

const BLOCK: usize = 16;
/// Section 13.32: the constants that keys are made from have 20 bytes in every suite.
const CONSTANT: usize = 20;

/// How packets are protected. Both encrypt with AES-CBC-128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suite {
    /// Cipher suite 3.
    Sha1,
    /// Cipher suite 17.
    Sha256,
}

/// The end of a 16-byte block does not fit, or its padding is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undecipherable;

/// The keys of a session.
pub(super) struct Keys {
    suite: Suite,
    integrity: hmac::Key,
    cipher: Zeroizing<[u8; BLOCK]>,
}

// === impl Suite ===

impl Suite {
    /// Authentication, integrity and confidentiality, as section 13.28 numbers them.
    pub(super) const fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Sha1 => [1, 1, 1],
            Self::Sha256 => [3, 4, 1],
        }
    }

    /// As people call it.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Sha1 => 3,
            Self::Sha256 => 17,
        }
    }

    /// Bytes of a key exchange authentication code.
    pub(super) const fn digest_length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// Bytes of the code that ends a packet.
    pub(super) const fn code_length(self) -> usize {
        match self {
            Self::Sha1 => 12,
            Self::Sha256 => 16,
        }
    }

    pub(super) fn key(self, secret: &[u8]) -> hmac::Key {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        };
        hmac::Key::new(algorithm, secret)
    }
}

// === impl Keys ===

impl Keys {
    /// From the session integrity key.
    pub(super) fn new(suite: Suite, session_key: &[u8]) -> Self {
        let session_key = suite.key(session_key);
        let derive = |constant: u8| hmac::sign(&session_key, &[constant; CONSTANT]);
        let mut cipher = Zeroizing::new([0; BLOCK]);
        cipher.copy_from_slice(&derive(2).as_ref()[..BLOCK]);
        Self { suite, integrity: suite.key(derive(1).as_ref()), cipher }
    }

    /// The code that ends a packet.
    pub(super) fn code(&self, packet: &[u8]) -> Vec<u8> {
        hmac::sign(&self.integrity, packet).as_ref()[..self.suite.code_length()].to_vec()
    }

    /// Splits the code off, if it is right. In constant time.
    pub(super) fn verified<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let (packet, code) = packet.split_at_checked(packet.len().checked_sub(self.suite.code_length())?)?;
        bool::from(subtle::ConstantTimeEq::ct_eq(&*self.code(packet), code)).then_some(packet)
    }

    /// Encrypts: initialization vector, then payload and padding (section 13.29).
    pub(super) fn encrypt(&self, payload: &[u8]) -> Vec<u8> {
        let iv: [u8; BLOCK] = rand::random();
        let padding = (BLOCK - (payload.len() + 1) % BLOCK) % BLOCK;
        let mut plain = Zeroizing::new(payload.to_vec());
        plain.extend((1..).take(padding));
        plain.extend(u8::try_from(padding));
        let mut sealed = iv.to_vec();
        sealed.extend(
            cbc::Encryptor::<Aes128>::new((&*self.cipher).into(), (&iv).into())
                .encrypt_padded_vec::<NoPadding>(&plain),
        );
        sealed
    }

    /// Takes back what `encrypt` did.
    pub(super) fn decrypt(&self, sealed: &[u8]) -> Result<Vec<u8>, Undecipherable> {
        let (iv, sealed) = sealed.split_first_chunk::<BLOCK>().ok_or(Undecipherable)?;
        let mut plain = cbc::Decryptor::<Aes128>::new((&*self.cipher).into(), iv.into())
            .decrypt_padded_vec::<NoPadding>(sealed)
            .map_err(|_| Undecipherable)?;
        let padding = usize::from(plain.pop().ok_or(Undecipherable)?);
        let length = plain.len().checked_sub(padding).filter(|_| padding < BLOCK).ok_or(Undecipherable)?;
        plain.truncate(length);
        Ok(plain)
    }
}

/// Signs the parts as if they were one.
pub(super) fn sign(key: &hmac::Key, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign().as_ref().to_vec()
}
