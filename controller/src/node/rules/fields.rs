//! Fields that actions change, and paths into them.

use serde_json::{Map, Value};

use super::{format::python_text, shortened};
use crate::node::names::check_name;

/// Deepest path.
const MAX_DEPTH: usize = 16;
/// Longest list that is extended.
const MAX_ITEMS: usize = 1000;
/// Largest list that is extended, in bytes.
const MAX_LIST_BYTES: usize = 256 * 1024;

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Dictionary,
    /// At most that many characters, or nothing.
    Text(usize),
    /// The same in lower case, never null.
    Group,
    /// The name of a node.
    Name,
    Flag,
}

/// Fields and what they hold.
pub(super) type Fields = &'static [(&'static str, Kind)];

/// Fields of a node that rules may change.
pub(super) const NODE: Fields = &[
    ("properties", Kind::Dictionary),
    ("extra", Kind::Dictionary),
    ("driver_info", Kind::Dictionary),
    ("instance_info", Kind::Dictionary),
    ("name", Kind::Name),
    ("description", Kind::Text(4096)),
    ("resource_class", Kind::Text(80)),
    ("owner", Kind::Text(255)),
    ("lessee", Kind::Text(255)),
    ("shard", Kind::Text(255)),
    ("conductor_group", Kind::Group),
];
/// Fields of a port that rules may change.
pub(super) const PORT: Fields = &[
    ("extra", Kind::Dictionary),
    ("local_link_connection", Kind::Dictionary),
    ("physical_network", Kind::Text(64)),
    ("pxe_enabled", Kind::Flag),
    ("name", Kind::Text(255)),
    ("description", Kind::Text(255)),
];

/// `a/b/c` or `a.b.c`.
pub(super) fn path(text: &str) -> Result<Vec<String>, String> {
    let parts: Vec<String> = match text.contains('/') {
        true => text.trim_matches('/').split('/').map(str::to_owned).collect(),
        false => text.split('.').map(str::to_owned).collect(),
    };
    if parts.len() > MAX_DEPTH || parts.iter().any(String::is_empty) {
        return Err(format!("the path \"{}\" cannot be used", shortened(text)));
    }
    Ok(parts)
}

/// Refuses a path that leads elsewhere than into one of the fields.
pub(super) fn allow(path: Vec<String>, fields: Fields) -> Result<Vec<String>, String> {
    let field = path.first().map(String::as_str).unwrap_or_default();
    match fields.iter().find(|(name, _)| *name == field) {
        Some((_, Kind::Dictionary)) => Ok(path),
        Some(_) if path.len() == 1 => Ok(path),
        Some(_) => Err(format!("{field} is no object: nothing is below it")),
        None => {
            let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
            let field = shortened(field);
            Err(format!("\"{field}\" may not be changed by a rule; what may: {}", names.join(", ")))
        }
    }
}

/// The object that holds the last part of a path, made on the way where it is not there.
pub(super) fn parent<'a>(
    map: &'a mut Map<String, Value>,
    path: &[String],
) -> Result<&'a mut Map<String, Value>, String> {
    let (_, way) = path.split_last().ok_or("a path is empty")?;
    way.iter().try_fold(map, |map, part| {
        let next = map.entry(part.as_str()).or_insert(Value::Null);
        if next.is_null() {
            *next = Map::new().into();
        }
        next.as_object_mut().ok_or_else(|| format!("\"{}\" is no object", shortened(part)))
    })
}

fn last(path: &[String]) -> &str {
    path.last().map(String::as_str).unwrap_or_default()
}

/// Sets a field, or what is below one.
pub(super) fn set(
    map: &mut Map<String, Value>,
    path: &[String],
    value: Value,
    fields: Fields,
) -> Result<(), String> {
    let field = fields.iter().find(|(name, _)| path.len() == 1 && *name == last(path));
    let value = match field {
        Some((name, kind)) => fitting(name, *kind, value)?,
        None => value,
    };
    parent(map, path)?.insert(last(path).to_owned(), value);
    Ok(())
}

/// The value as the field holds it. Errors do not show it: it may be a secret.
fn fitting(field: &str, kind: Kind, value: Value) -> Result<Value, String> {
    let text = |value: Value, longest: usize| match value {
        Value::Null => Ok(Value::Null),
        Value::String(_) | Value::Number(_) => {
            let text = python_text(&value);
            let fits = text.chars().count() <= longest;
            fits.then(|| text.into()).ok_or_else(|| format!("{field} is longer than {longest} characters"))
        }
        _ => Err(format!("{field} must be a string")),
    };
    match (kind, value) {
        (Kind::Dictionary, value @ Value::Object(_)) => Ok(value),
        (Kind::Dictionary, _) => Err(format!("{field} must be an object")),
        (Kind::Text(longest), value) => text(value, longest),
        (Kind::Group, value) => {
            let value = text(value, 255)?;
            Ok(value.as_str().unwrap_or_default().to_ascii_lowercase().into())
        }
        (Kind::Name, value) => {
            let value = text(value, 255)?;
            if let Some(name) = value.as_str() {
                check_name(name, "Cannot change name to invalid name")?;
            }
            Ok(value)
        }
        (Kind::Flag, value) => match &value {
            Value::Bool(_) => Ok(value),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true.into()),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false.into()),
            _ => Err(format!("{field} must be true or false")),
        },
    }
}

/// Adds to a list, which is made when it is not there.
pub(super) fn extend(
    map: &mut Map<String, Value>,
    path: &[String],
    value: Value,
    unique: bool,
) -> Result<(), String> {
    let name = last(path);
    let list = parent(map, path)?.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    let list = list.as_array_mut().ok_or_else(|| format!("\"{}\" is no list", shortened(name)))?;
    if unique && list.contains(&value) {
        return Ok(());
    }
    let bytes: usize = list.iter().chain([&value]).map(|value| value.to_string().len()).sum();
    if list.len() >= MAX_ITEMS || bytes > MAX_LIST_BYTES {
        return Err(format!(
            "\"{}\" would have more than {MAX_ITEMS} items or {MAX_LIST_BYTES} bytes",
            shortened(name)
        ));
    }
    list.push(value);
    Ok(())
}

/// Removes what is there; a field itself becomes empty.
pub(super) fn remove(map: &mut Map<String, Value>, path: &[String], fields: Fields) -> Result<(), String> {
    if path.len() == 1 {
        let field = fields.iter().find(|(name, _)| *name == last(path));
        let empty = match field.map(|(_, kind)| kind) {
            Some(Kind::Dictionary) => Map::new().into(),
            Some(Kind::Group) => "".into(),
            Some(Kind::Flag) => return Err(format!("{} cannot be removed", last(path))),
            _ => Value::Null,
        };
        map.insert(last(path).to_owned(), empty);
        return Ok(());
    }
    match forget(map, path) {
        true => Ok(()),
        false => Err(format!("there is no \"{}\"", shortened(&path.join("/")))),
    }
}

/// Removes what a path leads to; false when there is no such thing.
pub(super) fn forget(map: &mut Map<String, Value>, path: &[String]) -> bool {
    let Some((name, way)) = path.split_last() else { return false };
    let found = way.iter().try_fold(map, |map, part| map.get_mut(part)?.as_object_mut());
    found.is_some_and(|map| map.remove(name).is_some())
}
