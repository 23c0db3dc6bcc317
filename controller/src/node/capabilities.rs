//! Capabilities: `properties.capabilities` (what a node is) and `instance_info.capabilities` (what an instance wants).

use std::collections::BTreeMap;

use serde_json::Value;

/// Capabilities that say how the machine shall be, not only how it is.
pub const WISHES: &[&str] = &["boot_mode"];

/// Reads them in each form that Ironic knows: `name:value,name:value`, an object, an object as JSON text.
#[must_use]
pub fn parse(value: &Value) -> BTreeMap<String, String> {
    match value {
        Value::Object(map) => {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            map.iter().map(|(name, value)| (name.clone(), text(value))).collect()
        }
        Value::String(text) if text.trim_start().starts_with('{') => match serde_json::from_str(text) {
            Ok(object @ Value::Object(_)) => parse(&object),
            _ => BTreeMap::new(),
        },
        Value::String(text) => {
            let pairs = text.split(',').filter_map(|item| item.split_once(':'));
            pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
        }
        _ => BTreeMap::new(),
    }
}

/// Adds to capabilities what was found, in their own form. What was found and cannot be written is left out: a name
/// without letters, a comma in a value.
#[must_use]
pub fn with(old: Option<&Value>, found: BTreeMap<String, String>) -> Value {
    let mut all = old.map(parse).unwrap_or_default();
    for (name, value) in found {
        let is_wish = WISHES.contains(&name.as_str()) && all.contains_key(&name);
        if !is_wish && !name.is_empty() && !name.contains([',', ':']) && !value.contains(',') {
            all.insert(name, value);
        }
    }
    if matches!(old, Some(Value::Object(_))) {
        return all.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    }
    all.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(",").into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_forms_are_read() {
        for form in [
            json!("boot_mode:uefi, cpu_vt:true"),
            json!({"boot_mode": "uefi", "cpu_vt": true}),
            json!(r#"{"boot_mode": "uefi", "cpu_vt": "true"}"#),
        ] {
            let found = parse(&form);
            assert_eq!((found["boot_mode"].as_str(), found["cpu_vt"].as_str()), ("uefi", "true"), "{form}");
        }
        for nothing in [json!(""), json!("{broken"), json!(7), Value::Null] {
            assert!(parse(&nothing).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn what_was_found_is_added_and_a_wish_stays() {
        let found =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let new = with(
            Some(&json!("boot_mode:bios,server_model:old,own:1")),
            found(&[("boot_mode", "uefi"), ("server_model", "DL360 Gen9"), ("a,b", "x"), ("c", "1,2")]),
        );
        assert_eq!(new, json!("boot_mode:bios,own:1,server_model:DL360 Gen9"));
        assert_eq!(with(None, found(&[("boot_mode", "uefi")])), json!("boot_mode:uefi"));
        assert_eq!(with(Some(&json!({"a": "1"})), found(&[("b", "2")])), json!({"a": "1", "b": "2"}));
    }
}
