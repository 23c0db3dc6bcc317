//! The machine's console.

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use crate::bmc::BmcError;

/// A serial console that is open. Dropping it ends it; shutting it down also waits until its end was told to the BMC. A
/// write that fails as [`ResourceBusy`](std::io::ErrorKind::ResourceBusy) was dropped, and the line goes on.
pub trait SerialLine: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> SerialLine for T {}

/// A serial console ended, or did not begin, because somebody else has it: the source of an error of input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "somebody else opened this serial console at the BMC: it is shown here again when they leave it (or disable and \
     enable it here)"
)]
pub struct Taken;

/// What becomes of a session that somebody else has on a serial console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is ended: it was left open, or whoever asks now needs it more.
    Take,
    /// It stays, and the console is not opened.
    Wait,
}

/// Consoles.
#[async_trait]
pub trait Console: Send + Sync {
    /// Whether there is a serial console, without opening it.
    async fn has_serial(&self) -> Result<bool, BmcError>;
    /// Opens the serial console.
    async fn serial(&self, claim: Claim) -> Result<Box<dyn SerialLine>, BmcError>;
    /// Where a person sees the graphical console in a browser; `None`: nowhere.
    async fn graphical(&self) -> Result<Option<Url>, BmcError>;
}
