//! Comparing an answer with what was recorded: the same keys, types and values, except ids, times and addresses, which
//! are translated.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde_json::Value;
use uuid::Uuid;

use super::{Completeness, Expected};

const UUID_LENGTH: usize = 36;

/// Something that is not as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where: `/nodes/0/links/1/href`.
    pub at: String,
    /// What was recorded, and what there is.
    pub what: String,
}

/// How ids, host names and addresses of the recording are called here. An id of the recording that is met for the
/// first time takes the id that stands in its place.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    words: Vec<(String, String)>,
    ids: BTreeMap<Uuid, Uuid>,
}

impl Translation {
    /// Translates each word of the recording to the one beside it.
    #[must_use]
    pub fn new(words: Vec<(String, String)>) -> Self {
        Self { words, ids: BTreeMap::new() }
    }

    /// One more word, learned from an answer.
    pub fn add_word(&mut self, there: &str, here: &str) {
        if there != here {
            self.words.push((there.to_owned(), here.to_owned()));
        }
    }

    /// An id of a request is the same here.
    pub fn keep_ids(&mut self, text: &str) {
        for token in tokens(text) {
            if let Token::Id(id) = token {
                self.ids.entry(id).or_insert(id);
            }
        }
    }

    /// A text of the recording as it is said here.
    #[must_use]
    pub fn text(&self, recorded: &str) -> String {
        let mut text = recorded.to_owned();
        for (there, here) in &self.words {
            text = text.replace(there, here);
        }
        let known = |token| match token {
            Token::Id(id) => self.ids.get(&id).unwrap_or(&id).to_string(),
            Token::Text(text) => text.to_owned(),
        };
        tokens(&text).into_iter().map(known).collect()
    }

    /// A value of the recording as it is said here.
    #[must_use]
    pub fn value(&self, recorded: &Value) -> Value {
        match recorded {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(map) => {
                Value::Object(map.iter().map(|(key, value)| (key.clone(), self.value(value))).collect())
            }
            other => other.clone(),
        }
    }

    /// What of `answer` is not as expected.
    pub fn compare(&mut self, expected: &Expected, answer: Option<&Value>) -> Vec<Difference> {
        let mut found = Vec::new();
        match (expected, answer) {
            (Expected::Unknown, _) | (Expected::Nothing, None) => {}
            (Expected::Nothing, Some(answer)) => differ(&mut found, "", "no body", &short(answer)),
            (_, None) => differ(&mut found, "", "a body", "none"),
            (_, Some(answer)) => self.part(expected, answer, "", &mut found),
        }
        found
    }

    fn part(&mut self, expected: &Expected, actual: &Value, at: &str, found: &mut Vec<Difference>) {
        match (expected, actual) {
            (Expected::Unknown, _) => {}
            (Expected::Exactly(wanted), _) => self.same((wanted, Completeness::Whole), actual, at, found),
            (Expected::Begins(wanted), _) => self.same((wanted, Completeness::Cut), actual, at, found),
            (Expected::Object(fields), Value::Object(map)) => {
                for (key, value) in fields {
                    match map.get(key) {
                        Some(actual) => self.part(value, actual, &format!("{at}/{key}"), found),
                        None => differ(found, &format!("{at}/{key}"), "this key", "none"),
                    }
                }
                let unknown = map.keys().filter(|key| !fields.iter().any(|(name, _)| name == *key));
                unknown.for_each(|key| differ(found, &format!("{at}/{key}"), "no such key", "one"));
            }
            (Expected::Items(items, more), Value::Array(list)) => {
                if list.len() != items.len() + more {
                    differ(found, at, &format!("{} items", items.len() + more), &list.len().to_string());
                }
                for (index, (item, actual)) in items.iter().zip(list).enumerate() {
                    self.part(item, actual, &format!("{at}/{index}"), found);
                }
            }
            (Expected::Texts(names, complete), Value::Object(map)) => {
                for name in names.iter().filter(|name| !map.contains_key(*name)) {
                    differ(found, &format!("{at}/{name}"), "this key", "none");
                }
                for (key, value) in map {
                    if !value.is_string() || (*complete == Completeness::Whole && !names.contains(key)) {
                        differ(found, &format!("{at}/{key}"), "a text of a known key", &short(value));
                    }
                }
            }
            _ => differ(found, at, "an object or a list", &short(actual)),
        }
    }

    fn same(
        &mut self,
        (wanted, complete): (&Value, Completeness),
        actual: &Value,
        at: &str,
        found: &mut Vec<Difference>,
    ) {
        match (wanted, actual) {
            (Value::Object(wanted), Value::Object(map)) => {
                for (key, value) in wanted {
                    match map.get(key) {
                        Some(actual) => self.same((value, complete), actual, &format!("{at}/{key}"), found),
                        None => differ(found, &format!("{at}/{key}"), "this key", "none"),
                    }
                }
                if complete == Completeness::Whole {
                    let unknown = map.keys().filter(|key| !wanted.contains_key(*key));
                    unknown.for_each(|key| differ(found, &format!("{at}/{key}"), "no such key", "one"));
                }
            }
            (Value::Array(wanted), Value::Array(list)) => {
                if list.len() < wanted.len() || (complete == Completeness::Whole && list.len() > wanted.len())
                {
                    differ(found, at, &format!("{} items", wanted.len()), &list.len().to_string());
                }
                for (index, (item, actual)) in wanted.iter().zip(list).enumerate() {
                    self.same((item, complete), actual, &format!("{at}/{index}"), found);
                }
            }
            (Value::String(wanted), Value::String(text)) => {
                if !self.same_text(wanted, text) {
                    differ(found, at, &format!("{wanted:?}"), &short(actual));
                }
            }
            _ if wanted == actual => {}
            _ => differ(found, at, &short(wanted), &short(actual)),
        }
    }

    /// Equal up to ids, times and addresses. JSON in a text (errors are encoded twice) is compared as JSON.
    fn same_text(&mut self, wanted: &str, actual: &str) -> bool {
        if is_time(wanted) && is_time(actual) {
            return true;
        }
        let both = serde_json::from_str(wanted).ok().zip(serde_json::from_str(actual).ok());
        if let Some((wanted @ Value::Object(_), actual @ Value::Object(_))) = both {
            let mut found = Vec::new();
            self.same((&wanted, Completeness::Whole), &actual, "", &mut found);
            return found.is_empty();
        }
        let wanted = self.text(wanted);
        let (wanted, actual) = (tokens(&wanted), tokens(actual));
        wanted.len() == actual.len()
            && wanted.into_iter().zip(actual).all(|pair| match pair {
                (Token::Id(there), Token::Id(here)) => {
                    // `text` has translated what is known; the rest is met for the first time.
                    there == here
                        || (!self.ids.values().any(|id| *id == there)
                            && *self.ids.entry(there).or_insert(here) == here)
                }
                (there, here) => there == here,
            })
    }
}

fn differ(found: &mut Vec<Difference>, at: &str, wanted: &str, actual: &str) {
    found.push(Difference { at: at.to_owned(), what: format!("recorded: {wanted}; here: {actual}") });
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

/// `2026-11-21T01:31:14.447716+00:00`, or without an offset.
fn is_time(text: &str) -> bool {
    DateTime::parse_from_rfc3339(text).is_ok() || DateTime::parse_from_rfc3339(&format!("{text}Z")).is_ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Id(Uuid),
    Text(&'a str),
}

/// A text cut into ids and what is between them.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut start, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        let id = text.get(at..at + UUID_LENGTH).and_then(|part| Uuid::try_parse(part).ok());
        match id {
            Some(id) => {
                tokens.extend(text.get(start..at).filter(|text| !text.is_empty()).map(Token::Text));
                tokens.push(Token::Id(id));
                at += UUID_LENGTH;
                start = at;
            }
            None => at += 1,
        }
    }
    tokens.extend(text.get(start..).filter(|text| !text.is_empty()).map(Token::Text));
    tokens
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const THERE: &str = "8d1a9c6b-f03e-4051-8d5a-4a51af4596f1";
    const HERE: &str = "5f013c24-dc05-4f51-8092-0437f86adea2";

    fn recorded() -> Expected {
        Expected::Object(vec![
            ("uuid".into(), Expected::Exactly(json!(THERE))),
            ("created_at".into(), Expected::Exactly(json!("2026-11-21T01:31:14.447716+00:00"))),
            ("maintenance".into(), Expected::Exactly(json!(false))),
            ("conductor".into(), Expected::Exactly(json!("localhost.localdomain"))),
            (
                "links".into(),
                Expected::Items(
                    vec![Expected::Begins(json!({ "href": format!("http://there/v1/ports/{THERE}") }))],
                    1,
                ),
            ),
        ])
    }

    fn answer() -> Value {
        json!({
            "uuid": HERE, "created_at": "2027-01-01T00:00:00+00:00", "maintenance": false, "conductor": "here",
            "links": [{ "href": format!("http://here:1/v1/ports/{HERE}"), "rel": "self" }, { "href": "", "rel": "bookmark" }],
        })
    }

    fn compare(answer: &Value) -> Vec<String> {
        let words = vec![
            ("http://there".into(), "http://here:1".into()),
            ("localhost.localdomain".into(), "here".into()),
        ];
        let found = Translation::new(words).compare(&recorded(), Some(answer));
        found.into_iter().map(|difference| difference.at).collect()
    }

    #[test]
    fn ids_times_and_addresses_may_differ() {
        assert_eq!(compare(&answer()), Vec::<String>::new());
    }

    #[test]
    fn whatever_else_changes_is_seen() {
        let changed = |change: fn(&mut Value)| {
            let mut answer = answer();
            change(&mut answer);
            compare(&answer)
        };
        assert_eq!(changed(|a| a["maintenance"] = json!(true)), ["/maintenance"], "another value");
        assert_eq!(changed(|a| a["maintenance"] = json!("false")), ["/maintenance"], "another type");
        assert_eq!(changed(|a| a["maintenance"] = json!(null)), ["/maintenance"], "nothing");
        assert_eq!(changed(|a| a["created_at"] = json!(null)), ["/created_at"], "no time");
        assert_eq!(changed(|a| a["created_at"] = json!("yesterday")), ["/created_at"], "not a time");
        assert_eq!(changed(|a| a["uuid"] = json!("x")), ["/uuid"], "not an id");
        assert_eq!(
            changed(|a| drop(a.as_object_mut().unwrap().remove("conductor"))),
            ["/conductor"],
            "a missing key"
        );
        assert_eq!(changed(|a| a["more"] = json!(1)), ["/more"], "one more key");
        assert_eq!(changed(|a| drop(a["links"].as_array_mut().unwrap().pop())), ["/links"], "an item less");
        assert_eq!(
            changed(|a| a["links"][0]["href"] = json!("http://here:1/v1/ports/1")),
            ["/links/0/href"],
            "another link"
        );
        let other = |a: &mut Value| a["links"][0]["href"] = json!(format!("http://here:1/v1/ports/{THERE}"));
        let mut wrong = answer();
        other(&mut wrong);
        assert_eq!(compare(&wrong), ["/links/0/href"], "an id that is not the one it was before");
    }

    #[test]
    fn a_body_where_there_was_none_is_seen() {
        let mut translation = Translation::default();
        assert_eq!(translation.compare(&Expected::Nothing, None), []);
        assert_eq!(translation.compare(&Expected::Nothing, Some(&json!({}))).len(), 1);
        assert_eq!(translation.compare(&recorded(), None).len(), 1);
    }

    #[test]
    fn errors_are_compared_in_their_double_encoding() {
        let error = |text: &str| json!({ "error_message": json!({ "faultcode": "Client", "faultstring": text }).to_string() });
        let wanted = Expected::Exactly(error(&format!("Node {THERE} is gone.")));
        let mut translation = Translation::default();
        assert_eq!(translation.compare(&wanted, Some(&error(&format!("Node {HERE} is gone.")))), []);
        assert_eq!(translation.compare(&wanted, Some(&error("Node is gone."))).len(), 1);
        let plain = json!({ "error_message": { "faultcode": "Client", "faultstring": format!("Node {HERE} is gone.") } });
        assert_eq!(translation.compare(&wanted, Some(&plain)).len(), 1);
    }
}
