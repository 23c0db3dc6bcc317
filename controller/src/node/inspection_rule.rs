//! Inspection rules: what is done with a node when its inspection finds something.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::rules;

/// The only phase of an inspection that has rules.
pub const PHASE: &str = "main";
/// Highest priority of a rule.
pub const MAX_PRIORITY: i64 = 9999;
/// Most conditions or actions of one rule.
const MAX_ITEMS: usize = 1000;

/// What an operator or an action takes: what it must be given, and what it may be given.
type Signature = (&'static str, &'static [&'static str], &'static [&'static str]);

/// The operators of conditions; a `!` before the name turns the answer round.
const OPERATORS: &[Signature] = &[
    ("eq", &["values"], &["force_strings"]),
    ("lt", &["values"], &["force_strings"]),
    ("gt", &["values"], &["force_strings"]),
    ("is-empty", &["value"], &[]),
    ("in-net", &["address", "subnet"], &[]),
    ("matches", &["value", "regex"], &[]),
    ("contains", &["value", "regex"], &[]),
    ("one-of", &["value"], &["values"]),
    ("is-none", &["value"], &[]),
    ("is-true", &["value"], &[]),
    ("is-false", &["value"], &[]),
];

/// The actions.
const ACTIONS: &[Signature] = &[
    ("fail", &["msg"], &[]),
    ("log", &["msg"], &["level"]),
    ("set-attribute", &["path", "value"], &[]),
    ("extend-attribute", &["path", "value"], &["unique"]),
    ("del-attribute", &["path"], &[]),
    ("set-capability", &["name", "value"], &[]),
    ("unset-capability", &["name"], &[]),
    ("add-trait", &["name"], &[]),
    ("remove-trait", &["name"], &[]),
    ("set-plugin-data", &["path", "value"], &[]),
    ("extend-plugin-data", &["path", "value"], &["unique"]),
    ("unset-plugin-data", &["path"], &[]),
    ("set-port-attribute", &["port_id", "path", "value"], &[]),
    ("extend-port-attribute", &["port_id", "path", "value"], &["unique"]),
    ("del-port-attribute", &["port_id", "path"], &[]),
    (
        "api-call",
        &["url"],
        &[
            "headers",
            "proxies",
            "timeout",
            "retries",
            "backoff_factor",
            "status_forcelist",
            "allowed_methods",
        ],
    ),
];

/// Ironic's inspection rule.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct InspectionRule {
    /// `uuid`.
    pub uuid: Uuid,
    /// `description`.
    #[serde(default)]
    pub description: Option<String>,
    /// `priority`: higher ones are applied first.
    #[serde(default)]
    pub priority: i64,
    /// `sensitive`: conditions and actions are never shown.
    #[serde(default)]
    pub sensitive: bool,
    /// `phase`.
    pub phase: String,
    /// `conditions`: all of them must hold.
    #[serde(default)]
    pub conditions: Vec<RuleItem>,
    /// `actions`.
    pub actions: Vec<RuleItem>,
}

/// A condition or an action.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleItem {
    /// Its name.
    pub op: String,
    /// Its arguments: a list in the order of their names, or an object.
    pub args: Value,
    /// What it is repeated for.
    #[serde(rename = "loop", default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Value>,
    /// How a repeated condition counts: `any`, `all`, `first`, `last`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiple: Option<String>,
}

/// Without conditions and actions: they may hold secrets.
impl std::fmt::Debug for InspectionRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InspectionRule").field("uuid", &self.uuid).finish_non_exhaustive()
    }
}

impl InspectionRule {
    /// The conditions of a request body.
    pub fn parse_conditions(conditions: Value) -> Result<Vec<RuleItem>, String> {
        match conditions {
            Value::Null => Ok(Vec::new()),
            conditions => {
                let conditions = items(conditions, "condition", OPERATORS)?;
                conditions.iter().try_for_each(rules::check_condition)?;
                Ok(conditions)
            }
        }
    }

    /// The actions of a request body; there must be one.
    pub fn parse_actions(actions: Value) -> Result<Vec<RuleItem>, String> {
        let actions = items(actions, "action", ACTIONS)?;
        if actions.is_empty() {
            return Err("[] should be non-empty".to_owned());
        }
        actions.iter().try_for_each(rules::check_action)?;
        Ok(actions)
    }
}

impl RuleItem {
    /// The name without `!`, and whether there was one.
    #[must_use]
    pub fn operator(&self) -> (&str, bool) {
        match self.op.strip_prefix('!') {
            Some(op) => (op, true),
            None => (&self.op, false),
        }
    }

    /// The arguments by name, whichever way they were given.
    #[must_use]
    pub fn arguments(&self) -> Map<String, Value> {
        match &self.args {
            Value::Object(map) => map.clone(),
            Value::Array(values) => {
                let (op, _) = self.operator();
                let found = OPERATORS.iter().chain(ACTIONS).find(|(name, ..)| *name == op);
                let names = found.into_iter().flat_map(|(_, must, may)| must.iter().chain(*may));
                names.map(|name| (*name).to_owned()).zip(values.iter().cloned()).collect()
            }
            _ => Map::new(),
        }
    }
}

fn items(list: Value, what: &str, known: &[Signature]) -> Result<Vec<RuleItem>, String> {
    let Value::Array(list) = list else { return Err(format!("{what}s must be a list")) };
    if list.len() > MAX_ITEMS {
        return Err(format!("there are more than {MAX_ITEMS} {what}s"));
    }
    list.into_iter().map(|item| parse_item(item, what, known)).collect()
}

fn parse_item(item: Value, what: &str, known: &[Signature]) -> Result<RuleItem, String> {
    let Value::Object(mut item) = item else { return Err(format!("each {what} must be an object")) };
    let required = |name: &str| format!("'{name}' is a required property of each {what}");
    let op = match item.remove("op") {
        Some(Value::String(op)) => op,
        Some(_) => return Err("'op' must be a string".to_owned()),
        None => return Err(required("op")),
    };
    let name = if what == "condition" { op.strip_prefix('!').unwrap_or(&op) } else { &op };
    let Some(signature) = known.iter().find(|(known, ..)| *known == name) else {
        let names: Vec<_> = known.iter().map(|(name, ..)| *name).collect();
        let op: String = op.chars().take(64).collect();
        return Err(format!("'{op}' is not one of {}", names.join(", ")));
    };
    let args = item.remove("args").ok_or_else(|| required("args"))?;
    check_arguments(&args, signature)?;
    let repeat = match item.remove("loop") {
        None | Some(Value::Null) => None,
        Some(repeat @ (Value::Array(_) | Value::Object(_))) => Some(repeat),
        Some(_) => return Err("'loop' must be a list or an object".to_owned()),
    };
    let multiple = match item.remove("multiple") {
        None | Some(Value::Null) => None,
        Some(Value::String(word)) if matches!(word.as_str(), "any" | "all" | "first" | "last") => Some(word),
        Some(_) => return Err("'multiple' is not one of any, all, first, last".to_owned()),
    };
    if let Some(name) = item.keys().next() {
        let name: String = name.chars().take(64).collect();
        return Err(format!("Additional properties are not allowed ('{name}' was unexpected)"));
    }
    Ok(RuleItem { op, args, repeat, multiple })
}

fn check_arguments(args: &Value, (op, must, may): &Signature) -> Result<(), String> {
    let missing = |names: Vec<&str>| format!("{op}: missing required argument(s): {}", names.join(", "));
    match args {
        Value::Array(values) => {
            if values.len() < must.len() {
                return Err(missing(must.iter().skip(values.len()).copied().collect()));
            }
            if values.len() > must.len() + may.len() {
                return Err(format!("{op}: too many arguments"));
            }
        }
        Value::Object(map) => {
            let absent: Vec<_> = must.iter().copied().filter(|name| !map.contains_key(*name)).collect();
            if !absent.is_empty() {
                return Err(missing(absent));
            }
            let unknown = |name: &&String| !must.contains(&name.as_str()) && !may.contains(&name.as_str());
            if let Some(name) = map.keys().find(unknown) {
                let name: String = name.chars().take(64).collect();
                return Err(format!("{op}: unexpected argument(s): {name}"));
            }
        }
        _ => return Err(format!("{op}: 'args' must be a list or an object")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_come_by_place_or_by_name() {
        let actions = json!([
            {"op": "set-attribute", "args": ["/extra/a", 1]},
            {"op": "set-attribute", "args": {"path": "/extra/a", "value": 1}},
        ]);
        let actions = InspectionRule::parse_actions(actions).unwrap();
        assert_eq!(actions[0].arguments(), actions[1].arguments());
        let conditions = json!([{"op": "!eq", "args": {"values": [1, 2]}, "loop": ["x"], "multiple": "all"}]);
        let conditions = InspectionRule::parse_conditions(conditions).unwrap();
        assert_eq!(conditions[0].operator(), ("eq", true));
    }

    #[test]
    fn what_cannot_be_applied_is_refused() {
        for (conditions, problem) in [
            (json!([{"op": "like", "args": {}}]), "'like' is not one of eq, lt"),
            (json!([{"op": "! eq", "args": {"values": []}}]), "is not one of"),
            (json!([{"op": "eq", "args": {"values": 5}}]), "values must be a list"),
            (json!([{"op": "eq", "args": {"values": ["{cpu}", 5]}}]), "\"{cpu}\": names begin with"),
            (json!([{"op": "is-none", "args": ["{item}"]}]), "in a loop only"),
            (json!([{"op": "is-none", "args": ["{inventory"]}]), "a single {"),
            (json!([{"op": "matches", "args": ["x", "(?=a)"]}]), "no look-around"),
            (json!([{"op": "!contains", "args": ["x", "(\\w{99}){99}"]}]), "is too large"),
            (json!([{"op": "is-none", "args": [1], "loop": vec![0; 257]}]), "more than 256"),
            (json!([{"op": "eq", "args": {}}]), "missing required argument(s): values"),
            (json!([{"op": "eq", "args": {"values": [], "x": 1}}]), "unexpected argument(s): x"),
            (json!([{"op": "eq"}]), "'args' is a required"),
            (json!([{"op": "is-none", "args": [1, 2]}]), "too many arguments"),
            (json!([{"op": "is-none", "args": [1], "loop": 5}]), "'loop' must be"),
            (json!([{"op": "is-none", "args": [1], "multiple": "most"}]), "'multiple' is not"),
            (json!([5]), "must be an object"),
            (json!({}), "must be a list"),
        ] {
            let refusal = InspectionRule::parse_conditions(conditions.clone()).err().unwrap_or_default();
            assert!(refusal.contains(problem), "{conditions}: {refusal}");
        }
        for (actions, problem) in [
            (json!([]), "non-empty"),
            (json!([{"op": "!fail", "args": ["x"]}]), "'!fail' is not one of fail"),
            (json!([{"op": "explode", "args": {}}]), "'explode' is not one of fail"),
            (json!([{"op": "fail", "args": {}}]), "missing required argument(s): msg"),
            (json!([{"op": "api-call", "args": ["http://169.254.169.254/"]}]), "sends no requests"),
            (json!([{"op": "log", "args": {"msg": "x", "level": "loud"}}]), "level is none of"),
            (json!([{"op": "add-trait", "args": ["gold"]}]), "is no trait"),
            (json!([{"op": "set-attribute", "args": ["provision_state", "active"]}]), "may not be changed"),
            (json!([{"op": "set-attribute", "args": ["name/x", "y"]}]), "is no object"),
            (json!([{"op": "set-attribute", "args": ["extra//x", "y"]}]), "cannot be used"),
            (json!([{"op": "set-attribute", "args": ["extra/x", "{cpu}"]}]), "names begin with"),
            (json!([{"op": "del-port-attribute", "args": ["p", "address"]}]), "may not be changed"),
        ] {
            let refusal = InspectionRule::parse_actions(actions.clone()).err().unwrap_or_default();
            assert!(refusal.contains(problem), "{actions}: {refusal}");
        }
    }
}
