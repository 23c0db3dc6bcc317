//! A row of an answer, from either database.

use sqlx::{Row as _, postgres::PgRow, sqlite::SqliteRow};

use super::super::{StoreError, database};

/// A row of an answer.
pub(in crate::store) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// A text that is there.
    pub(in crate::store) fn text(&self, column: usize) -> Result<&str, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(database("read a column"))
    }

    /// A text, or null.
    pub(in crate::store) fn maybe_text(&self, column: usize) -> Result<Option<&str>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(database("read a column"))
    }

    /// A number that is there.
    pub(in crate::store) fn number(&self, column: usize) -> Result<i64, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(database("read a column"))
    }

    /// A number, or null.
    pub(in crate::store) fn maybe_number(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(database("read a column"))
    }
}
