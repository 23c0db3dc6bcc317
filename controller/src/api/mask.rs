//! Secrets in free-form dictionaries: shown as `******`, and kept when a client writes that back.

use serde_json::{Map, Value};

pub(super) use crate::node::secrets::{MASK, masked, masked_any, shown_url};

use crate::node::Dictionary;

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
