//! Secrets in free-form dictionaries: which values are secret by their names, and what is shown in their place.

use serde_json::Value;
use url::Url;

use super::Dictionary;

/// What is shown in place of a secret.
pub(crate) const MASK: &str = "******";

/// Parts of names whose values are secrets.
const SECRET_PARTS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pswd",
    "admin_pass",
    "adminpass",
    "auth_pass",
    "token",
    "secret",
    "key",
    "credential",
    "signature",
    "community",
];
/// Whole names whose values are secrets: config drives carry passwords, image URLs carry signatures.
const SECRET_NAMES: &[&str] = &["configdrive", "image_url", "sig", "temp_url_sig", "x-amz-security-token"];

/// Whether the value of that name is a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.contains(&name.as_str()) || SECRET_PARTS.iter().any(|part| name.contains(part))
}

/// The dictionary as an answer may show it. Settings of firmware come as `{"name": …, "value": …}`.
pub(crate) fn masked(dictionary: &Dictionary) -> Dictionary {
    let names_secret = dictionary.get("name").and_then(Value::as_str).is_some_and(is_secret);
    let shown = |(name, value): (&String, &Value)| {
        let value = match names_secret && name == "value" && !value.is_null() {
            true => MASK.into(),
            false => masked_value(name, value),
        };
        (name.clone(), value)
    };
    dictionary.iter().map(shown).collect()
}

/// The value of that name as an answer may show it.
pub(crate) fn masked_value(name: &str, value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        _ if is_secret(name) => MASK.into(),
        Value::Object(map) => Value::Object(masked(map)),
        Value::Array(items) => items.iter().map(|item| masked_value(name, item)).collect(),
        Value::String(text) => masked_url(text).map_or_else(|| value.clone(), Value::String),
        Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// A URL whose password, or whose arguments that are secrets, are masked. `None` when there is nothing to mask.
fn masked_url(text: &str) -> Option<String> {
    if !text.contains("://") {
        return None;
    }
    let mut url: Url = text.parse().ok()?;
    let secret_query = url.query_pairs().any(|(name, _)| is_secret(&name));
    // A user name alone is often a token.
    let lone_user = url.password().is_none() && !url.username().is_empty();
    if url.password().is_none() && !lone_user && !secret_query {
        return None;
    }
    if url.password().is_some() {
        url.set_password(Some(MASK)).ok()?;
    } else if lone_user {
        url.set_username(MASK).ok()?;
    }
    if secret_query {
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let shown = pairs.iter().map(|(name, value)| (name, if is_secret(name) { MASK } else { value }));
        url.query_pairs_mut().clear().extend_pairs(shown);
    }
    Some(url.into())
}

/// Any value as an answer may show it.
pub(crate) fn masked_any(value: &Value) -> Value {
    masked_value("", value)
}

/// A URL as an answer may show it.
pub(crate) fn shown_url(text: &str) -> String {
    masked_url(text).unwrap_or_else(|| text.to_owned())
}
