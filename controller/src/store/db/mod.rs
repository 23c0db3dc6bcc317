//! The way to SQLite and PostgreSQL: the same statements, values and rows for both.
//!
//! Transactions are the default of each: SQLite has one writer, PostgreSQL reads what is committed. Nothing here
//! relies on more: rows are written with the version that was read, and unique values are constraints.

mod row;
mod sql;

use std::{sync::Arc, time::Duration};

use rand::Rng as _;
use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction};

pub(super) use self::{
    row::Row,
    sql::{Must, Sql, Value},
};
use super::{StoreError, database, fence::Fence};

/// How often a transaction is tried that others were in the way of, or whose connection broke.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// What PostgreSQL says when trying again helps: serialization failure, deadlock, and shutdown, crash or start of
/// the server.
const TRANSIENT: [&str; 5] = ["40001", "40P01", "57P01", "57P02", "57P03"];

/// Connections to the database.
#[derive(Debug)]
pub(super) enum Db {
    Sqlite {
        read: SqlitePool,
        /// One connection: writers queue here, not inside SQLite.
        write: SqlitePool,
        #[cfg(test)]
        fuse: super::fuse::Fuse,
    },
    Postgres {
        pool: PgPool,
        fence: Arc<Fence>,
        #[cfg(test)]
        fuse: super::fuse::Fuse,
    },
}

/// A transaction; taken back when it is dropped.
enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// What became of statements that were to be written together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All are; the last one changed so many rows.
    All(u64),
    /// None is: the statement of this index found or changed no row, and must have.
    Missed(usize),
}

macro_rules! query {
    ($database:ident, $sql:expr) => {{
        let mut query = sqlx::query::<$database>($sql.text());
        for value in &$sql.values {
            query = match value {
                Value::Text(text) => query.bind(text.as_deref().map(text_for::$database)),
                Value::Number(number) => query.bind(*number),
            };
        }
        query
    }};
}

/// Texts as each database takes them.
#[allow(non_snake_case, reason = "named as the types of the databases, for the macro")]
mod text_for {
    use std::borrow::Cow;

    pub(super) fn Sqlite(text: &str) -> &str {
        text
    }

    /// PostgreSQL has no NUL in texts: the sign for it takes its place, where it is written and where it is sought.
    pub(super) fn Postgres(text: &str) -> Cow<'_, str> {
        match text.contains('\0') {
            true => text.replace('\0', "\u{2400}").into(),
            false => text.into(),
        }
    }
}

// === impl Db ===

impl Db {
    /// All rows of a question.
    pub(super) async fn rows(&self, action: &'static str, sql: &Sql) -> Result<Vec<Row>, StoreError> {
        let mut patience = Patience::new();
        loop {
            let answer = match self {
                Self::Sqlite { read, .. } => {
                    let rows = query!(Sqlite, sql).fetch_all(read).await;
                    rows.map(|rows| rows.into_iter().map(Row::Sqlite).collect())
                }
                Self::Postgres { pool, .. } => {
                    let rows = query!(Postgres, sql).fetch_all(pool).await;
                    rows.map(|rows| rows.into_iter().map(Row::Postgres).collect())
                }
            };
            match answer {
                Err(error) if patience.waits(&error).await => {}
                answer => return answer.map_err(database(action)),
            }
        }
    }

    /// The one row of a question, if there is one.
    pub(super) async fn row(&self, action: &'static str, sql: &Sql) -> Result<Option<Row>, StoreError> {
        let mut patience = Patience::new();
        loop {
            let answer = match self {
                Self::Sqlite { read, .. } => {
                    query!(Sqlite, sql).fetch_optional(read).await.map(|row| row.map(Row::Sqlite))
                }
                Self::Postgres { pool, .. } => {
                    query!(Postgres, sql).fetch_optional(pool).await.map(|row| row.map(Row::Postgres))
                }
            };
            match answer {
                Err(error) if patience.waits(&error).await => {}
                answer => return answer.map_err(database(action)),
            }
        }
    }

    /// Writes by one statement; the number of rows it changed.
    pub(super) async fn run(&self, action: &'static str, sql: Sql) -> Result<u64, StoreError> {
        match self.write(action, &[sql]).await? {
            Written::All(rows) => Ok(rows),
            Written::Missed(_) => Ok(0),
        }
    }

    /// Writes statements in one transaction: all or none. Tried again when others were in the way, or the
    /// connection broke before the end.
    pub(super) async fn write(&self, action: &'static str, all: &[Sql]) -> Result<Written, StoreError> {
        let mut patience = Patience::new();
        loop {
            match self.write_once(all).await {
                Ok(None) => return Err(StoreError::Overtaken { action }),
                Ok(Some(written)) => return Ok(written),
                Err(error) if patience.waits(&error).await => {}
                Err(error) => return Err(database(action)(error)),
            }
        }
    }

    /// `None`: another controller has the database.
    async fn write_once(&self, all: &[Sql]) -> Result<Option<Written>, sqlx::Error> {
        let Some(mut tx) = self.begin().await? else { return Ok(None) };
        let mut rows = 0;
        for (index, sql) in all.iter().enumerate() {
            rows = match tx.run(sql).await {
                Ok(rows) => rows,
                Err(error) => {
                    // The database may have taken it back already: then there is nothing left to do.
                    tx.rollback().await.ok();
                    return Err(error);
                }
            };
            if rows == 0 && sql.must != Must::Nothing {
                tx.rollback().await?;
                return Ok(Some(Written::Missed(index)));
            }
        }
        tx.commit().await.map_err(|error| match error {
            // It may be written or not: only who asked can find out, so this is not tried again.
            sqlx::Error::Io(why) => sqlx::Error::Protocol(format!("the connection broke at the end: {why}")),
            error => error,
        })?;
        Ok(Some(Written::All(rows)))
    }

    /// A transaction that may write from its first statement on: no upgrade from reading can fail halfway.
    /// `None`: another controller has the database, and this one may write no more.
    async fn begin(&self) -> Result<Option<Tx>, sqlx::Error> {
        #[cfg(test)]
        self.fuse().burn().await?;
        Ok(match self {
            Self::Sqlite { write, .. } => Some(Tx::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?)),
            Self::Postgres { pool, fence, .. } => {
                let mut tx = pool.begin().await?;
                fence.holds(&mut tx).await?.then_some(Tx::Postgres(tx))
            }
        })
    }

    /// The expression for a text or flag inside of the document of a row.
    pub(super) fn document_text(&self, path: &[&str]) -> String {
        match self {
            Self::Sqlite { .. } => format!("(document ->> '$.{}')", path.join(".")),
            // Texts as they are, not as a language sorts them: SQLite does so by itself.
            // It refuses to read a document with a NUL in it.
            Self::Postgres { .. } => {
                let document = r"replace(document, '\u0000', '')::json";
                format!("(({document} #>> '{{{}}}') COLLATE \"C\")", path.join(","))
            }
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { read, write, .. } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres { pool, .. } => pool.close().await,
        }
    }
}

// === impl Patience ===

/// How often something is tried.
struct Patience {
    left: u32,
    pause: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { left: ATTEMPTS, pause: FIRST_PAUSE }
    }

    /// Waits a little when trying again may help; false when it does not, or was tried often enough.
    async fn waits(&mut self, error: &sqlx::Error) -> bool {
        self.left -= 1;
        if self.left == 0 || !is_transient(error) {
            return false;
        }
        tracing::debug!(error = error as &dyn std::error::Error, "the database is asked again");
        let part = rand::rng().random_range(0.5..1.5);
        tokio::time::sleep(self.pause.mul_f64(part)).await;
        self.pause *= 2;
        true
    }
}

fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        // What the row hangs on was removed after it was asked for: the next attempt finds that out.
        sqlx::Error::Database(error) if error.is_foreign_key_violation() => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| TRANSIENT.contains(&&*code)),
        _ => false,
    }
}

// === impl Tx ===

impl Tx {
    /// The number of rows that a statement changed or found.
    async fn run(&mut self, sql: &Sql) -> Result<u64, sqlx::Error> {
        match (self, sql.must) {
            (Self::Sqlite(tx), Must::Find) => {
                query!(Sqlite, sql).fetch_optional(&mut **tx).await.map(|row| row.iter().len() as u64)
            }
            (Self::Postgres(tx), Must::Find) => {
                query!(Postgres, sql).fetch_optional(&mut **tx).await.map(|row| row.iter().len() as u64)
            }
            (Self::Sqlite(tx), _) => {
                query!(Sqlite, sql).execute(&mut **tx).await.map(|done| done.rows_affected())
            }
            (Self::Postgres(tx), _) => {
                query!(Postgres, sql).execute(&mut **tx).await.map(|done| done.rows_affected())
            }
        }
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
    }

    async fn rollback(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx) => tx.rollback().await,
            Self::Postgres(tx) => tx.rollback().await,
        }
    }
}
