//! The operator's folder of rules: read at start, when somebody asks, and when it was changed.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

use super::{Library, QuirkError, load, stamp};

/// The folder, and what came of reading it.
#[derive(Clone, Debug)]
pub struct QuirkFolder {
    path: PathBuf,
    news: Arc<Mutex<News>>,
}

/// What came of the last reading.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// When the rules in force were read.
    pub read_at: Option<DateTime<Utc>>,
    /// Why what is there now is not in force.
    pub problem: Option<String>,
}

impl QuirkFolder {
    /// Reads it. Rules that cannot be used are no reason not to start: those of the program are then in force.
    pub async fn open(path: PathBuf) -> Self {
        let folder = Self { path, news: Arc::default() };
        folder.read().await.ok();
        folder
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// What came of the last reading.
    #[must_use]
    pub fn news(&self) -> News {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads it again. When anything in it cannot be used, what was in force stays.
    pub async fn read(&self) -> Result<Arc<Library>, QuirkError> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || load(Some(&path))).await;
        let result = match read {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(library) => {
                *news = News { read_at: Some(Utc::now()), problem: None };
                info!(folder = %self.path.display(), rules = library.rules().count(), "quirks of BMCs are in force");
            }
            Err(problem) => {
                let problem = crate::bmc::quirks::sentence(problem);
                error!(problem, "quirks of BMCs cannot be used; what was in force stays");
                news.problem = Some(problem);
            }
        }
        drop(news);
        result
    }

    /// Reads it again whenever it was changed.
    pub async fn watch(self, every: Duration) {
        let look =
            async |path: PathBuf| tokio::task::spawn_blocking(move || stamp(&path)).await.unwrap_or_default();
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = look(self.path.clone()).await;
        loop {
            ticks.tick().await;
            let now = look(self.path.clone()).await;
            if now != before {
                before = now;
                self.read().await.ok();
            }
        }
    }
}
