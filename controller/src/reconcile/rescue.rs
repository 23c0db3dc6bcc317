//! The password of a rescue system: hashed before it is stored, never shown.

use std::borrow::Cow;

use serde_json::{Map, Value};
use sha_crypt::{CustomizedPasswordHasher as _, Params, ShaCrypt};

use super::error::RequestError;
use crate::node::{Node, Verb};

/// The argument of the verb `rescue`.
const ARGUMENT: &str = "rescue_password";
/// In `instance_info`: the hash, in the form of `/etc/shadow`. Ironic's name.
const HASH: &str = "hashed_rescue_password";
const MAX_BYTES: usize = 255;
/// As many as the format has room for.
const SALT_BYTES: usize = 12;

/// Takes the password out of the arguments of a request, and hashes it.
pub(super) async fn take(
    verb: Verb,
    arguments: &Map<String, Value>,
) -> Result<(Option<String>, Cow<'_, Map<String, Value>>), RequestError> {
    let hash = hashed(verb, arguments).await?;
    let mut others = Cow::Borrowed(arguments);
    if verb == Verb::Rescue {
        others.to_mut().remove(ARGUMENT);
    }
    Ok((hash, others))
}

/// The hash of the password that a request brings. Takes some milliseconds of a processor.
async fn hashed(verb: Verb, arguments: &Map<String, Value>) -> Result<Option<String>, RequestError> {
    let bad = |sentence: &str| RequestError::Invalid(sentence.to_owned());
    let password = match (verb, arguments.get(ARGUMENT)) {
        (Verb::Rescue, Some(Value::String(text))) if !text.trim().is_empty() => text.clone(),
        (Verb::Rescue, _) => {
            return Err(bad(
                "A non-empty \"rescue_password\" is required when setting target provision state to rescue",
            ));
        }
        _ => return Ok(None),
    };
    if password.len() > MAX_BYTES || password.contains('\0') {
        return Err(bad("rescue_password must have at most 255 bytes, none of them zero"));
    }
    let work = tokio::task::spawn_blocking(move || {
        let salt: [u8; SALT_BYTES] = rand::random();
        ShaCrypt::SHA512.hash_password_customized(password.as_bytes(), &salt, None, None, Params::RECOMMENDED)
    });
    match work.await {
        Ok(Ok(hash)) => Ok(Some(hash.as_str().to_owned())),
        _ => Err(bad("The rescue_password cannot be hashed")),
    }
}

pub(super) fn keep(node: &mut Node, hash: Option<&String>) {
    if let Some(hash) = hash {
        node.instance_info.insert(HASH.to_owned(), hash.clone().into());
    }
}

pub(super) fn forget(node: &mut Node) {
    node.instance_info.remove(HASH);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn hash(password: &Value) -> Result<Option<String>, RequestError> {
        hashed(Verb::Rescue, json!({"rescue_password": password}).as_object().unwrap()).await
    }

    #[tokio::test]
    async fn a_hash_is_what_a_login_takes() {
        use sha_crypt::PasswordVerifier as _;
        let stored = hash(&json!("pa55 word")).await.unwrap().unwrap();
        assert!(stored.starts_with("$6$") && !stored.contains("pa55"), "{stored}");
        let parsed = sha_crypt::PasswordHash::new(&stored).unwrap();
        ShaCrypt::default().verify_password(b"pa55 word", &parsed).unwrap();
        ShaCrypt::default().verify_password(b"other", &parsed).unwrap_err();
        assert_ne!(hash(&json!("pa55 word")).await.unwrap().unwrap(), stored, "each has its own salt");
    }

    #[tokio::test]
    async fn a_password_must_be_there_and_is_not_repeated() {
        for bad in [json!(null), json!(""), json!("  "), json!(7), json!("x".repeat(256)), json!("a\0b")] {
            let refused = hash(&bad).await.unwrap_err().to_string();
            assert!(refused.contains("rescue_password") && !refused.contains("xxx"), "{refused}");
        }
        assert!(hashed(Verb::Manage, &Map::new()).await.unwrap().is_none());
    }
}
