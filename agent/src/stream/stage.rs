//! Threads for stages, and which of their errors counts.

use tokio::sync::oneshot;

use super::StreamError;

/// Runs `work` on a thread of its own. When it fails, the stages after it end when they have worked off their
/// queues; stages that fail for their own reasons fire the token to stop those before them.
pub(super) fn stage<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> oneshot::Receiver<Result<T, StreamError>> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody listens when the future was dropped.
        let _ = sender.send(work());
    });
    if let Err(error) = thread {
        // The sender was dropped with the closure, so the stage counts as died.
        tracing::error!(stage = name, %error, "no thread could be started");
    }
    receiver
}

/// The error that came first in the order of the stages. `Stopped` and `Cancelled` of a stage only follow from
/// another's.
pub(super) fn cause(errors: impl IntoIterator<Item = StreamError>) -> StreamError {
    let consequence = |error: &StreamError| matches!(error, StreamError::Stopped | StreamError::Cancelled);
    errors.into_iter().min_by_key(consequence).unwrap_or(StreamError::Stopped)
}
