//! Signatures of messages, as the Standard Webhooks specification writes them.

use std::{fs::File, io::Read as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use zeroize::Zeroizing;

use super::NotifyError;

/// What such a secret starts with; the rest is base64.
const PREFIX: &str = "whsec_";
/// The specification: 24 to 64 bytes.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const MAX_FILE: u64 = 4096;

/// The secret of a receiver.
pub(super) struct Signer(hmac::Key);

impl Signer {
    /// Reads the file with the secret.
    pub(super) fn open(path: &Path) -> Result<Self, NotifyError> {
        let file = |source| NotifyError::SecretFile { path: path.to_owned(), source };
        let mut text = Zeroizing::new(String::new());
        File::open(path).map_err(file)?.take(MAX_FILE).read_to_string(&mut text).map_err(file)?;
        let invalid = || NotifyError::Secret { path: path.to_owned() };
        let encoded = text.trim().strip_prefix(PREFIX).ok_or_else(invalid)?;
        let secret = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| invalid())?);
        if !BYTES.contains(&secret.len()) {
            return Err(invalid());
        }
        Ok(Self::new(&secret))
    }

    pub(super) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_specification_says() {
        // The example of the specification's reference libraries.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = Signer::new(&secret).sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_too_short_or_no_base64_is_refused_by_file_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for bad in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAA", "whsec_geheim!"] {
            std::fs::write(&path, bad).unwrap();
            let refused = Signer::open(&path).unwrap_err().to_string();
            assert!(refused.contains("whsec_") && !refused.contains("geheim"), "{refused}");
        }
        std::fs::write(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        Signer::open(&path).unwrap();
        assert!(Signer::open(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
