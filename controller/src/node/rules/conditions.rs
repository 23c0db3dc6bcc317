//! Conditions of inspection rules.

use std::{cmp::Ordering, net::IpAddr};

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::{
    Budget, Subject,
    format::{self, Mode, Scope, python_text},
    loop_items, needed, shortened, size, word,
};
use crate::node::inspection_rule::RuleItem;

/// Largest compiled regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 256 * 1024;
/// Longest regular expression.
const MAX_PATTERN: usize = 4096;
/// Longest text that a regular expression is looked for in, in bytes.
const MAX_SEARCHED: usize = 64 * 1024;
/// To compile a regular expression is as much work as that many comparisons.
const REGEX_ROUNDS: u32 = 10;

/// Whether a condition holds.
pub(super) fn holds(
    condition: &RuleItem,
    subject: &Subject,
    sensitive: bool,
    budget: &mut Budget,
) -> Result<bool, String> {
    let (op, inverted) = condition.operator();
    let arguments = condition.arguments();
    let scope = Scope { subject, item: None, sensitive };
    let Some(items) = loop_items(condition, &scope, Mode::AsItIs)? else {
        return check_once(op, &arguments, &scope, budget).map(|holds| holds != inverted);
    };
    let way = condition.multiple.as_deref().unwrap_or("any");
    let mut results = Vec::with_capacity(items.len());
    for item in &items {
        let scope = Scope { item: Some(item), ..scope };
        let holds = check_once(op, &arguments, &scope, budget)? != inverted;
        if holds && way == "first" {
            return Ok(true);
        }
        results.push(holds);
    }
    Ok(match way {
        "all" => results.iter().all(|holds| *holds),
        "last" => results.last().copied().unwrap_or(false),
        _ => results.iter().any(|holds| *holds),
    })
}

/// What can be seen to be wrong before there is anything to compare.
pub(super) fn check(condition: &RuleItem) -> Result<(), String> {
    let (op, _) = condition.operator();
    let arguments = condition.arguments();
    let wrong = |reason: String| format!("{op}: {reason}");
    for (name, value) in arguments.iter().filter(|(name, _)| is_filled(op, name)) {
        format::check(value, false).map_err(|reason| wrong(format!("{name}: {reason}")))?;
    }
    match op {
        "eq" | "lt" | "gt" if !arguments.get("values").is_some_and(Value::is_array) => {
            Err(wrong("values must be a list".to_owned()))
        }
        "matches" | "contains" => {
            word(&arguments, "regex").and_then(|pattern| regex(pattern, false)).map(drop).map_err(wrong)
        }
        _ => Ok(()),
    }
}

/// Whether names are filled in an argument also when there is no loop.
fn is_filled(op: &str, argument: &str) -> bool {
    match argument {
        "regex" | "force_strings" => false,
        "values" => op != "one-of",
        _ => true,
    }
}

fn check_once(
    op: &str,
    arguments: &Map<String, Value>,
    scope: &Scope<'_>,
    budget: &mut Budget,
) -> Result<bool, String> {
    let mode = if matches!(op, "is-empty" | "is-none") { Mode::NullIfAbsent } else { Mode::IfFound };
    let mut filled = Map::new();
    for (name, value) in arguments {
        let value = match (is_filled(op, name), scope.item) {
            (true, _) => scope.fill(value, mode)?,
            (false, Some(_)) => scope.fill(value, Mode::AsItIs)?,
            (false, None) => value.clone(),
        };
        filled.insert(name.clone(), value);
    }
    let is_regex = matches!(op, "matches" | "contains");
    budget.spend(if is_regex { REGEX_ROUNDS } else { 1 }, size(&filled))?;
    evaluate(op, &filled, scope.item.is_some())
}

fn evaluate(op: &str, arguments: &Map<String, Value>, in_loop: bool) -> Result<bool, String> {
    let value = || needed(arguments, "value");
    match op {
        "eq" | "lt" | "gt" => compare(op, arguments, in_loop),
        "is-empty" => Ok(matches!(python_text(value()?).as_str(), "" | "None" | "[]" | "{}")),
        "is-none" => value().map(Value::is_null),
        "is-true" => value().map(|value| truth(value) == Some(true)),
        "is-false" => value().map(|value| value.is_null() || truth(value) == Some(false)),
        "in-net" => in_net(word(arguments, "address")?, word(arguments, "subnet")?),
        "one-of" => Ok(match arguments.get("values") {
            Some(Value::Array(values)) => {
                let value = value()?;
                values.iter().any(|one| same(one, value))
            }
            Some(Value::String(text)) => text.contains(&python_text(value()?)),
            _ => false,
        }),
        "matches" => search(arguments, true),
        "contains" => search(arguments, false),
        _ => Err(format!("Unsupported operator: '{}'", shortened(op))),
    }
}

/// Each value with the next one.
fn compare(op: &str, arguments: &Map<String, Value>, in_loop: bool) -> Result<bool, String> {
    let values = needed(arguments, "values")?.as_array().ok_or("values must be a list")?;
    let forced = arguments.get("force_strings") == Some(&Value::Bool(true));
    for pair in values.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        let holds = match op {
            "eq" if forced || in_loop => python_text(a) == python_text(b),
            "eq" => same(a, b),
            "lt" => order(a, b, forced)?.is_lt(),
            _ => order(a, b, forced)?.is_gt(),
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Values of different kinds are different; 4 and 4.0 are the same.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => a == b || x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

/// Texts that are numbers are compared as numbers: all that a name is replaced by is a text.
fn order(a: &Value, b: &Value, as_text: bool) -> Result<Ordering, String> {
    if as_text {
        return Ok(python_text(a).cmp(&python_text(b)));
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Ok(a.total_cmp(&b));
    }
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        _ => Err(format!(
            "neither of {} and {} is the larger one",
            shortened(&python_text(a)),
            shortened(&python_text(b))
        )),
    }
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite())
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_f64() != Some(0.0)),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "yes" | "true" => Some(true),
            "no" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn in_net(address: &str, subnet: &str) -> Result<bool, String> {
    let unusable = |what: &str| format!("\"{}\" is no address or network", shortened(what));
    let address: IpAddr = address.parse().map_err(|_| unusable(address))?;
    let (network, bits) = match subnet.split_once('/') {
        Some((network, bits)) => (network, Some(bits.parse::<u32>().map_err(|_| unusable(subnet))?)),
        None => (subnet, None),
    };
    let network: IpAddr = network.parse().map_err(|_| unusable(subnet))?;
    let (a, b, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return Ok(false),
    };
    let bits = bits.unwrap_or(width);
    let shift = width.checked_sub(bits).ok_or_else(|| unusable(subnet))?;
    Ok(a.checked_shr(shift).unwrap_or(0) == b.checked_shr(shift).unwrap_or(0))
}

fn search(arguments: &Map<String, Value>, whole: bool) -> Result<bool, String> {
    let text = python_text(needed(arguments, "value")?);
    if text.len() > MAX_SEARCHED {
        return Err(format!("value is longer than {MAX_SEARCHED} bytes"));
    }
    let pattern = word(arguments, "regex")?;
    Ok(regex(pattern, whole)?.is_match(&text))
}

/// Takes time that is linear in the text, whatever the expression.
fn regex(pattern: &str, whole: bool) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("a regular expression is longer than {MAX_PATTERN} bytes"));
    }
    let written = if whole { format!("^(?:{pattern})$") } else { pattern.to_owned() };
    let compiled = RegexBuilder::new(&written).size_limit(MAX_REGEX_BYTES).build();
    compiled.map_err(|error| {
        let pattern = shortened(pattern);
        match error {
            regex::Error::CompiledTooBig(_) => format!("the regular expression \"{pattern}\" is too large"),
            _ => format!(
                "invalid regular expression \"{pattern}\" (there is no look-around and no back-reference)"
            ),
        }
    })
}
