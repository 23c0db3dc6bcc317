//! Root-device hints: which disk the operator means, in Ironic's words.
//!
//! All hints must match. Strings are compared without regard to case and surrounding blanks; `serial` and `wwn`
//! match when any of the disk's spellings does.

use serde_json::{Map, Value};

use super::{BlockDevice, human_size};

const GIB: u64 = 1 << 30;

/// Why hints cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HintError {
    /// There is no such hint.
    #[error("unknown root-device hint \"{name}\": known are {}", KNOWN.join(", "))]
    Unknown {
        /// The hint.
        name: String,
    },
    /// The value does not fit the hint.
    #[error("root-device hint \"{name}\" has the value {value}: it must be {expected}")]
    Value {
        /// The hint.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would fit.
        expected: &'static str,
    },
}

/// Every hint there is.
const KNOWN: [&str; 12] = [
    "size",
    "rotational",
    "model",
    "vendor",
    "serial",
    "wwn",
    "wwn_with_extension",
    "wwn_vendor_extension",
    "name",
    "hctl",
    "by_path",
    "tran",
];

/// Parsed hints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints(Vec<Hint>);

#[derive(Clone, Debug, PartialEq)]
struct Hint {
    name: &'static str,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Size(SizeTest),
    Rotational(bool),
    Text(TextTest),
}

/// A test of a size in GiB; more than one number is an `<or>`.
#[derive(Clone, Debug, PartialEq)]
struct SizeTest {
    operator: SizeOperator,
    gib: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SizeOperator {
    Equal,
    NotEqual,
    AtLeast,
    More,
    AtMost,
    Less,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TextTest {
    Equal(String),
    NotEqual(String),
    AtLeast(String),
    After(String),
    AtMost(String),
    Before(String),
    /// Contains all of these.
    Contains(Vec<String>),
    /// Is one of these.
    OneOf(Vec<String>),
}

impl Hints {
    /// Parses what a node or an instance carries as `root_device`.
    pub fn parse(hints: &Map<String, Value>) -> Result<Self, HintError> {
        let parse = |(name, value): (&String, &Value)| {
            let known = KNOWN.iter().find(|known| **known == name.as_str());
            let name = *known.ok_or_else(|| HintError::Unknown { name: name.chars().take(64).collect() })?;
            let test = match name {
                "size" => Test::Size(SizeTest::parse(value)?),
                "rotational" => Test::Rotational(boolean(value)?),
                _ => Test::Text(TextTest::parse(name, value)?),
            };
            Ok(Hint { name, test })
        };
        hints.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `None` when the disk fits, else why it does not: the first hint that fails.
    #[must_use]
    pub fn mismatch(&self, device: &BlockDevice) -> Option<String> {
        self.0.iter().find_map(|hint| hint.mismatch(device))
    }
}

impl Hint {
    fn mismatch(&self, device: &BlockDevice) -> Option<String> {
        match &self.test {
            Test::Size(test) => (!test.fits(device.size)).then(|| {
                format!(
                    "its size of {} ({} bytes) is not {}",
                    human_size(device.size),
                    device.size,
                    test.describe()
                )
            }),
            Test::Rotational(wanted) => (device.rotational != *wanted)
                .then(|| format!("it is {}rotational", if device.rotational { "" } else { "not " })),
            Test::Text(test) => {
                let values = values(self.name, device);
                if values.iter().any(|value| test.fits(&normal(value))) {
                    return None;
                }
                Some(match values.as_slice() {
                    [] => format!("it has no {}", self.name),
                    values => format!("its {} {} is not {}", self.name, values.join(" or "), test.describe()),
                })
            }
        }
    }
}

/// The disk's values for a text hint.
fn values(hint: &str, device: &BlockDevice) -> Vec<String> {
    let optional = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
    match hint {
        "model" => optional(&device.model),
        "vendor" => optional(&device.vendor),
        "serial" => device.serials.clone(),
        "wwn" => device.wwns().map(str::to_owned).collect(),
        "wwn_with_extension" => optional(&device.wwn.with_extension),
        "wwn_vendor_extension" => optional(&device.wwn.vendor_extension),
        "name" => vec![device.name()],
        "hctl" => optional(&device.hctl),
        "by_path" => device
            .by_path
            .iter()
            .flat_map(|name| [format!("/dev/disk/by-path/{name}"), name.clone()])
            .collect(),
        "tran" => optional(&device.tran),
        _ => Vec::new(),
    }
}

fn normal(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Booleans as Ironic accepts them.
fn boolean(value: &Value) -> Result<bool, HintError> {
    let error = || HintError::Value { name: "rotational", value: shown(value), expected: "true or false" };
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) => match normal(text).as_str() {
            "1" | "t" | "true" | "on" | "y" | "yes" => Ok(true),
            "0" | "f" | "false" | "off" | "n" | "no" => Ok(false),
            _ => Err(error()),
        },
        _ => Err(error()),
    }
}

/// A value in an error, bounded.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

impl SizeTest {
    fn parse(value: &Value) -> Result<Self, HintError> {
        let error = || HintError::Value {
            name: "size",
            value: shown(value),
            expected: "a positive number of GiB, with one of the operators = == != >= > <= < or <or> before it",
        };
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => return Err(error()),
        };
        let text = text.trim();
        let number = |text: &str| text.trim().parse().ok().filter(|gib| *gib > 0).ok_or_else(error);
        if let Some(alternatives) = text.strip_prefix("<or>") {
            let gib = alternatives.split("<or>").map(number).collect::<Result<_, _>>()?;
            return Ok(Self { operator: SizeOperator::Equal, gib });
        }
        // Longer operators first; Ironic's lone "=" means "at least".
        let operators = [
            ("==", SizeOperator::Equal),
            ("!=", SizeOperator::NotEqual),
            (">=", SizeOperator::AtLeast),
            ("<=", SizeOperator::AtMost),
            (">", SizeOperator::More),
            ("<", SizeOperator::Less),
            ("=", SizeOperator::AtLeast),
        ];
        let (operator, rest) = operators
            .into_iter()
            .find_map(|(text_of, operator)| Some((operator, text.strip_prefix(text_of)?)))
            .unwrap_or((SizeOperator::Equal, text));
        Ok(Self { operator, gib: vec![number(rest)?] })
    }

    fn fits(&self, bytes: u64) -> bool {
        self.gib.iter().any(|gib| {
            let order = u128::from(bytes).cmp(&(u128::from(*gib) * u128::from(GIB)));
            match self.operator {
                SizeOperator::Equal => order.is_eq(),
                SizeOperator::NotEqual => order.is_ne(),
                SizeOperator::AtLeast => order.is_ge(),
                SizeOperator::More => order.is_gt(),
                SizeOperator::AtMost => order.is_le(),
                SizeOperator::Less => order.is_lt(),
            }
        })
    }

    fn describe(&self) -> String {
        let word = match self.operator {
            SizeOperator::Equal => "exactly",
            SizeOperator::NotEqual => "other than",
            SizeOperator::AtLeast => "at least",
            SizeOperator::More => "more than",
            SizeOperator::AtMost => "at most",
            SizeOperator::Less => "less than",
        };
        let sizes: Vec<String> = self.gib.iter().map(|gib| format!("{gib} GiB")).collect();
        format!("{word} {}", sizes.join(" or "))
    }
}

impl TextTest {
    fn parse(name: &'static str, value: &Value) -> Result<Self, HintError> {
        let error = |expected| HintError::Value { name, value: shown(value), expected };
        let Value::String(given) = value else { return Err(error("a text")) };
        let text = normal(given);
        let list = |operator: &str, rest: &str| {
            let parts: Vec<String> = rest.split(operator).map(normal).collect();
            if parts.iter().any(String::is_empty) {
                Err(error("a text after each operator"))
            } else {
                Ok(parts)
            }
        };
        if let Some(rest) = text.strip_prefix("<or>") {
            return list("<or>", rest).map(Self::OneOf);
        }
        if let Some(rest) = text.strip_prefix("<all-in>") {
            return list("<all-in>", rest).map(Self::Contains);
        }
        if let Some(rest) = text.strip_prefix("<in>") {
            return list("<in>", rest).map(Self::Contains);
        }
        type Constructor = fn(String) -> TextTest;
        let operators: [(&str, Constructor); 6] = [
            ("s==", Self::Equal),
            ("s!=", Self::NotEqual),
            ("s>=", Self::AtLeast),
            ("s<=", Self::AtMost),
            ("s>", Self::After),
            ("s<", Self::Before),
        ];
        let (constructor, rest) = operators
            .into_iter()
            .find_map(|(operator, constructor)| Some((constructor, text.strip_prefix(operator)?)))
            .unwrap_or((Self::Equal, text.as_str()));
        let rest = normal(rest);
        if rest.is_empty() { Err(error("a text that is not empty")) } else { Ok(constructor(rest)) }
    }

    fn fits(&self, value: &str) -> bool {
        if value.is_empty() {
            return false;
        }
        match self {
            Self::Equal(wanted) => value == wanted,
            Self::NotEqual(wanted) => value != wanted,
            Self::AtLeast(wanted) => value >= wanted.as_str(),
            Self::After(wanted) => value > wanted.as_str(),
            Self::AtMost(wanted) => value <= wanted.as_str(),
            Self::Before(wanted) => value < wanted.as_str(),
            Self::Contains(all) => all.iter().all(|part| value.contains(part)),
            Self::OneOf(any) => any.iter().any(|wanted| value == wanted),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Equal(text) => format!("\"{text}\""),
            Self::NotEqual(text) => format!("other than \"{text}\""),
            Self::AtLeast(text) => format!("\"{text}\" or after it"),
            Self::After(text) => format!("after \"{text}\""),
            Self::AtMost(text) => format!("\"{text}\" or before it"),
            Self::Before(text) => format!("before \"{text}\""),
            Self::Contains(all) => format!("a text with \"{}\"", all.join("\" and \"")),
            Self::OneOf(any) => format!("\"{}\"", any.join("\" or \"")),
        }
    }
}

#[cfg(test)]
#[path = "hints_tests.rs"]
mod tests;
