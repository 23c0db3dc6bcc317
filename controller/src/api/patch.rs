//! JSON patches (RFC 6902) as far as Ironic takes them: `add`, `replace`, `remove`.

use serde_json::{Map, Value};

use super::version::Version;

/// Most operations in one patch.
const MAX_OPERATIONS: usize = 1000;

/// One operation. Its path has at least one part.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operation {
    kind: Kind,
    /// As the client wrote it, for messages.
    path: String,
    field: String,
    rest: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Add(Value),
    Replace(Value),
    Remove,
}

/// Why a patch cannot be applied; a sentence. Values are never repeated: they may be secrets.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatchError {
    /// Not of the form of a patch.
    #[error("Schema error for patch: {0}")]
    Schema(String),
    /// A field that is not there, at the top level.
    #[error("Adding a new attribute ({0}) to the root of the resource is not allowed.")]
    NewRootAttribute(String),
    /// The document is not what the operation expects.
    #[error("Couldn't apply patch '{{'op': '{operation}', 'path': '{path}'}}'. Reason: {reason}")]
    Conflict {
        /// Which operation.
        operation: &'static str,
        /// Where.
        path: String,
        /// Why.
        reason: String,
    },
}

impl Operation {
    /// The operations of a request body.
    pub(super) fn parse_all(body: Value, version: Version) -> Result<Vec<Self>, PatchError> {
        match body {
            Value::Array(items) if items.len() > MAX_OPERATIONS => {
                Err(PatchError::Schema(format!("more than {MAX_OPERATIONS} operations")))
            }
            Value::Array(items) => items.into_iter().map(|item| Self::parse(item, version)).collect(),
            _ => Err(PatchError::Schema("a patch is a list of operations".to_owned())),
        }
    }

    fn parse(item: Value, version: Version) -> Result<Self, PatchError> {
        let schema = |text: &str| PatchError::Schema(text.to_owned());
        let Value::Object(mut item) = item else { return Err(schema("an operation is an object")) };
        let Some(Value::String(path)) = item.remove("path") else {
            return Err(schema("'path' is a required property"));
        };
        let value = item.remove("value");
        let with_value = |value: Option<Value>| {
            value.ok_or_else(|| schema("'value' is a required property of add and replace"))
        };
        let kind = match item.remove("op").as_ref().and_then(Value::as_str) {
            Some("add") => Kind::Add(with_value(value)?),
            Some("replace") => Kind::Replace(with_value(value)?),
            Some("remove") => Kind::Remove,
            _ => return Err(schema("'op' is not one of ['add', 'replace', 'remove']")),
        };
        if path.contains('~') && !version.has(98) {
            return Err(schema("'~' in a path needs API version 1.98"));
        }
        let mut parts = pointer(&path)
            .ok_or_else(|| PatchError::Schema(format!("'{}' is no path", super::value::shortened(&path))))?;
        let field = parts.remove(0);
        Ok(Self { kind, path, field, rest: parts })
    }

    /// The field of the resource that the operation changes.
    pub(super) fn field(&self) -> &str {
        &self.field
    }

    /// Whether it takes a whole field away.
    pub(super) fn removes_field(&self) -> bool {
        self.rest.is_empty() && matches!(self.kind, Kind::Remove)
    }

    /// The path as the client wrote it.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Applies the operation to a resource that holds all fields that may be patched.
    pub(super) fn apply(&self, document: &mut Map<String, Value>) -> Result<(), PatchError> {
        let conflict = |reason: String| PatchError::Conflict {
            operation: match self.kind {
                Kind::Add(_) => "add",
                Kind::Replace(_) => "replace",
                Kind::Remove => "remove",
            },
            path: self.path.clone(),
            reason,
        };
        let Some((last, parents)) = self.rest.split_last() else {
            return self.apply_to_root(document).map_err(|error| error.unwrap_or_else(conflict));
        };
        let missing = |part: &str| conflict(format!("member '{part}' not found"));
        let mut target = document.get_mut(&self.field).ok_or_else(|| missing(&self.field))?;
        for part in parents {
            target = match target {
                Value::Object(map) => map.get_mut(part),
                Value::Array(items) => index(part, items.len()).and_then(|at| items.get_mut(at)),
                _ => None,
            }
            .ok_or_else(|| missing(part))?;
        }
        match target {
            Value::Object(map) => self.apply_to_map(map, last),
            Value::Array(items) => self.apply_to_list(items, last),
            _ => Err(format!("'{last}' is not in an object or a list")),
        }
        .map_err(conflict)
    }

    fn apply_to_root(&self, document: &mut Map<String, Value>) -> Result<(), Result<PatchError, String>> {
        if matches!(self.kind, Kind::Add(_)) && !document.contains_key(&self.field) {
            return Err(Ok(PatchError::NewRootAttribute(self.path.clone())));
        }
        if matches!(self.kind, Kind::Remove) {
            // Ironic: a removed field is a field at its default.
            let missing = || Err(format!("can't remove a non-existent object '{}'", self.field));
            *document.get_mut(&self.field).ok_or_else(missing)? = Value::Null;
            return Ok(());
        }
        self.apply_to_map(document, &self.field).map_err(Err)
    }

    fn apply_to_map(&self, map: &mut Map<String, Value>, name: &str) -> Result<(), String> {
        match &self.kind {
            Kind::Add(value) => {
                map.insert(name.to_owned(), value.clone());
            }
            Kind::Replace(value) => match map.get_mut(name) {
                Some(slot) => slot.clone_from(value),
                None => return Err(format!("can't replace a non-existent object '{name}'")),
            },
            Kind::Remove => {
                map.remove(name).ok_or_else(|| format!("can't remove a non-existent object '{name}'"))?;
            }
        }
        Ok(())
    }

    fn apply_to_list(&self, items: &mut Vec<Value>, part: &str) -> Result<(), String> {
        let at = if part == "-" { Some(items.len()) } else { index(part, items.len() + 1) };
        let outside = || format!("'{part}' is no index of a list of {}", items.len());
        let at = at.ok_or_else(outside)?;
        if !matches!(self.kind, Kind::Add(_)) && at >= items.len() {
            return Err(outside());
        }
        match &self.kind {
            Kind::Add(value) => items.insert(at, value.clone()),
            Kind::Replace(value) => {
                if let Some(slot) = items.get_mut(at) {
                    slot.clone_from(value);
                }
            }
            Kind::Remove => {
                items.remove(at);
            }
        }
        Ok(())
    }
}

/// The parts of a JSON pointer (RFC 6901) with at least one part, none of them empty.
fn pointer(path: &str) -> Option<Vec<String>> {
    path.strip_prefix('/')?
        .split('/')
        .map(|part| if part.is_empty() { None } else { unescape(part) })
        .collect()
}

fn unescape(part: &str) -> Option<String> {
    let mut text = String::with_capacity(part.len());
    let mut characters = part.chars();
    while let Some(c) = characters.next() {
        text.push(match (c, characters.as_str().chars().next()) {
            ('~', Some('0')) => '~',
            ('~', Some('1')) => '/',
            ('~', _) => return None,
            _ => c,
        });
        if c == '~' {
            characters.next();
        }
    }
    Some(text)
}

/// A list index below `length`, without leading zeros.
fn index(part: &str, length: usize) -> Option<usize> {
    let plain = part == "0" || (!part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit()));
    part.parse().ok().filter(|at| plain && *at < length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn patched(document: Value, patch: Value) -> Result<Value, PatchError> {
        let mut document = document.as_object().cloned().unwrap();
        for operation in Operation::parse_all(patch, Version(115))? {
            operation.apply(&mut document)?;
        }
        Ok(Value::Object(document))
    }

    #[test]
    fn adds_replaces_removes() {
        let cases = [
            (
                json!([{"op": "add", "path": "/extra/k", "value": "v"},
                    {"op": "replace", "path": "/extra/k", "value": {"a": 1}}]),
                json!({"extra": {"k": {"a": 1}, "l": [1, 2]}, "name": "n"}),
            ),
            (json!([{"op": "remove", "path": "/name"}]), json!({"extra": {"l": [1, 2]}, "name": null})),
            (
                json!([{"op": "add", "path": "/extra/l/-", "value": 3}, {"op": "remove", "path": "/extra/l/0"}]),
                json!({"extra": {"l": [2, 3]}, "name": "n"}),
            ),
            (
                json!([{"op": "add", "path": "/extra/a~1b~0c", "value": 1}]),
                json!({"extra": {"a/b~c": 1, "l": [1, 2]}, "name": "n"}),
            ),
        ];
        for (patch, wanted) in cases {
            assert_eq!(patched(json!({"extra": {"l": [1, 2]}, "name": "n"}), patch), Ok(wanted));
        }
    }

    #[test]
    fn refuses_in_ironics_words() {
        let refusal = |patch| patched(json!({"extra": {"s": "x"}}), patch).unwrap_err().to_string();
        assert_eq!(
            refusal(json!([{"op": "remove", "path": "/extra/none"}])),
            "Couldn't apply patch '{'op': 'remove', 'path': '/extra/none'}'. Reason: can't remove a non-existent \
             object 'none'"
        );
        for (patch, reason) in [
            (json!([{"op": "add", "path": "/nope", "value": 1}]), "Adding a new attribute (/nope)"),
            (
                json!([{"op": "replace", "path": "/extra/none", "value": 1}]),
                "can't replace a non-existent object",
            ),
            (json!([{"op": "add", "path": "/extra/s/t", "value": 1}]), "not in an object or a list"),
            (json!([{"op": "add", "path": "/extra/s/t/u", "value": 1}]), "member 't' not found"),
            (json!([{"op": "test", "path": "/extra", "value": 1}]), "'op' is not one of"),
            (json!([{"op": "add", "path": "/extra"}]), "'value' is a required"),
            (json!([{"op": "add", "path": "extra", "value": 1}]), "is no path"),
            (json!([{"op": "add", "path": "/extra//a", "value": 1}]), "is no path"),
            (json!([{"op": "add", "path": "/extra/~2", "value": 1}]), "is no path"),
            (json!({"op": "add"}), "a patch is a list"),
        ] {
            let text = refusal(patch.clone());
            assert!(text.contains(reason), "{patch}: {text}");
        }
        assert!(Operation::parse_all(json!([{"op": "remove", "path": "/extra/~0"}]), Version(97)).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c0-2~/-]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_operation() -> impl Strategy<Value = Value> {
        let path =
            prop_oneof!["(/([a-c]|[0-2]|-|~0|~1|~){0,3}){0,4}", "(/extra)(/[a-c0-2-]{1,2}){0,4}", ".{0,12}"];
        ("add|replace|remove|test|", path, prop::option::of(any_json())).prop_map(|(op, path, value)| {
            match value {
                Some(value) => json!({"op": op, "path": path, "value": value}),
                None => json!({"op": op, "path": path}),
            }
        })
    }

    proptest! {
        #[test]
        fn never_panics_and_never_adds_a_root_field(
            extra in any_json(),
            patch in prop_oneof![prop::collection::vec(any_operation(), 0..6).prop_map(Value::from), any_json()],
        ) {
            if let Ok(Value::Object(after)) = patched(json!({"extra": extra, "a": 1}), patch) {
                prop_assert_eq!(after.keys().cloned().collect::<Vec<_>>(), ["a", "extra"]);
            }
        }
    }
}
