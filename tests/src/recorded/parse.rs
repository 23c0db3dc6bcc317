//! Reading the recording.

use std::collections::HashMap;

use reqwest::Method;
use serde_json::{Map, Value};

use super::{Command, Completeness, Exchange, Expected, fields};

const COMMAND: &str = "########";
const PART: &str = "====";
/// The one answer whose values the recording does not show.
const DESCRIPTIONS: &str = "keys (values are description strings)";

/// A line that is not understood.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the recording is not understood: {text}")]
pub struct ParseError {
    /// Which, from 1.
    pub line: usize,
    /// Its start.
    pub text: String,
}

/// Reads a whole recording. Requests whose answers it only tells of (`(as before) -> 202 Accepted`) are left out,
/// except a GET that says which status it had.
pub fn parse(text: &str) -> Result<Vec<Command>, ParseError> {
    let mut reader = Reader { lines: text.lines().enumerate().collect(), next: 0, seen: HashMap::new() };
    let mut commands = vec![Command { text: "before the first command".into(), exchanges: Vec::new() }];
    while let Some((number, line)) = reader.take() {
        if let Some(command) = line.strip_prefix(COMMAND) {
            commands.push(Command { text: command.trim().into(), exchanges: Vec::new() });
        } else if let Some(request) = line.strip_prefix("> ") {
            let exchange = reader.exchange(number, request)?;
            if let (Some(exchange), Some(command)) = (exchange, commands.last_mut()) {
                command.exchanges.push(exchange);
            }
        } else if line.starts_with(PART) {
            commands.push(Command { text: line.trim_matches(['=', ' ']).into(), exchanges: Vec::new() });
        }
    }
    commands.retain(|command| !command.exchanges.is_empty());
    Ok(commands)
}

struct Request {
    headers: Vec<(String, String)>,
    body: Option<Value>,
    elided: bool,
}

struct Reader<'a> {
    lines: Vec<(usize, &'a str)>,
    next: usize,
    /// The last body of each path, for "keys unchanged".
    seen: HashMap<String, Vec<(String, Expected)>>,
}

impl<'a> Reader<'a> {
    fn take(&mut self) -> Option<(usize, &'a str)> {
        let line = self.lines.get(self.next).copied();
        self.next += 1;
        line.map(|(index, text)| (index + 1, text))
    }

    /// The next line, if it belongs to the message that is being read.
    fn continued(&mut self) -> Option<(usize, &'a str)> {
        let (index, line) = self.lines.get(self.next).copied()?;
        line.starts_with("  ").then(|| {
            self.next += 1;
            (index + 1, line)
        })
    }

    fn exchange(&mut self, line: usize, request: &str) -> Result<Option<Exchange>, ParseError> {
        let wrong = || ParseError { line, text: request.chars().take(120).collect() };
        let (method, rest) = request.split_once(' ').ok_or_else(wrong)?;
        let method = method.parse::<Method>().map_err(|_| wrong())?;
        let (path, told) = rest.split_once(' ').unwrap_or((rest, ""));
        let path = path.to_owned();
        if let Some((_, status)) = told.split_once("-> ") {
            let status = status.get(..3).and_then(|code| code.parse().ok()).ok_or_else(wrong)?;
            let exchange = Exchange {
                line,
                method,
                path,
                headers: vec![("X-OpenStack-Ironic-API-Version".into(), "1.115".into())],
                body: None,
                elided: false,
                status,
                answer_headers: Vec::new(),
                answer: Expected::Unknown,
            };
            return Ok((exchange.method == Method::GET).then_some(exchange));
        }
        let Request { headers, body, elided } = self.request()?;
        let (number, answer) = self.take().ok_or_else(wrong)?;
        let status =
            answer.strip_prefix("< ").and_then(|text| text.get(..3)).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| ParseError { line: number, text: answer.into() })?;
        let (answer_headers, answer) = self.answer(&path)?;
        Ok(Some(Exchange { line, method, path, headers, body, elided, status, answer_headers, answer }))
    }

    fn request(&mut self) -> Result<Request, ParseError> {
        let (mut headers, mut body, mut elided) = (Vec::new(), None, false);
        while let Some((number, line)) = self.continued() {
            match Line::of(number, line)? {
                Line::Header(name, value) => headers.push((name, value)),
                Line::Whole(Expected::Exactly(value)) => body = Some(value),
                Line::Field(key, Expected::Exactly(value)) => {
                    let object = body.get_or_insert_with(|| Value::Object(Map::new()));
                    if let Value::Object(object) = object {
                        object.insert(key, value);
                    }
                }
                _ => elided = true,
            }
        }
        Ok(Request { headers, body, elided })
    }

    fn answer(&mut self, path: &str) -> Result<(Vec<(String, String)>, Expected), ParseError> {
        let (mut headers, mut whole, mut object, mut unchanged) = (Vec::new(), None, Vec::new(), false);
        while let Some((number, line)) = self.continued() {
            match Line::of(number, line)? {
                Line::Header(name, value) => headers.push((name, value)),
                Line::Whole(value) => whole = Some(value),
                Line::Field(key, value) => object.push((key, value)),
                Line::Same(value, keys) => {
                    object.extend(keys.into_iter().map(|key| (key, Expected::Exactly(value.clone()))));
                }
                Line::Unchanged => unchanged = true,
                Line::List(key) => object.push((key, self.list()?)),
            }
        }
        let partly = unchanged && !self.seen.contains_key(path);
        let before = self.seen.get(path).map(Vec::as_slice).unwrap_or_default();
        let kept = before.iter().filter(|(key, _)| !object.iter().any(|(name, _)| name == key));
        let kept: Vec<_> = if unchanged { kept.cloned().collect() } else { Vec::new() };
        object.extend(kept);
        with_links(path, &mut object);
        if let Some((key, Expected::Begins(Value::Array(names)) | Expected::Exactly(Value::Array(names)))) =
            object.first()
            && key == DESCRIPTIONS
        {
            let names = names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let cut = if matches!(object.first(), Some((_, Expected::Begins(_)))) {
                Completeness::Cut
            } else {
                Completeness::Whole
            };
            return Ok((headers, Expected::Texts(names, cut)));
        }
        if let Some(Expected::Exactly(Value::Object(map))) = &whole {
            object = fields(map);
        }
        let answer = match (object.is_empty(), whole) {
            // What has not changed was never shown.
            (false, _) if partly => at_least(object),
            (false, _) => {
                self.seen.insert(path.to_owned(), object.clone());
                Expected::Object(object)
            }
            (true, Some(whole)) => whole,
            (true, None) => Expected::Nothing,
        };
        Ok((headers, answer))
    }

    /// Items of a list up to its `]`.
    fn list(&mut self) -> Result<Expected, ParseError> {
        let (mut items, mut more) = (Vec::new(), 0);
        while let Some((number, line)) = self.continued() {
            let text = line.trim();
            if text == "]" {
                break;
            }
            match text.strip_prefix("…(").and_then(|text| text.strip_suffix(" more items)")) {
                Some(count) => {
                    more = count.parse().map_err(|_| ParseError { line: number, text: text.into() })?
                }
                None => items.push(value(number, text)?),
            }
        }
        Ok(Expected::Items(items, more))
    }
}

/// An object with these keys and others. What is no plain value is not compared.
fn at_least(fields: Vec<(String, Expected)>) -> Expected {
    let plain = fields.into_iter().filter_map(|(key, value)| match value {
        Expected::Exactly(value) => Some((key, value)),
        _ => None,
    });
    Expected::Begins(Value::Object(plain.collect()))
}

/// The recording hides the links of a resource once it has shown them.
fn with_links(path: &str, object: &mut Vec<(String, Expected)>) {
    let has = |name: &str| object.iter().any(|(key, _)| key == name);
    let whole = has("uuid") && has("created_at") && !has("links");
    let hidden: &[&str] = match path.split('/').nth(2) {
        Some("nodes") => &["links", "ports", "states", "portgroups", "volume"],
        Some("portgroups") => &["links", "ports"],
        _ => &["links"],
    };
    if whole {
        object.extend(hidden.iter().map(|key| ((*key).to_owned(), Expected::Unknown)));
    }
}

enum Line {
    Header(String, String),
    Whole(Expected),
    Field(String, Expected),
    Same(Value, Vec<String>),
    Unchanged,
    List(String),
}

impl Line {
    fn of(number: usize, line: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError { line: number, text: line.chars().take(120).collect() };
        let text = line.trim();
        if let Some(header) = line.strip_prefix("    ") {
            let (name, value) = header.split_once(": ").ok_or_else(wrong)?;
            return Ok(Self::Header(name.into(), value.into()));
        }
        if let Some(rest) = text.strip_prefix("(= ") {
            let (same, keys) = rest.split_once("): ").ok_or_else(wrong)?;
            let same = serde_json::from_str(same).map_err(|_| wrong())?;
            return Ok(Self::Same(same, keys.split(' ').map(str::to_owned).collect()));
        }
        if let Some(rest) = text.strip_prefix("…(") {
            return rest.contains(" keys unchanged").then_some(Self::Unchanged).ok_or_else(wrong);
        }
        if text.starts_with(['{', '[']) {
            return Ok(Self::Whole(value(number, text)?));
        }
        let (key, rest) =
            text.strip_prefix('"').and_then(|text| text.split_once("\": ")).ok_or_else(wrong)?;
        if rest == "[" {
            Ok(Self::List(key.into()))
        } else {
            Ok(Self::Field(key.into(), value(number, rest)?))
        }
    }
}

/// A JSON value, or the start of one: `{"a":1,"b":"xy…(386 chars)`.
fn value(line: usize, text: &str) -> Result<Expected, ParseError> {
    let wrong = || ParseError { line, text: text.chars().take(120).collect() };
    let cut = text.strip_suffix(" chars)").and_then(|text| text.rsplit_once("…("));
    // The longest lines are cut without a word.
    let start = cut.map_or(text, |(start, _)| start);
    match serde_json::from_str(text) {
        Ok(value) => Ok(Expected::Exactly(value)),
        Err(_) => closed(start.split_once('…').map_or(start, |(start, _)| start))
            .map(Expected::Begins)
            .ok_or_else(wrong),
    }
}

/// What the start of a JSON text says for sure: up to the last comma where closing all brackets makes sense.
fn closed(start: &str) -> Option<Value> {
    let (mut open, mut commas, mut quoted, mut escaped) = (Vec::new(), Vec::new(), false, false);
    for (at, letter) in start.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => drop(open.pop()),
            ',' => commas.push((at, open.iter().rev().collect::<String>())),
            _ => {}
        }
    }
    let candidates =
        commas.iter().rev().map(|(at, ends)| format!("{}{ends}", start.get(..*at).unwrap_or_default()));
    candidates.into_iter().find_map(|text| serde_json::from_str(&text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDING: &str = include_str!("../../fixtures/ironic-traffic.txt");

    #[test]
    fn the_whole_recording_is_understood() {
        let commands = parse(RECORDING).unwrap();
        let exchanges: Vec<_> = commands.iter().flat_map(|command| &command.exchanges).collect();
        assert!(exchanges.len() > 200, "{}", exchanges.len());
        let shown = exchanges.iter().filter(|e| e.path == "/v1/nodes/node-0" && e.method == Method::GET);
        for exchange in shown {
            let Expected::Object(fields) = &exchange.answer else { panic!("{exchange:?}") };
            assert_eq!(fields.len(), 69, "line {}: a node has 69 keys", exchange.line);
        }
        let kinds = |wanted: fn(&Expected) -> bool| exchanges.iter().filter(|e| wanted(&e.answer)).count();
        assert_eq!(kinds(|answer| matches!(answer, Expected::Texts(..))), 1);
        assert!(kinds(|answer| matches!(answer, Expected::Nothing)) > 40);
    }

    #[test]
    fn a_cut_value_says_what_it_says_for_sure() {
        let cut = r#"{"a":1,"links":[{"href":"x","rel":"self"},{"href":"y, z","re"#;
        assert_eq!(
            closed(cut).unwrap(),
            serde_json::json!({ "a": 1, "links": [{ "href": "x", "rel": "self" }, { "href": "y, z" }] })
        );
    }
}
