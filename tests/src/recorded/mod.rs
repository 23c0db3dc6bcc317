//! Traffic that was recorded between unmodified clients and a real Ironic, read so that it can be replayed.
//!
//! The header of `tests/fixtures/ironic-traffic.txt` says how it is laid out. What the recording leaves out (the rest of
//! a long value, keys that have not changed) is known to be left out: see [`Expected`].

mod compare;
mod parse;

use reqwest::Method;
use serde_json::{Map, Value};

pub use compare::{Difference, Translation};
pub use parse::{ParseError, parse};

/// One command of the recording, and the requests it made.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// `$ baremetal node list`, `$ curl …`, or a remark.
    pub text: String,
    /// What went over the wire, in order.
    pub exchanges: Vec<Exchange>,
}

/// A request and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// Line of the recording, from 1.
    pub line: usize,
    /// Method.
    pub method: Method,
    /// Path with query.
    pub path: String,
    /// Headers of the request.
    pub headers: Vec<(String, String)>,
    /// Body of the request.
    pub body: Option<Value>,
    /// Whether the recording shows only a part of the request.
    pub elided: bool,
    /// Status of the answer.
    pub status: u16,
    /// Headers of the answer.
    pub answer_headers: Vec<(String, String)>,
    /// Body of the answer.
    pub answer: Expected,
}

/// What an answer's body, or a part of it, must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// There is none.
    Nothing,
    /// Exactly this.
    Exactly(Value),
    /// At least this: the recording ends within it.
    Begins(Value),
    /// These, and so many more like the last.
    Items(Vec<Expected>, usize),
    /// An object with exactly these keys.
    Object(Vec<(String, Expected)>),
    /// An object with exactly these keys, whose values are texts.
    Texts(Vec<String>, Completeness),
    /// The recording does not say (more than that an earlier request was answered so, too).
    Unknown,
}

/// Whether a list of keys is all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// All.
    Whole,
    /// There are more.
    Cut,
}

impl Exchange {
    /// A header of the request.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// A header of the answer.
    #[must_use]
    pub fn answer_header(&self, name: &str) -> Option<&str> {
        find(&self.answer_headers, name)
    }

    /// The same, or as much of it as the recording has.
    #[must_use]
    pub fn begin_of(&self, key: &str) -> Option<&Value> {
        let Expected::Object(fields) = &self.answer else { return None };
        fields.iter().find_map(|(name, value)| match value {
            Expected::Exactly(value) | Expected::Begins(value) if name == key => Some(value),
            _ => None,
        })
    }

    /// The value of a key at the top of the answer, if the recording has all of it.
    #[must_use]
    pub fn answer_value(&self, key: &str) -> Option<&Value> {
        match &self.answer {
            Expected::Object(fields) => fields.iter().find_map(|(name, value)| match value {
                Expected::Exactly(value) if name == key => Some(value),
                _ => None,
            }),
            Expected::Exactly(Value::Object(map)) => map.get(key),
            _ => None,
        }
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The fields of an object.
fn fields(map: &Map<String, Value>) -> Vec<(String, Expected)> {
    map.iter().map(|(key, value)| (key.clone(), Expected::Exactly(value.clone()))).collect()
}
