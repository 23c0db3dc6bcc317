//! Query strings: typed arguments, pagination, sorting.

use std::{cmp::Ordering, collections::BTreeMap};

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde_json::Value;
use url::form_urlencoded;
use uuid::Uuid;

use super::{
    State,
    error::ApiError,
    fields::{self, Field},
    links::Context,
    value,
    version::Version,
};

/// Of most listings.
pub(super) const DETAIL_SINCE: u16 = 43;

/// The arguments of a query string. Handlers take what they know; [`Query::finish`] refuses the rest.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    arguments: BTreeMap<String, String>,
    taken: Vec<(&'static str, String)>,
    /// The minor version since when `detail` may be asked for.
    detail_since: u16,
}

/// Which part of a listing is asked for.
#[derive(Debug)]
pub(super) struct Page {
    limit: usize,
    marker: Option<String>,
    sort_key: String,
    descending: bool,
}

/// Which fields of a listing are asked for.
#[derive(Debug)]
pub(super) struct Columns {
    /// Their names.
    pub(super) names: Vec<&'static str>,
    /// Nobody asked for any: the link to the next page names them.
    pub(super) are_default: bool,
}

impl Columns {
    /// All fields that a version knows.
    pub(super) fn all(table: &'static [Field], version: Version) -> Self {
        Self { names: fields::known(table, version), are_default: false }
    }
}

impl FromRequestParts<State> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, ApiError> {
        let raw = parts.uri.query().unwrap_or_default();
        let arguments = form_urlencoded::parse(raw.as_bytes()).into_owned().collect();
        Ok(Self { arguments, taken: Vec::new(), detail_since: DETAIL_SINCE })
    }
}

impl Query {
    /// An argument that the path gives.
    pub(super) fn preset(&mut self, name: &'static str, value: String) {
        self.arguments.insert(name.to_owned(), value);
    }

    /// `detail` came with another version than elsewhere.
    pub(super) fn detail_came_with(&mut self, minor: u16) {
        self.detail_since = minor;
    }

    /// Whether there is such an argument that nobody took yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.arguments.contains_key(name)
    }

    /// An argument as text.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        let text = self.arguments.remove(name)?;
        self.taken.push((name, text.clone()));
        Some(text)
    }

    /// An argument as a boolean.
    pub(super) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, ApiError> {
        self.text(name)
            .map(|text| {
                value::boolean_word(&text).ok_or_else(|| ApiError::bad(value::no_boolean(name, &text)))
            })
            .transpose()
    }

    /// An argument as a number.
    pub(super) fn number<T: std::str::FromStr>(&mut self, name: &'static str) -> Result<Option<T>, ApiError> {
        self.text(name).map(|text| text.parse().map_err(|_| unusable(name, &text))).transpose()
    }

    /// An argument as a comma-separated list.
    pub(super) fn list(&mut self, name: &'static str) -> Option<Vec<String>> {
        let text = self.text(name)?;
        Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }

    /// `fields` and `detail`: which fields a listing shows.
    pub(super) fn columns(
        &mut self,
        table: &'static [Field],
        defaults: &'static [&'static str],
        version: Version,
        all_by_default: bool,
    ) -> Result<Columns, ApiError> {
        let newer = |name: &String| fields::find(table, name).is_some_and(|field| !version.has(field.since));
        if let Some(name) = self.arguments.get("sort_key").filter(|name| newer(name)) {
            return Err(ApiError::too_old(&format!("the field {name}")));
        }
        let detail = self.boolean("detail")?;
        if let Some(detail) = detail
            && !version.has(self.detail_since)
        {
            let word = if detail { "True" } else { "False" };
            return Err(ApiError::bad(format!("Invalid query parameter ?detail={word} received.")));
        }
        let detail = detail.unwrap_or(all_by_default);
        match self.list("fields") {
            Some(_) if detail => {
                Err(ApiError::bad("Can not specify ?detail=True and fields in the same request."))
            }
            Some(_) if !version.has(8) => Err(ApiError::too_old("the argument fields")),
            Some(names) => {
                Ok(Columns { names: fields::requested(table, &names, version)?, are_default: false })
            }
            None if detail => Ok(Columns::all(table, version)),
            None => Ok(Columns { names: fields::defaults(table, defaults, version), are_default: true }),
        }
    }

    /// `limit`, `marker`, `sort_key`, `sort_dir`.
    pub(super) fn page(&mut self, max_limit: usize, sortable: &[&str]) -> Result<Page, ApiError> {
        let limit = match self.number::<i64>("limit")? {
            None => max_limit,
            Some(limit) => match usize::try_from(limit) {
                Ok(limit) if limit > 0 => limit.min(max_limit),
                _ => return Err(ApiError::bad("Limit must be positive")),
            },
        };
        let marker = self.text("marker");
        let sort_key = self.text("sort_key").unwrap_or_else(|| "id".to_owned());
        if sort_key != "id" && !sortable.contains(&sort_key.as_str()) {
            let sentence = format!("The sort_key value \"{sort_key}\" is an invalid field for sorting");
            return Err(ApiError::bad(sentence));
        }
        let descending = match self.text("sort_dir").as_deref() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(other) => {
                let sentence =
                    format!("Invalid sort direction: {other}. Acceptable values are 'asc' or 'desc'.");
                return Err(ApiError::bad(sentence));
            }
        };
        self.taken.retain(|(name, _)| !matches!(*name, "limit" | "marker" | "sort_key" | "sort_dir"));
        Ok(Page { limit, marker, sort_key, descending })
    }

    /// Refuses arguments that nobody took. What was taken is what the `next` link repeats.
    pub(super) fn finish(self) -> Result<Vec<(&'static str, String)>, ApiError> {
        if self.arguments.is_empty() {
            return Ok(self.taken);
        }
        let names: Vec<_> = self.arguments.into_keys().collect();
        Err(ApiError::bad(format!("Unexpected arguments: {}", names.join(", "))))
    }
}

impl Page {
    /// How many rows at most.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The row that the page comes after.
    pub(super) fn marker(&self) -> Option<&str> {
        self.marker.as_deref()
    }

    /// Refuses a marker that is no UUID.
    pub(super) fn check_marker(&self) -> Result<(), ApiError> {
        match self.marker.as_deref().filter(|marker| marker.parse::<Uuid>().is_err()) {
            Some(marker) => {
                Err(ApiError::bad(format!("Expected UUID for marker: {}", value::shortened(marker))))
            }
            None => Ok(()),
        }
    }

    /// The field to sort by; `id` is the order of creation.
    pub(super) fn sort_key(&self) -> &str {
        &self.sort_key
    }

    /// Whether the order is from the last to the first.
    pub(super) fn is_descending(&self) -> bool {
        self.descending
    }

    /// Sorts `rows` (in order of creation) and cuts the asked page out of those to keep. True when there may be
    /// more. The marker may be a row that is not kept (any more). An unknown marker is the error.
    pub(super) fn cut<T>(
        &self,
        mut rows: Vec<T>,
        id: impl Fn(&T) -> String,
        key: impl Fn(&T, &str) -> Value,
        keep: impl Fn(&T) -> bool,
    ) -> Result<(Vec<T>, bool), String> {
        if self.sort_key != "id" {
            rows.sort_by_cached_key(|row| SortKey(key(row, &self.sort_key)));
        }
        if self.descending {
            rows.reverse();
        }
        if let Some(marker) = &self.marker {
            let at = rows.iter().position(|row| id(row) == *marker).ok_or_else(|| marker.clone())?;
            rows.drain(..=at);
        }
        rows.retain(keep);
        rows.truncate(self.limit);
        let full = rows.len() == self.limit;
        Ok((rows, full))
    }

    /// URL of the page after the one that ends with `last`.
    pub(super) fn next(
        &self,
        context: &Context,
        path: &str,
        arguments: &[(&'static str, String)],
        last: &str,
    ) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("sort_key", &self.sort_key);
        query.append_pair("sort_dir", if self.descending { "desc" } else { "asc" });
        query.extend_pairs(arguments);
        query.append_pair("limit", &self.limit.to_string());
        query.append_pair("marker", last);
        format!("{}?{}", context.url(path), query.finish().replace("%2C", ","))
    }
}

fn unusable(name: &str, text: &str) -> ApiError {
    let text: String = text.chars().take(64).collect();
    ApiError::bad(format!("Invalid value for {name}: \"{text}\"."))
}

/// Orders JSON values as a database would: null, then booleans, numbers, texts.
#[derive(PartialEq)]
struct SortKey(Value);

impl Eq for SortKey {}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (a, b) => {
                let rank = |value: &Value| match value {
                    Value::Null => 0,
                    Value::Bool(_) => 1,
                    Value::Number(_) => 2,
                    _ => 3,
                };
                rank(a).cmp(&rank(b))
            }
        }
    }
}
