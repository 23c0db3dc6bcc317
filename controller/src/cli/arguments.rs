//! `key=value` arguments.

use serde_json::{Map, Value};

/// A `key=value` of the command line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair {
    /// Left of the first `=`.
    pub key: String,
    /// Right of it: JSON when it is an object, a list, `true` or `false`, else text.
    pub value: Value,
}

impl std::str::FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
        if key.is_empty() || key.contains('/') {
            return Err(format!("\"{key}\" is no key"));
        }
        Ok(Self { key: key.to_owned(), value: value_of(value) })
    }
}

/// Numbers stay text: a password of digits is a password.
fn value_of(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_) | Value::Bool(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// The pairs as an object; of equal keys the last one counts.
pub(super) fn object(pairs: &[Pair]) -> Map<String, Value> {
    pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}

/// Root-device hints: one JSON object, or `key=value` (several times).
pub(super) fn hints(texts: &[String]) -> Result<Map<String, Value>, String> {
    if let [text] = texts
        && text.trim_start().starts_with('{')
    {
        return serde_json::from_str(text)
            .map_err(|error| format!("--root-device is not valid JSON: {error}"));
    }
    let pairs: Result<Vec<Pair>, String> = texts.iter().map(|text| text.parse()).collect();
    let pairs = pairs.map_err(|error| format!("--root-device: {error} or a JSON object"))?;
    let number = |pair: &Pair| pair.value.as_str().and_then(|text| text.parse::<u64>().ok());
    Ok(pairs
        .iter()
        .map(|pair| match number(pair) {
            // The size is the one hint that is a number.
            Some(size) if pair.key == "size" => (pair.key.clone(), size.into()),
            _ => (pair.key.clone(), pair.value.clone()),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_json_only_when_they_look_like_it() {
        let value = |text: &str| text.parse::<Pair>().unwrap().value;
        assert_eq!(value("k=v=w"), json!("v=w"));
        assert_eq!(value("redfish_password=123456"), json!("123456"));
        assert_eq!(value("redfish_verify_ca=false"), json!(false));
        assert_eq!(value("capabilities={\"boot_mode\": \"uefi\"}"), json!({"boot_mode": "uefi"}));
        assert!("novalue".parse::<Pair>().is_err());
        assert!("=v".parse::<Pair>().is_err());
    }

    #[test]
    fn root_device_hints_in_both_forms() {
        let both = [
            vec!["{\"size\": \">= 20\", \"rotational\": false}".to_owned()],
            vec!["size=>= 20".to_owned(), "rotational=false".to_owned()],
        ];
        for texts in both {
            assert_eq!(Value::Object(hints(&texts).unwrap()), json!({"size": ">= 20", "rotational": false}));
        }
        assert_eq!(Value::Object(hints(&["size=20".to_owned()]).unwrap()), json!({"size": 20}));
        assert!(hints(&["{".to_owned()]).is_err() && hints(&["serial".to_owned()]).is_err());
    }
}
