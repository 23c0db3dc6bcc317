//! The same work on several threads.

use super::{StreamError, stage::cause};

/// Runs `work` on `workers` threads; all results, or the error to blame.
pub(super) fn in_parallel<T: Send>(
    workers: usize,
    work: impl Fn(usize) -> Result<T, StreamError> + Sync,
) -> Result<Vec<T>, StreamError> {
    let results: Vec<Result<T, StreamError>> = std::thread::scope(|scope| {
        let work = &work;
        let start = |number| {
            let builder = std::thread::Builder::new().name(format!("ranges {number}"));
            builder.spawn_scoped(scope, move || work(number))
        };
        let threads: Vec<_> = (0..workers).map(start).collect();
        let join = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| match thread {
            Ok(thread) => thread.join().unwrap_or(Err(StreamError::Died("ranges"))),
            Err(_) => Err(StreamError::Died("ranges")),
        };
        threads.into_iter().map(join).collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    if bad.is_empty() {
        return Ok(good.into_iter().flatten().collect());
    }
    Err(cause(bad.into_iter().filter_map(Result::err)))
}

/// How many threads the machine has work for.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8)
}
