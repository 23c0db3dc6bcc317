//! Inspection rules being applied: conditions on what an inspection found, and actions on the node and its ports. Pure,
//! and bounded in work, memory and time: what was found comes from machines that nobody vouches for.

mod actions;
mod conditions;
mod fields;
mod format;
#[cfg(test)]
mod tests;

use std::time::Instant;

use serde_json::{Map, Value};

use self::format::{Mode, Scope};
use super::{
    Dictionary,
    inspection_rule::{InspectionRule, RuleItem},
};

/// Most rounds of one loop.
pub(super) const MAX_LOOP: usize = 256;
/// Most conditions and actions of one inspection, each round of a loop counted.
const MAX_ROUNDS: u32 = 20_000;
/// Most bytes of all arguments of one inspection, after their names were filled in.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Longest message, in characters.
const MAX_MESSAGE: usize = 1024;

/// What rules look at and change. Node and ports have the fields of their documents, secrets in clear.
#[derive(Clone, Default, PartialEq)]
pub struct Subject {
    /// The node.
    pub node: Map<String, Value>,
    /// Its ports.
    pub ports: Vec<Map<String, Value>>,
    /// What was found.
    pub inventory: Dictionary,
    /// What hooks made of it.
    pub plugin_data: Dictionary,
}

/// What the rules of one inspection may still use up.
#[derive(Clone, Debug)]
pub struct Budget {
    rounds: u32,
    bytes: usize,
    deadline: Instant,
}

/// Why rules cannot be applied; the inspection fails. Of a rule that is `sensitive` it says no more than which one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuleError {
    /// A rule says so.
    #[error("Failed to inspect hardware. Reason: {0}")]
    Fail(String),
    /// A condition cannot be looked at, or an action cannot be carried out.
    #[error("Inspection rule {rule} cannot be applied: {what} {number}: {reason}")]
    Broken {
        /// Its UUID.
        rule: String,
        /// `condition` or `action`.
        what: &'static str,
        /// Which one, counted from 1.
        number: usize,
        /// Why.
        reason: String,
    },
}

/// Why an action was not carried out.
enum Failure {
    /// It was the action to fail.
    Asked(String),
    /// It cannot be done.
    Impossible(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Impossible(reason)
    }
}

// === impl Budget ===

impl Budget {
    /// What one inspection may use, up to that time.
    #[must_use]
    pub fn until(deadline: Instant) -> Self {
        Self { rounds: MAX_ROUNDS, bytes: MAX_BYTES, deadline }
    }

    fn spend(&mut self, rounds: u32, bytes: usize) -> Result<(), String> {
        match (self.rounds.checked_sub(rounds), self.bytes.checked_sub(bytes)) {
            _ if Instant::now() > self.deadline => Err("the rules take too long".to_owned()),
            (Some(rounds), Some(bytes)) => {
                (self.rounds, self.bytes) = (rounds, bytes);
                Ok(())
            }
            (None, _) => {
                Err(format!("the rules have more than {MAX_ROUNDS} conditions and actions, loops counted"))
            }
            (_, None) => Err(format!("the arguments of the rules are larger than {MAX_BYTES} bytes")),
        }
    }
}

// === apply ===

/// Applies rules, those with the highest priority first. On an error, what is in `subject` is of no use.
pub fn apply(
    mut rules: Vec<InspectionRule>,
    subject: &mut Subject,
    budget: &mut Budget,
) -> Result<(), RuleError> {
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
    rules.iter().try_for_each(|rule| apply_one(rule, subject, budget))
}

fn apply_one(rule: &InspectionRule, subject: &mut Subject, budget: &mut Budget) -> Result<(), RuleError> {
    let broken = |what, index: usize, reason: String| RuleError::Broken {
        rule: rule.uuid.to_string(),
        what,
        number: index + 1,
        reason: match rule.sensitive {
            true => "the reason is not shown, because the rule is sensitive".to_owned(),
            false => reason,
        },
    };
    for (index, condition) in rule.conditions.iter().enumerate() {
        let holds = conditions::holds(condition, subject, rule.sensitive, budget)
            .map_err(|reason| broken("condition", index, reason))?;
        if !holds {
            return Ok(());
        }
    }
    tracing::info!(rule = %rule.uuid, "an inspection rule applies");
    for (index, action) in rule.actions.iter().enumerate() {
        actions::carry_out(action, subject, rule.sensitive, budget).map_err(|failure| match failure {
            Failure::Asked(_) if rule.sensitive => RuleError::Fail(format!(
                "inspection rule {} says so; its words are not shown, because it is sensitive",
                rule.uuid
            )),
            Failure::Asked(message) => RuleError::Fail(message),
            Failure::Impossible(reason) => broken("action", index, reason),
        })?;
    }
    Ok(())
}

/// What can be known to be wrong about a condition before there is anything to look at.
pub(super) fn check_condition(condition: &RuleItem) -> Result<(), String> {
    check_loop(condition)?;
    if condition.repeat.is_some() { Ok(()) } else { conditions::check(condition) }
}

/// The same of an action.
pub(super) fn check_action(action: &RuleItem) -> Result<(), String> {
    check_loop(action)?;
    actions::check(action)
}

fn check_loop(item: &RuleItem) -> Result<(), String> {
    match &item.repeat {
        Some(Value::Array(items)) if items.len() > MAX_LOOP => {
            Err(format!("{}: a loop has more than {MAX_LOOP} items", item.op))
        }
        _ => Ok(()),
    }
}

/// The items of a loop, their own names filled in; `None` when there is no loop.
fn loop_items(item: &RuleItem, scope: &Scope<'_>, mode: Mode) -> Result<Option<Vec<Value>>, String> {
    check_loop(item)?;
    let items = match &item.repeat {
        Some(Value::Array(items)) if !items.is_empty() => items.clone(),
        Some(Value::Object(map)) if !map.is_empty() => vec![Value::Object(map.clone())],
        _ => return Ok(None),
    };
    items.iter().map(|item| scope.fill(item, mode)).collect::<Result<_, _>>().map(Some)
}

fn needed<'a>(map: &'a Map<String, Value>, name: &str) -> Result<&'a Value, String> {
    map.get(name).ok_or_else(|| format!("missing required argument(s): {name}"))
}

fn word<'a>(map: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    needed(map, name)?.as_str().ok_or_else(|| format!("{name} must be a string"))
}

fn size(map: &Map<String, Value>) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(of).sum::<usize>() + 16,
            Value::Object(map) => size(map) + 16,
            Value::Null | Value::Bool(_) | Value::Number(_) => 16,
        }
    }
    map.iter().map(|(name, value)| name.len() + of(value)).sum()
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
