//! JSON values as typed field values; each error is a sentence about the field.

use serde_json::Value;
use uuid::Uuid;

use crate::node::{
    Dictionary,
    names::{MAX_NAME, check_name},
    traits::is_trait,
};

/// A text of at most `longest` characters, or nothing.
pub(super) fn text(field: &str, value: Value, longest: usize) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() <= longest => Ok(Some(text)),
        Value::String(_) => Err(format!("{field} is longer than {longest} characters.")),
        other => Err(wrong_type(field, &other, "a string")),
    }
}

/// A text of 1 to `longest` characters.
pub(super) fn required_text(field: &str, value: Value, longest: usize) -> Result<String, String> {
    match text(field, value, longest)? {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(format!("{field} must not be empty.")),
    }
}

/// A dictionary; nothing is an empty one.
pub(super) fn dictionary(field: &str, value: Value) -> Result<Dictionary, String> {
    match value {
        Value::Null => Ok(Dictionary::new()),
        Value::Object(map) => Ok(map),
        other => Err(wrong_type(field, &other, "an object")),
    }
}

/// A boolean, also as the words that OpenStack's command line sends.
pub(super) fn boolean(field: &str, value: &Value) -> Result<Option<bool>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(answer) => Ok(Some(*answer)),
        Value::String(text) => match boolean_word(text) {
            Some(answer) => Ok(Some(answer)),
            None => Err(format!("{field}: '{}' is neither true nor false.", shortened(text))),
        },
        other => Err(wrong_type(field, other, "a boolean")),
    }
}

/// `true` and `false` in the spellings of OpenStack.
pub(super) fn boolean_word(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
        _ => None,
    }
}

/// A UUID, or nothing.
pub(super) fn uuid(field: &str, value: Value) -> Result<Option<Uuid>, String> {
    match text(field, value, 255)? {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(uuid) => Ok(Some(uuid)),
            Err(_) => Err(format!("{field}: expected a UUID but received {}.", shortened(&text))),
        },
    }
}

/// A node's name (characters that need no escape in a URL, not a UUID, not a path of the API), or nothing. `refusal` is
/// how the message about another one begins.
pub(super) fn name(value: Value, refusal: &str) -> Result<Option<String>, String> {
    let Some(name) = text("name", value, MAX_NAME)? else { return Ok(None) };
    check_name(&name, refusal)?;
    Ok(Some(name))
}

/// A trait.
pub(super) fn trait_name(value: &Value) -> Result<String, String> {
    match value.as_str() {
        Some(text) if is_trait(text) => Ok(text.to_owned()),
        _ => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Err(format!(
                "'{0}' is not valid under any of the given schemas. Possible root cause: '{0}' does not match \
                 '^CUSTOM_[A-Z0-9_]+$'",
                shortened(&text)
            ))
        }
    }
}

/// A name that can stand in a path (characters that need no escape in a URL), not a UUID.
pub(super) fn logical_name(value: Value) -> Result<Option<String>, String> {
    let Some(name) = text("name", value, 255)? else { return Ok(None) };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    if name.is_empty() || !name.chars().all(allowed) || name.parse::<Uuid>().is_ok() {
        return Err(format!("'{}' is no name: use letters, digits and -._~", shortened(&name)));
    }
    Ok(Some(name))
}

/// A MAC address, in lower case with colons.
pub(super) fn mac_address(value: &Value) -> Result<String, String> {
    let text = value.as_str().unwrap_or_default();
    let groups: Vec<&str> = text.split(if text.contains('-') { '-' } else { ':' }).collect();
    let valid = groups.iter().all(|group| group.len() == 2 && group.bytes().all(|b| b.is_ascii_hexdigit()));
    if valid && groups.len() == 6 {
        return Ok(groups.join(":").to_ascii_lowercase());
    }
    let given = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Err(format!("Expected valid MAC address for address: {}", shortened(&given)))
}

/// A sentence about a value of another type.
pub(super) fn wrong_type(field: &str, value: &Value, wanted: &str) -> String {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("{field} must be {wanted}, not {got}.")
}

/// Text of an unknown sender, fit for a sentence.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["node-0", "a.b_c~d", "1"] {
            assert_eq!(name(good.into(), "Not"), Ok(Some(good.to_owned())));
        }
        let bad = ["", "a b", "a/b", "é", "..", "detail", "11111111-1111-4111-8111-111111111111"];
        for bad in bad {
            assert!(name(bad.into(), "Not").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn mac_addresses() {
        assert_eq!(mac_address(&"52:54:00:AA:bb:01".into()), Ok("52:54:00:aa:bb:01".into()));
        assert_eq!(mac_address(&"52-54-00-AA-bb-01".into()), Ok("52:54:00:aa:bb:01".into()));
        for bad in ["", "52:54:00:aa:bb", "52:54:00:aa:bb:zz", "5254:00:aa:bb:01:02", "5254.00aa.bb01"] {
            assert!(mac_address(&bad.into()).is_err(), "{bad:?}");
        }
    }
}
