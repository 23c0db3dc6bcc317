//! Actions of inspection rules.

use serde_json::{Map, Value};

use super::{
    Budget, Failure, MAX_MESSAGE, Subject, fields,
    format::{self, Mode, Scope, python_text},
    loop_items, needed, shortened, size, word,
};
use crate::node::{
    inspection_rule::RuleItem,
    traits::{MAX_TRAITS, is_trait},
};

const LEVELS: &[&str] = &["debug", "info", "warning", "error", "critical"];

/// Carries out an action, once for each item of its loop.
pub(super) fn carry_out(
    action: &RuleItem,
    subject: &mut Subject,
    sensitive: bool,
    budget: &mut Budget,
) -> Result<(), Failure> {
    let arguments = action.arguments();
    let items = loop_items(action, &Scope { subject, item: None, sensitive }, Mode::Strict)?;
    let mut once = |item: Option<&Value>| {
        let filled = fill(&arguments, &Scope { subject, item, sensitive })?;
        budget.spend(1, size(&filled))?;
        perform(&action.op, &filled, subject, sensitive)
    };
    match items {
        None => once(None),
        Some(items) => items.iter().try_for_each(|item| once(Some(item))),
    }
}

/// What can be seen to be wrong before there is a node.
pub(super) fn check(action: &RuleItem) -> Result<(), String> {
    let op = action.op.as_str();
    let wrong = |reason: String| format!("{op}: {reason}");
    if op == "api-call" {
        let sentence = "this controller sends no requests that rules name; see docs/notifications.md";
        return Err(wrong(sentence.to_owned()));
    }
    let (arguments, in_loop) = (action.arguments(), action.repeat.is_some());
    for name in ["value", "port_id"] {
        if let Some(value) = arguments.get(name) {
            format::check(value, in_loop).map_err(|reason| wrong(format!("{name}: {reason}")))?;
        }
    }
    // In a loop the rest may be filled in, too.
    if in_loop {
        return Ok(());
    }
    match op {
        "log" => level(&arguments).map(drop).map_err(wrong),
        "add-trait" => {
            let name = word(&arguments, "name").map_err(wrong)?;
            if is_trait(name) { Ok(()) } else { Err(wrong(no_trait(name))) }
        }
        _ if arguments.contains_key("path") => path_of(op, &arguments).map(drop).map_err(wrong),
        _ => Ok(()),
    }
}

fn fill(arguments: &Map<String, Value>, scope: &Scope<'_>) -> Result<Map<String, Value>, String> {
    let fill = |(name, value): (&String, &Value)| {
        let value = match (name.as_str(), scope.item) {
            ("msg", _) => scope.fill(value, Mode::AsItIs)?,
            ("value" | "port_id", _) | (_, Some(_)) => scope.fill(value, Mode::Strict)?,
            (_, None) => value.clone(),
        };
        Ok((name.clone(), value))
    };
    arguments.iter().map(fill).collect()
}

fn perform(
    op: &str,
    arguments: &Map<String, Value>,
    subject: &mut Subject,
    sensitive: bool,
) -> Result<(), Failure> {
    match op {
        "fail" => return Err(Failure::Asked(message(arguments)?)),
        "log" if sensitive => tracing::info!("a sensitive inspection rule logs what is not shown"),
        "log" => log(arguments)?,
        _ => change(op, arguments, subject)?,
    }
    Ok(())
}

fn message(arguments: &Map<String, Value>) -> Result<String, String> {
    Ok(python_text(needed(arguments, "msg")?).chars().take(MAX_MESSAGE).collect())
}

fn level(arguments: &Map<String, Value>) -> Result<&'static str, String> {
    let asked = match arguments.get("level") {
        None => "info".to_owned(),
        Some(Value::String(text)) => text.to_ascii_lowercase(),
        Some(_) => return Err("level must be a string".to_owned()),
    };
    let known = LEVELS.iter().copied().find(|level| *level == asked);
    known.ok_or_else(|| format!("level is none of {}", LEVELS.join(", ")))
}

fn log(arguments: &Map<String, Value>) -> Result<(), String> {
    let text = message(arguments)?;
    match level(arguments)? {
        "debug" => tracing::debug!(text, "inspection rule"),
        "info" => tracing::info!(text, "inspection rule"),
        "warning" => tracing::warn!(text, "inspection rule"),
        _ => tracing::error!(text, "inspection rule"),
    }
    Ok(())
}

/// The path of an action, which begins with a field that the action may change.
fn path_of(op: &str, arguments: &Map<String, Value>) -> Result<Vec<String>, String> {
    let path = fields::path(word(arguments, "path")?)?;
    match op {
        "set-plugin-data" | "extend-plugin-data" | "unset-plugin-data" => Ok(path),
        "set-port-attribute" | "extend-port-attribute" | "del-port-attribute" => {
            fields::allow(path, fields::PORT)
        }
        _ => fields::allow(path, fields::NODE),
    }
}

fn change(op: &str, arguments: &Map<String, Value>, subject: &mut Subject) -> Result<(), String> {
    let unique = arguments.get("unique") == Some(&Value::Bool(true));
    let value = || needed(arguments, "value").cloned();
    let path = || path_of(op, arguments);
    match op {
        "set-attribute" => fields::set(&mut subject.node, &path()?, value()?, fields::NODE),
        "extend-attribute" => fields::extend(&mut subject.node, &path()?, value()?, unique),
        "del-attribute" => fields::remove(&mut subject.node, &path()?, fields::NODE),
        "set-plugin-data" => fields::set(&mut subject.plugin_data, &path()?, value()?, &[]),
        "extend-plugin-data" => fields::extend(&mut subject.plugin_data, &path()?, value()?, unique),
        "unset-plugin-data" => {
            fields::forget(&mut subject.plugin_data, &path()?);
            Ok(())
        }
        "set-capability" => set_capability(subject, word(arguments, "name")?, Some(&value()?)),
        "unset-capability" => set_capability(subject, word(arguments, "name")?, None),
        "add-trait" | "remove-trait" => change_trait(subject, word(arguments, "name")?, op == "add-trait"),
        "set-port-attribute" => fields::set(port(arguments, subject)?, &path()?, value()?, fields::PORT),
        "extend-port-attribute" => fields::extend(port(arguments, subject)?, &path()?, value()?, unique),
        "del-port-attribute" => fields::remove(port(arguments, subject)?, &path()?, fields::PORT),
        _ => Err(format!("Unsupported action: '{}'", shortened(op))),
    }
}

/// The node's port with that UUID or MAC address.
fn port<'a>(
    arguments: &Map<String, Value>,
    subject: &'a mut Subject,
) -> Result<&'a mut Map<String, Value>, String> {
    let id = word(arguments, "port_id")?;
    let has = |port: &Map<String, Value>, field: &str| {
        port.get(field).and_then(Value::as_str).is_some_and(|known| known.eq_ignore_ascii_case(id))
    };
    let port = subject.ports.iter_mut().find(|port| has(port, "uuid") || has(port, "address"));
    port.ok_or_else(|| format!("the node has no port \"{}\"", shortened(id)))
}

/// `properties.capabilities` is one string, `name:value,name:value`, or an object.
fn set_capability(subject: &mut Subject, name: &str, value: Option<&Value>) -> Result<(), String> {
    let value = value.map(python_text);
    if name.is_empty() || name.contains([',', ':']) || value.as_ref().is_some_and(|value| value.contains(','))
    {
        return Err("a capability has no comma, and its name no colon".to_owned());
    }
    let path = ["properties".to_owned(), "capabilities".to_owned()];
    let properties = fields::parent(&mut subject.node, &path)?;
    if let Some(Value::Object(map)) = properties.get_mut("capabilities") {
        match value {
            Some(value) => map.insert(name.to_owned(), value.into()),
            None => map.remove(name),
        };
        return Ok(());
    }
    let old = properties.get("capabilities").and_then(Value::as_str).unwrap_or_default();
    let is_other =
        |pair: &&str| !pair.trim().is_empty() && pair.split(':').next().map(str::trim) != Some(name);
    let others = old.split(',').filter(is_other).map(|pair| pair.trim().to_owned());
    let pairs: Vec<String> = others.chain(value.map(|value| format!("{name}:{value}"))).collect();
    properties.insert("capabilities".to_owned(), pairs.join(",").into());
    Ok(())
}

fn no_trait(name: &str) -> String {
    format!("\"{}\" is no trait: CUSTOM_ and A-Z, 0-9, _, or a standard one", shortened(name))
}

fn change_trait(subject: &mut Subject, name: &str, add: bool) -> Result<(), String> {
    if add && !is_trait(name) {
        return Err(no_trait(name));
    }
    let traits = subject.node.entry("traits").or_insert_with(|| Value::Array(Vec::new()));
    let traits = traits.as_array_mut().ok_or("the node's traits are no list")?;
    traits.retain(|known| known.as_str() != Some(name));
    if add {
        if traits.len() >= MAX_TRAITS {
            return Err(format!("a node has at most {MAX_TRAITS} traits"));
        }
        traits.push(name.into());
        traits.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    Ok(())
}
