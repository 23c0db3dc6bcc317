//! The three forms of `configdrive`. No I/O.

use serde_json::{Map, Value};
use url::Url;

use super::ConfigDriveError;

/// A config drive as it was given.
pub(super) enum Form<'a> {
    /// Base64 of gzip of a file system.
    Packed(&'a str),
    /// Where such a text, or the file system itself, is.
    Url(Url),
    /// What is to be in it.
    Parts(Parts<'a>),
}

/// The files of a config drive.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub(super) meta_data: Option<&'a Map<String, Value>>,
    pub(super) network_data: Option<&'a Map<String, Value>>,
    pub(super) vendor_data: Option<&'a Map<String, Value>>,
    /// A text, or what is written as JSON.
    pub(super) user_data: Option<&'a Value>,
}

// === impl Form ===

impl<'a> Form<'a> {
    pub(super) fn of(value: &'a Value) -> Result<Self, ConfigDriveError> {
        match value {
            Value::String(text) if text.contains("://") => url(text).map(Self::Url),
            Value::String(text) => Ok(Self::Packed(text)),
            Value::Object(parts) => Parts::of(parts).map(Self::Parts),
            _ => Err(wrong("configdrive is neither a text nor an object".to_owned())),
        }
    }
}

impl<'a> Parts<'a> {
    fn of(object: &'a Map<String, Value>) -> Result<Self, ConfigDriveError> {
        let mut parts = Self::default();
        for (name, value) in object {
            let dictionary = || match value {
                Value::Null => Ok(None),
                Value::Object(map) => Ok(Some(map)),
                _ => Err(wrong(format!("{name} of configdrive is not an object"))),
            };
            match name.as_str() {
                "meta_data" => parts.meta_data = dictionary()?,
                "network_data" => parts.network_data = dictionary()?,
                "vendor_data" => parts.vendor_data = dictionary()?,
                "user_data" => parts.user_data = user_data(value)?,
                _ => {
                    let name: String = name.chars().take(64).collect();
                    return Err(wrong(format!(
                        "configdrive has no part {name:?}: it may have meta_data, network_data, user_data and vendor_data"
                    )));
                }
            }
        }
        Ok(parts)
    }
}

fn user_data(value: &Value) -> Result<Option<&Value>, ConfigDriveError> {
    match value {
        Value::Null => Ok(None),
        Value::String(_) | Value::Object(_) | Value::Array(_) => Ok(Some(value)),
        Value::Bool(_) | Value::Number(_) => {
            Err(wrong("user_data of configdrive is neither a text nor an object nor a list".to_owned()))
        }
    }
}

fn url(text: &str) -> Result<Url, ConfigDriveError> {
    let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| wrong("configdrive is a URL of another kind than http and https".to_owned()))
}

fn wrong(sentence: String) -> ConfigDriveError {
    ConfigDriveError::Form(sentence)
}
