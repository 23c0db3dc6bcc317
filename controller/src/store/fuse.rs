//! Stops the database at a chosen write, as a power cut would: for tests that kill the controller at each of them.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::{Store, db::Db};

/// Counts writes; never blows unless told to.
#[derive(Debug)]
pub(crate) struct Fuse {
    left: AtomicU64,
    failing: AtomicU64,
    news: Notify,
}

impl Store {
    /// That of its database.
    pub(crate) fn fuse(&self) -> &Fuse {
        self.inner.db.fuse()
    }
}

impl Db {
    pub(super) fn fuse(&self) -> &Fuse {
        match self {
            Self::Sqlite { fuse, .. } | Self::Postgres { fuse, .. } => fuse,
        }
    }
}

impl Default for Fuse {
    fn default() -> Self {
        Self { left: AtomicU64::new(u64::MAX), failing: AtomicU64::new(0), news: Notify::new() }
    }
}

impl Fuse {
    /// Lets so many writes pass and stops whoever wants one more.
    pub(crate) fn blow_after(&self, writes: u64) {
        self.left.store(writes, Ordering::SeqCst);
    }

    /// Somebody was stopped.
    pub(crate) async fn blown(&self) {
        self.news.notified().await;
    }

    /// Fails so many writes, as when the database is away.
    pub(crate) fn fail_next(&self, writes: u64) {
        self.failing.store(writes, Ordering::SeqCst);
    }

    /// How many of them are still to come.
    pub(crate) fn failing(&self) -> u64 {
        self.failing.load(Ordering::SeqCst)
    }

    /// Called before each write; does not come back when the fuse is blown.
    pub(super) async fn burn(&self) -> Result<(), sqlx::Error> {
        let failing =
            self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |failing| failing.checked_sub(1));
        if failing.is_ok() {
            return Err(sqlx::Error::PoolTimedOut);
        }
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() {
            self.news.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}
