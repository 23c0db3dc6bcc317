//! Steps as a request names them.

use std::fmt;

use serde_json::{Map, Value};

use super::INTERFACES;
use crate::node::Dictionary;

/// Most steps in one list.
const MAX_STEPS: usize = 255;
const MAX_NAME: usize = 255;

/// One step that somebody asked for.
#[derive(Clone, PartialEq)]
pub struct GivenStep {
    /// `deploy`, `bios`, `raid`, …
    pub interface: String,
    /// Its name.
    pub step: String,
    /// Arguments.
    pub args: Dictionary,
    /// In deploys: where it runs; 0 means that a step which would run does not.
    pub priority: u32,
}

/// Without the arguments: they may hold secrets.
impl fmt::Debug for GivenStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenStep")
            .field("interface", &self.interface)
            .field("step", &self.step)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

/// Which keys a step has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `deploy_steps`: `args` and `priority` are required.
    Prioritised,
    /// `clean_steps`, `service_steps`: they run as listed, or by `order`.
    Listed,
}

impl GivenStep {
    /// Reads a list of steps; the error says what is wrong with which one.
    pub fn parse_all(list: &Value, shape: Shape) -> Result<Vec<Self>, String> {
        let Value::Array(items) = list else { return Err("it must be a list of steps".to_owned()) };
        if items.len() > MAX_STEPS {
            return Err(format!("it has more than {MAX_STEPS} steps"));
        }
        let mut steps = Vec::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            let step = match item {
                Value::Object(item) => parse(item, shape),
                _ => Err("it must be an object".to_owned()),
            };
            steps.push(step.map_err(|problem| format!("step {}: {problem}", number + 1))?);
        }
        steps.sort_by_key(|(order, _)| *order);
        Ok(steps.into_iter().map(|(_, step)| step).collect())
    }
}

fn parse(item: &Map<String, Value>, shape: Shape) -> Result<(u32, GivenStep), String> {
    let known: &[&str] = match shape {
        Shape::Prioritised => &["interface", "step", "args", "priority"],
        Shape::Listed => {
            &["interface", "step", "args", "order", "execute_on_child_nodes", "limit_child_node_execution"]
        }
    };
    if let Some(other) = item.keys().find(|key| !known.contains(&key.as_str())) {
        let other: String = other.chars().take(64).collect();
        return Err(format!("\"{other}\" is not known; the keys are: {}", known.join(", ")));
    }
    let on_children = [item.get("execute_on_child_nodes"), item.get("limit_child_node_execution")];
    if on_children.into_iter().flatten().any(|value| !is_empty(value)) {
        return Err(
            "steps are not executed on child nodes by this controller: ask each child node".to_owned()
        );
    }
    let interface = text(item, "interface")?;
    if !INTERFACES.contains(&interface.as_str()) {
        return Err(format!("interface must be one of {}", INTERFACES.join(", ")));
    }
    let args = match item.get("args") {
        None if shape == Shape::Listed => Dictionary::new(),
        Some(Value::Object(args)) => args.clone(),
        _ => return Err("args must be an object".to_owned()),
    };
    let priority = match shape {
        Shape::Prioritised => number(item.get("priority")).ok_or("priority must be a number, 0 or more")?,
        Shape::Listed => 0,
    };
    let order = match item.get("order") {
        None => 0,
        given => number(given).ok_or("order must be a number, 0 or more")?,
    };
    Ok((order, GivenStep { interface, step: text(item, "step")?, args, priority }))
}

fn text(item: &Map<String, Value>, key: &str) -> Result<String, String> {
    match item.get(key) {
        Some(Value::String(text)) if !text.is_empty() && text.len() <= MAX_NAME => Ok(text.clone()),
        _ => Err(format!("{key} must be a string of 1 to {MAX_NAME} characters")),
    }
}

/// Ironic takes numbers also as text.
fn number(value: Option<&Value>) -> Option<u32> {
    match value? {
        Value::Number(number) => number.as_u64().and_then(|number| number.try_into().ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || value.as_array().is_some_and(Vec::is_empty)
}
