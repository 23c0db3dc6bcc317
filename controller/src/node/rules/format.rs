//! `{inventory[cpu][count]}` in the arguments of rules, as Python's `str.format` writes it, without its methods.

use serde_json::{Map, Value};

use super::{Subject, shortened};
use crate::node::secrets;

/// Longest text that comes of a replacement, in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Shown of what was found to a rule that is not `sensitive`, under these names.
const FOUND_SECRETS: &[&str] = &["password", "auth_token", "bmc_password"];
const FOUND_MASK: &str = "***";

/// What names may stand in braces.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) subject: &'a Subject,
    pub(super) item: Option<&'a Value>,
    pub(super) sensitive: bool,
}

/// What becomes of a text that cannot be filled in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// An error: nobody wants the text itself.
    Strict,
    /// The text stays when what it names was not found; else an error.
    IfFound,
    /// Null when what it names was not found, or is null.
    NullIfAbsent,
    /// The text stays: braces may mean something else in it.
    AsItIs,
}

/// Why a text cannot be filled in.
enum Trouble {
    Missing(String),
    Wrong(String),
    TooLong,
}

/// A part of a text.
enum Part<'a> {
    Text(&'a str),
    Name(&'a str),
}

#[derive(Clone, Copy)]
enum Root {
    Node,
    Found,
    Item,
}

// === impl Scope ===

impl Scope<'_> {
    /// Replaces in all texts of a value.
    pub(super) fn fill(&self, value: &Value, mode: Mode) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => self.fill_text(text, mode)?,
            Value::Array(items) => {
                items.iter().map(|item| self.fill(item, mode)).collect::<Result<_, _>>()?
            }
            Value::Object(map) => {
                let fill = |(name, value): (&String, &Value)| {
                    let name = python_text(&self.fill_text(name, mode)?);
                    Ok::<_, String>((name, self.fill(value, mode)?))
                };
                Value::Object(map.iter().map(fill).collect::<Result<Map<_, _>, _>>()?)
            }
            other => other.clone(),
        })
    }

    fn fill_text(&self, text: &str, mode: Mode) -> Result<Value, String> {
        let trouble = match self.replaced(text) {
            Ok(Value::Null) if mode == Mode::NullIfAbsent => return Ok(Value::Null),
            Ok(value) => return Ok(python_text(&value).into()),
            Err(trouble) => trouble,
        };
        match (trouble, mode) {
            (Trouble::Missing(_), Mode::NullIfAbsent) => Ok(Value::Null),
            (Trouble::Missing(_), Mode::IfFound)
            | (Trouble::Missing(_) | Trouble::Wrong(_), Mode::AsItIs) => {
                tracing::debug!(text = shortened(text), "what an inspection rule names was not found");
                Ok(text.into())
            }
            (Trouble::Missing(name), Mode::Strict) => {
                Err(format!("\"{}\": this machine has no {}", shortened(text), shortened(&name)))
            }
            (Trouble::Wrong(reason), _) => Err(format!("\"{}\": {reason}", shortened(text))),
            (Trouble::TooLong, _) => {
                Err(format!("\"{}\" becomes longer than {MAX_TEXT} bytes", shortened(text)))
            }
        }
    }

    /// A text, or null when the text is one name and its value is null.
    fn replaced(&self, text: &str) -> Result<Value, Trouble> {
        if text.len() > MAX_TEXT && text.contains(['{', '}']) {
            return Err(Trouble::TooLong);
        }
        let parts = parts(text)?;
        if let [Part::Name(name)] = parts.as_slice()
            && self.look_up(name)?.is_null()
        {
            return Ok(Value::Null);
        }
        let mut out = String::new();
        for part in parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Name(name) => out.push_str(&python_text(&self.look_up(name)?)),
            }
            if out.len() > MAX_TEXT && text.len() < out.len() {
                return Err(Trouble::TooLong);
            }
        }
        Ok(out.into())
    }

    /// `root[key][0].attribute`.
    fn look_up(&self, name: &str) -> Result<Value, Trouble> {
        let (root, keys) = keys(name, self.item.is_some())?;
        let missing = || Trouble::Missing(name.to_owned());
        let (kind, mut value, keys) = match (root, keys.split_first()) {
            ("item", _) => (Root::Item, self.item.ok_or_else(missing)?, keys.as_slice()),
            (_, None) => return Err(Trouble::Wrong(format!("{root} needs a [key]"))),
            (_, Some((key, rest))) => {
                let (kind, map) = match root {
                    "inventory" => (Root::Found, &self.subject.inventory),
                    "plugin_data" => (Root::Found, &self.subject.plugin_data),
                    _ => (Root::Node, &self.subject.node),
                };
                let value = map.get(*key).ok_or_else(missing)?;
                if let Some(mask) = self.mask(kind, key) {
                    return Ok(mask);
                }
                (kind, value, rest)
            }
        };
        let mut last = "";
        for key in keys {
            let found = match value {
                Value::Object(map) => map.get(*key),
                Value::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            value = found.ok_or_else(missing)?;
            if let Some(mask) = self.mask(kind, key) {
                return Ok(mask);
            }
            last = key;
        }
        Ok(match kind {
            Root::Node if !self.sensitive => secrets::masked_value(last, value),
            Root::Found if !self.sensitive => masked_found(value),
            _ => value.clone(),
        })
    }

    fn mask(&self, kind: Root, key: &str) -> Option<Value> {
        match kind {
            _ if self.sensitive => None,
            Root::Node => secrets::is_secret(key).then(|| secrets::MASK.into()),
            Root::Found => FOUND_SECRETS.contains(&key).then(|| FOUND_MASK.into()),
            Root::Item => None,
        }
    }
}

/// Refuses what can be filled in for no machine, in a value that is always filled in.
pub(super) fn check(value: &Value, in_loop: bool) -> Result<(), String> {
    let text = |text: &str| {
        let wrong = |trouble| match trouble {
            Trouble::Wrong(reason) => format!("\"{}\": {reason}", shortened(text)),
            Trouble::Missing(_) | Trouble::TooLong => format!("\"{}\" is too long", shortened(text)),
        };
        for part in parts(text).map_err(wrong)? {
            if let Part::Name(name) = part {
                keys(name, in_loop).map_err(wrong)?;
            }
        }
        Ok(())
    };
    match value {
        Value::String(string) => text(string),
        Value::Array(items) => items.iter().try_for_each(|item| check(item, in_loop)),
        Value::Object(map) => map.iter().try_for_each(|(name, value)| {
            text(name)?;
            check(value, in_loop)
        }),
        _ => Ok(()),
    }
}

fn masked_found(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let shown = |(name, value): (&String, &Value)| {
                let is_secret = FOUND_SECRETS.contains(&name.as_str());
                (name.clone(), if is_secret { FOUND_MASK.into() } else { masked_found(value) })
            };
            Value::Object(map.iter().map(shown).collect())
        }
        Value::Array(items) => items.iter().map(masked_found).collect(),
        other => other.clone(),
    }
}

/// Splits a text at its braces; `{{` is a brace.
fn parts(text: &str) -> Result<Vec<Part<'_>>, Trouble> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        let (brace, after) = from.split_at(1);
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        if let Some(after) = after.strip_prefix(brace) {
            parts.push(Part::Text(brace));
            rest = after;
            continue;
        }
        let name = if brace == "{" { after.split_once('}') } else { None };
        let unpaired = || Trouble::Wrong(format!("a single {brace} (a brace is written twice)"));
        let (name, after) = name.ok_or_else(unpaired)?;
        parts.push(Part::Name(name));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

/// A name's root and its keys.
fn keys(name: &str, in_loop: bool) -> Result<(&str, Vec<&str>), Trouble> {
    let (root, mut rest) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
    match root {
        "inventory" | "plugin_data" | "node" => {}
        "item" if in_loop => {}
        "item" => return Err(Trouble::Wrong("there is an item in a loop only".to_owned())),
        _ => {
            let sentence = "names begin with inventory, plugin_data, node or, in a loop, item; \
                            conversions and formats (!r, :>8) are not known";
            return Err(Trouble::Wrong(sentence.to_owned()));
        }
    }
    let mut keys = Vec::new();
    while !rest.is_empty() {
        let malformed = || Trouble::Wrong(format!("\"{}\" is no name such as {root}[key]", shortened(name)));
        let (key, after) = match (rest.strip_prefix('['), rest.strip_prefix('.')) {
            (Some(inner), _) => inner.split_once(']').ok_or_else(malformed)?,
            (_, Some(inner)) => inner.split_at(inner.find(['.', '[']).unwrap_or(inner.len())),
            _ => return Err(malformed()),
        };
        let is_plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if key.is_empty() || (rest.starts_with('.') && !is_plain) {
            return Err(malformed());
        }
        keys.push(key);
        rest = after;
    }
    Ok((root, keys))
}

/// As Python's `str` writes it; lists and objects as JSON.
pub(super) fn python_text(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
