//! Steps that an operator gives: the lists of deploy templates and runbooks, checked.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Dictionary;

/// The interfaces that have steps.
pub const STEP_INTERFACES: [&str; 7] =
    ["bios", "deploy", "firmware", "management", "power", "raid", "vendor"];
/// Most steps in one list.
const MAX_STEPS: usize = 1000;
/// Longest name of a step.
const MAX_NAME: usize = 255;

/// Why a list of steps is refused; a sentence.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StepsError {
    /// Not a list, or one that is empty or too long.
    #[error("steps must be a list of 1 to {MAX_STEPS} steps")]
    List,
    /// A step that is not of the form of a step.
    #[error("step {number}: {problem}")]
    Step {
        /// Counts from 1.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A step that is there twice.
    #[error(
        "Duplicate deploy steps. A template cannot have multiple deploy steps with the same interface and step. \
         Duplicates: interface: {interface}, step: {step}"
    )]
    Duplicate {
        /// `bios`, …
        interface: String,
        /// Its name.
        step: String,
    },
}

/// A step as it was given, with its place in the list: `priority` or `order`.
pub(super) struct Given {
    pub(super) interface: String,
    pub(super) step: String,
    pub(super) args: Dictionary,
    pub(super) place: u32,
}

/// How a kind of list says its steps.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// The name of the place.
    pub(super) place: &'static str,
    /// Whether a step must have `args`.
    pub(super) needs_args: bool,
}

/// Reads a list of steps. Each of them may be there once.
pub(super) fn parse(steps: Value, form: Form) -> Result<Vec<Given>, StepsError> {
    let Value::Array(steps) = steps else { return Err(StepsError::List) };
    if steps.is_empty() || steps.len() > MAX_STEPS {
        return Err(StepsError::List);
    }
    let mut seen = BTreeSet::new();
    let mut given = Vec::with_capacity(steps.len());
    for (index, step) in steps.into_iter().enumerate() {
        let step =
            parse_step(step, form).map_err(|problem| StepsError::Step { number: index + 1, problem })?;
        if !seen.insert((step.interface.clone(), step.step.clone())) {
            return Err(StepsError::Duplicate { interface: step.interface, step: step.step });
        }
        given.push(step);
    }
    Ok(given)
}

fn parse_step(step: Value, form: Form) -> Result<Given, String> {
    let Value::Object(mut step) = step else { return Err("a step is an object".to_owned()) };
    let required = |name: &str| format!("'{name}' is a required property");
    let interface = match step.remove("interface") {
        Some(Value::String(name)) if STEP_INTERFACES.contains(&name.as_str()) => name,
        Some(_) => return Err(format!("'interface' is not one of {}", STEP_INTERFACES.join(", "))),
        None => return Err(required("interface")),
    };
    let name = match step.remove("step") {
        Some(Value::String(name)) if (1..=MAX_NAME).contains(&name.chars().count()) => name,
        Some(_) => return Err(format!("'step' must be a string of 1 to {MAX_NAME} characters")),
        None => return Err(required("step")),
    };
    let args = match step.remove("args") {
        Some(Value::Object(args)) => args,
        Some(_) => return Err("'args' must be an object".to_owned()),
        None if form.needs_args => return Err(required("args")),
        None => Dictionary::new(),
    };
    let place = step.remove(form.place).ok_or_else(|| required(form.place))?;
    let place =
        number(&place).ok_or_else(|| format!("'{}' must be a whole number of 0 or more", form.place))?;
    if let Some(name) = step.keys().next() {
        let name: String = name.chars().take(64).collect();
        return Err(format!("Additional properties are not allowed ('{name}' was unexpected)"));
    }
    Ok(Given { interface, step: name, args, place })
}

/// A number, also as text: OpenStack's command line sends both.
fn number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEMPLATE: Form = Form { place: "priority", needs_args: true };

    fn refusal(steps: Value) -> String {
        parse(steps, TEMPLATE).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn steps_are_read_and_what_is_no_step_is_refused_by_its_number() {
        let step = |priority: Value| json!({"interface": "bios", "step": "s", "args": {"a": 1}, "priority": priority});
        for (priority, wanted) in [(json!(150), 150), (json!("7"), 7), (json!(0), 0)] {
            assert_eq!(parse(json!([step(priority)]), TEMPLATE).unwrap()[0].place, wanted);
        }
        for bad in
            [json!(-1), json!(1.5), json!("x"), json!(""), json!("+1"), json!(5_000_000_000_u64), json!(null)]
        {
            assert!(
                refusal(json!([step(bad.clone())])).contains("'priority' must be a whole number"),
                "{bad}"
            );
        }
        let fine = step(json!(1));
        for (steps, problem) in [
            (json!([]), "steps must be a list of 1"),
            (json!({}), "steps must be a list of 1"),
            (json!([fine, {"interface": "soup"}]), "step 2: 'interface' is not one of bios"),
            (json!([{"step": "s"}]), "step 1: 'interface' is a required property"),
            (json!([{"interface": "bios", "step": ""}]), "'step' must be a string"),
            (json!([{"interface": "bios", "step": "s", "priority": 1}]), "'args' is a required property"),
            (json!([{"interface": "bios", "step": "s", "args": {}}]), "'priority' is a required property"),
            (
                json!([{"interface": "bios", "step": "s", "args": {}, "priority": 1, "order": 1}]),
                "('order' was unexpected)",
            ),
            (json!([fine, fine]), "Duplicates: interface: bios, step: s"),
        ] {
            let refusal = refusal(steps.clone());
            assert!(refusal.contains(problem), "{steps}: {refusal}");
        }
    }

    #[test]
    fn a_runbook_step_needs_no_arguments() {
        let form = Form { place: "order", needs_args: false };
        let given = parse(json!([{"interface": "raid", "step": "s", "order": 1}]), form).unwrap();
        assert!(given[0].args.is_empty());
    }
}
