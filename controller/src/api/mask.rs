//! Secrets in free-form dictionaries: shown as `******`, and kept when a client writes that back.

use serde_json::{Map, Value};
use url::Url;

use crate::node::Dictionary;

/// What is shown in place of a secret.
pub(super) const MASK: &str = "******";

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

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.contains(&name.as_str()) || SECRET_PARTS.iter().any(|part| name.contains(part))
}

/// The dictionary as an answer may show it.
pub(super) fn masked(dictionary: &Dictionary) -> Dictionary {
    dictionary.iter().map(|(name, value)| (name.clone(), masked_value(name, value))).collect()
}

fn masked_value(name: &str, value: &Value) -> Value {
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
pub(super) fn masked_any(value: &Value) -> Value {
    masked_value("", value)
}

/// A URL as an answer may show it.
pub(super) fn shown_url(text: &str) -> String {
    masked_url(text).unwrap_or_else(|| text.to_owned())
}

/// Puts back the stored values that a client read masked and wrote back unchanged.
pub(super) fn restore(written: &mut Dictionary, stored: &Dictionary) {
    restore_map(written, stored, &masked(stored));
}

fn restore_map(written: &mut Map<String, Value>, stored: &Map<String, Value>, shown: &Map<String, Value>) {
    for (name, value) in written {
        if let (Some(stored), Some(shown)) = (stored.get(name), shown.get(name)) {
            restore_value(value, stored, shown);
        }
    }
}

/// The same for any value, given what is shown of the stored one.
pub(super) fn restore_value(written: &mut Value, stored: &Value, shown: &Value) {
    if written == shown {
        written.clone_from(stored);
        return;
    }
    match (written, stored, shown) {
        (Value::Object(written), Value::Object(stored), Value::Object(shown)) => {
            restore_map(written, stored, shown);
        }
        (Value::Array(written), Value::Array(stored), Value::Array(shown)) => {
            for ((written, stored), shown) in written.iter_mut().zip(stored).zip(shown) {
                restore_value(written, stored, shown);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dictionary(value: Value) -> Dictionary {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn masks_secrets_by_name_at_any_depth() {
        let stored = dictionary(json!({
            "redfish_address": "https://bmc", "redfish_username": "admin", "redfish_password": "hunter2",
            "ipmi_hex_kg_key": "00ff", "nested": {"API_Token": "t", "list": [{"client_secret": 5}]},
            "unset_password": null,
        }));
        let shown = masked(&stored);
        assert_eq!(
            Value::Object(shown),
            json!({
                "redfish_address": "https://bmc", "redfish_username": "admin", "redfish_password": MASK,
                "ipmi_hex_kg_key": MASK, "nested": {"API_Token": MASK, "list": [{"client_secret": MASK}]},
                "unset_password": null,
            })
        );
    }

    #[test]
    fn masks_passwords_and_signatures_in_urls() {
        let shown = masked(&dictionary(json!({
            "image_source": "https://u:hunter2@host/i.raw?temp_url_sig=cafe&temp_url_expires=7",
            "plain": "http://host/i.raw?a=b",
        })));
        let text = Value::Object(shown).to_string();
        assert!(!text.contains("hunter2") && !text.contains("cafe"), "{text}");
        assert!(text.contains("temp_url_expires=7") && text.contains("http://host/i.raw?a=b"), "{text}");
    }

    #[test]
    fn a_mask_written_back_keeps_the_secret() {
        let stored = dictionary(json!({
            "a_password": "one", "deep": {"token": "two", "x": 1}, "url": "http://u:three@host/",
        }));
        let mut written = masked(&stored);
        written.insert("new_password".into(), "four".into());
        restore(&mut written, &stored);
        let mut wanted = stored.clone();
        wanted.insert("new_password".into(), "four".into());
        assert_eq!(written, wanted);
        // A changed secret is a changed secret.
        let mut written = dictionary(json!({"a_password": "five"}));
        restore(&mut written, &stored);
        assert_eq!(Value::Object(written), json!({"a_password": "five"}));
    }
}
