//! JSON values as typed field values; what is wrong with one is said as Ironic says it.

use serde_json::Value;
use uuid::Uuid;

use super::error::ApiError;
use crate::node::{
    Dictionary,
    names::{MAX_NAME, check_name, is_reserved},
    traits::is_trait,
};

/// Why a value cannot be that of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It breaks the schema of the body, in the words of JSON Schema.
    Schema(String),
    /// Its form is right, but it cannot be used: a sentence.
    Value(String),
    /// It is no name.
    Name(String),
}

// === impl Wrong ===

impl Wrong {
    /// The answer to a body that makes a new one of `what`.
    pub(super) fn in_new(self, what: &str) -> ApiError {
        ApiError::bad(match self {
            Self::Schema(problem) => format!("Schema error for {what}: {problem}"),
            Self::Value(sentence) => sentence,
            Self::Name(name) => format!("Cannot create {what} with invalid name '{name}'"),
        })
    }

    /// The answer to a patch; `whom` says of what, such as `Node n1`.
    pub(super) fn in_patch(self, whom: &str) -> ApiError {
        ApiError::bad(match self {
            Self::Schema(problem) => format!("Schema error for patch: {problem}"),
            Self::Value(sentence) => sentence,
            Self::Name(name) => format!("{whom}: Cannot change name to invalid name '{name}'"),
        })
    }
}

impl From<String> for Wrong {
    fn from(problem: String) -> Self {
        Self::Schema(problem)
    }
}

/// Where there is no body to name.
impl From<Wrong> for String {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Schema(text) | Wrong::Value(text) => text,
            Wrong::Name(name) => format!("'{name}' is no valid name"),
        }
    }
}

/// A text of at most `longest` characters, or nothing.
pub(super) fn text(value: Value, longest: usize) -> Result<Option<String>, Wrong> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() <= longest => Ok(Some(text)),
        Value::String(_) => Err(Wrong::Schema(format!("{} is too long", repr(&value)))),
        other => Err(wrong_type(&other, "'string', 'null'")),
    }
}

/// A text of 1 to `longest` characters.
pub(super) fn required_text(value: Value, longest: usize) -> Result<String, Wrong> {
    match text(value, longest)? {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) => Err(Wrong::Schema("'' should be non-empty".to_owned())),
        None => Err(wrong_type(&Value::Null, "'string'")),
    }
}

/// A dictionary; nothing is an empty one.
pub(super) fn dictionary(value: Value) -> Result<Dictionary, Wrong> {
    match value {
        Value::Null => Ok(Dictionary::new()),
        Value::Object(map) => Ok(map),
        // A text in this place may be a secret too.
        Value::String(_) => Err(wrong_type(&"...".into(), "'object', 'null'")),
        other => Err(wrong_type(&other, "'object', 'null'")),
    }
}

/// A boolean, also as the words that OpenStack's command line sends.
pub(super) fn boolean(field: &str, value: &Value) -> Result<Option<bool>, Wrong> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(answer) => Ok(Some(*answer)),
        Value::String(text) => match boolean_word(text) {
            Some(answer) => Ok(Some(answer)),
            None => Err(Wrong::Value(no_boolean(field, text))),
        },
        other => Err(wrong_type(other, "'string', 'boolean', 'null'")),
    }
}

/// The sentence about a word that is neither true nor false.
pub(super) fn no_boolean(field: &str, text: &str) -> String {
    format!(
        "Invalid {field}: Unrecognized value '{}', acceptable values are: '0', '1', 'f', 'false', 'n', 'no', 'off', \
         'on', 't', 'true', 'y', 'yes'",
        shortened(text)
    )
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
pub(super) fn uuid(field: &str, value: Value) -> Result<Option<Uuid>, Wrong> {
    let wrong = |text: &str| Wrong::Value(format!("Expected UUID for {field}: {}", shortened(text)));
    match text(value, 255)? {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| wrong(&text)),
    }
}

/// A node's name (characters that need no escape in a URL, not a UUID, not a path of the API), or nothing.
pub(super) fn name(value: Value) -> Result<Option<String>, Wrong> {
    let Some(name) = text(value, usize::MAX)? else { return Ok(None) };
    match check_name(&name, "invalid name") {
        Ok(()) => Ok(Some(name)),
        Err(sentence) if is_reserved(&name) => Err(Wrong::Value(sentence)),
        Err(_) => Err(Wrong::Name(shortened(&name))),
    }
}

/// A trait.
pub(super) fn trait_name(value: &Value) -> Result<String, Wrong> {
    match value.as_str() {
        Some(text) if is_trait(text) => Ok(text.to_owned()),
        _ => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Err(Wrong::Schema(format!(
                "'{0}' is not valid under any of the given schemas. Possible root cause: '{0}' does not match \
                 '^CUSTOM_[A-Z0-9_]+$'",
                shortened(&text)
            )))
        }
    }
}

/// A name that can stand in a path (characters that need no escape in a URL), not a UUID.
pub(super) fn logical_name(value: Value) -> Result<Option<String>, Wrong> {
    let Some(name) = text(value, usize::MAX)? else { return Ok(None) };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    let is_long = name.chars().count() > MAX_NAME;
    if is_long || name.is_empty() || !name.chars().all(allowed) || name.parse::<Uuid>().is_ok() {
        return Err(Wrong::Name(shortened(&name)));
    }
    Ok(Some(name))
}

/// A MAC address, in lower case with colons.
pub(super) fn mac_address(field: &str, value: &Value) -> Result<String, Wrong> {
    let Some(text) = value.as_str() else { return Err(wrong_type(value, "'string'")) };
    let groups: Vec<&str> = text.split(if text.contains('-') { '-' } else { ':' }).collect();
    let valid = groups.iter().all(|group| group.len() == 2 && group.bytes().all(|b| b.is_ascii_hexdigit()));
    if valid && groups.len() == 6 {
        return Ok(groups.join(":").to_ascii_lowercase());
    }
    Err(Wrong::Value(format!("Expected valid MAC address for {field}: {}", shortened(text))))
}

/// A value of another type than `wanted`, which is one or more of JSON Schema's in quotes.
pub(super) fn wrong_type(value: &Value, wanted: &str) -> Wrong {
    Wrong::Schema(format!("{} is not of type {wanted}", repr(value)))
}

/// A value as Ironic writes it. Lists and dictionaries are not repeated: they may hold secrets.
fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("'{}'", shortened(text)),
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Array(_) => "[...]".to_owned(),
        Value::Object(_) => "{...}".to_owned(),
    }
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
            assert_eq!(name(good.into()), Ok(Some(good.to_owned())));
        }
        let bad = ["", "a b", "a/b", "é", "..", "detail", "11111111-1111-4111-8111-111111111111"];
        for bad in bad {
            assert!(name(bad.into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn mac_addresses() {
        assert_eq!(mac_address("address", &"52:54:00:AA:bb:01".into()), Ok("52:54:00:aa:bb:01".into()));
        assert_eq!(mac_address("address", &"52-54-00-AA-bb-01".into()), Ok("52:54:00:aa:bb:01".into()));
        for bad in ["", "52:54:00:aa:bb", "52:54:00:aa:bb:zz", "5254:00:aa:bb:01:02", "5254.00aa.bb01"] {
            assert!(mac_address("address", &bad.into()).is_err(), "{bad:?}");
        }
    }
}
