//! What each stage did and how long it waited: the receipt says which one to speed up.

use std::time::{Duration, Instant};

use bessemer_proto::step::StageWork;

/// The clock of one stage. It runs on "busy" unless told to wait.
#[derive(Debug)]
pub struct StageClock {
    name: &'static str,
    started: Instant,
    waited: Duration,
    /// Bytes that passed.
    pub bytes: u64,
}

impl StageClock {
    /// Starts.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, started: Instant::now(), waited: Duration::ZERO, bytes: 0 }
    }

    /// Does what waits for other stages.
    pub fn wait<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let value = work();
        self.waited += begun.elapsed();
        value
    }

    /// The same for tasks; also says how long it took.
    pub async fn wait_for<T>(&mut self, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let value = work.await;
        self.waited += begun.elapsed();
        value
    }

    /// Others who did the stage's work waited so long meanwhile.
    pub fn others_waited(&mut self, waited: Duration) {
        self.waited += waited;
    }

    /// Time spent waiting for other stages so far.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The account, at the end.
    #[must_use]
    pub fn finish(self) -> StageWork {
        StageWork {
            name: self.name.to_owned(),
            bytes: self.bytes,
            busy_seconds: self.started.elapsed().saturating_sub(self.waited).as_secs_f64(),
            waiting_seconds: self.waited.as_secs_f64(),
        }
    }
}

/// The stage that was busy longest.
#[must_use]
pub fn bottleneck(stages: &[StageWork]) -> Option<String> {
    let busiest = stages.iter().max_by(|a, b| a.busy_seconds.total_cmp(&b.busy_seconds))?;
    Some(busiest.name.clone())
}
