//! Tables and JSON on standard output.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    format: Format,
}

impl Output {
    /// In that format.
    pub(super) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether programs read it.
    pub(super) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Shows rows with these columns.
    pub(super) fn rows(self, columns: &[&str], rows: &[Value]) -> io::Result<()> {
        if self.is_json() {
            let picked: Vec<Value> = rows.iter().map(|row| pick(row, columns)).collect();
            return self.json(&picked.into());
        }
        let mut table = table();
        table.set_header(columns.to_vec());
        for row in rows {
            table.add_row(columns.iter().map(|column| cell(&row[*column])));
        }
        line(&table.to_string())
    }

    /// Shows an object, one field a row; fields without content only in JSON.
    pub(super) fn object(self, object: &Value) -> io::Result<()> {
        let Value::Object(fields) = object else { return self.json(object) };
        if self.is_json() {
            return self.json(object);
        }
        let mut table = table();
        table.set_header(vec!["field", "value"]);
        for (name, value) in fields.iter().filter(|(name, value)| !is_link(name) && !is_empty(value)) {
            table.add_row(vec![name.clone(), cell(value)]);
        }
        line(&table.to_string())
    }

    /// Says what was done: a sentence for people, the value for programs.
    pub(super) fn done(self, sentence: &str, value: &Value) -> io::Result<()> {
        if self.is_json() { self.json(value) } else { line(&printable(sentence)) }
    }

    fn json(self, value: &Value) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        line(&text)
    }
}

/// A line on standard output. A closed pipe is an error, not a panic.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Text from elsewhere without the control characters that would command a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

fn pick(row: &Value, columns: &[&str]) -> Value {
    columns.iter().map(|column| ((*column).to_owned(), row[*column].clone())).collect::<Map<_, _>>().into()
}

fn is_link(name: &str) -> bool {
    matches!(name, "links" | "ports" | "portgroups" | "states" | "volume")
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_cannot_command_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\u{9b}\nc"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}\nc");
    }
}
