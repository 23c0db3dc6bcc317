//! A statement with its values, for either database.

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

/// A value of a statement: all columns hold texts or whole numbers.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
}

/// A statement and its values. Values never become part of the text.
pub(in crate::store) struct Sql {
    text: Text,
    pub(super) values: Vec<Value>,
    pub(super) must: Must,
}

/// What a statement must do, else the transaction is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Must {
    /// Anything.
    Nothing,
    /// Find a row: it is a question.
    Find,
    /// Change a row.
    Change,
}

enum Text {
    Fixed(&'static str),
    Built(String),
}

/// Without the values: they may be secrets.
impl std::fmt::Debug for Sql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Sql {
    /// A statement that names its values `$1`, `$2`, …; [`Self::with`] gives them.
    pub(in crate::store) fn new(text: &'static str) -> Self {
        Self { text: Text::Fixed(text), values: Vec::new(), must: Must::Nothing }
    }

    /// Gives the next value that the text names.
    pub(in crate::store) fn with(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Says what it must do.
    pub(in crate::store) fn must(mut self, must: Must) -> Self {
        self.must = must;
        self
    }

    /// Adds to the text.
    pub(in crate::store) fn push(&mut self, more: &str) -> &mut Self {
        match &mut self.text {
            Text::Fixed(text) => self.text = Text::Built(format!("{text}{more}")),
            Text::Built(text) => text.push_str(more),
        }
        self
    }

    /// Adds a value and its name (`$3`) to the text.
    pub(in crate::store) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let name = format!("${}", self.values.len());
        self.push(&name)
    }

    /// Adds values and their names, with commas between.
    pub(in crate::store) fn bind_list<V: Into<Value>>(
        &mut self,
        values: impl IntoIterator<Item = V>,
    ) -> &mut Self {
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            self.bind(value);
        }
        self
    }

    fn as_str(&self) -> &str {
        match &self.text {
            Text::Fixed(text) => text,
            Text::Built(text) => text,
        }
    }

    /// The text for the driver. Built texts are made of this crate's literals and value names only.
    pub(super) fn text(&self) -> SqlStr {
        match &self.text {
            Text::Fixed(text) => SqlStr::from_static(text),
            Text::Built(text) => AssertSqlSafe(text.clone()).into_sql_str(),
        }
    }
}

// === impl Value ===

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(Some(number.into()))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Number(Some(flag.into()))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}
