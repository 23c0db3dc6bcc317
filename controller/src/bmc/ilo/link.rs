//! The way to one iLO, whatever is spoken over it: its address, its user, its queue.

use std::sync::Arc;

use bessemer_proto::secret::Secret;

use super::{
    Pace,
    settings::{CREDENTIAL_KEYS, Settings, VERIFY_KEY},
};
use crate::bmc::{
    BmcError,
    queue::{Account, Attempt, Queue},
    redfish::{self, AuthType, Client},
    restart::Restart,
};

const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
const ATTEMPTS: u32 = 3;

/// One iLO.
pub(super) struct Link {
    pub(super) settings: Settings,
    pub(super) pace: Pace,
    /// As messages show it.
    pub(super) address: String,
    http: reqwest::Client,
    queue: Arc<Queue>,
}

impl Link {
    pub(super) fn new(settings: Settings, pace: Pace) -> Result<Self, BmcError> {
        let address = settings.address();
        let client = client(&settings, &pace, AuthType::Basic)?;
        let (http, queue) = (client.transport.http.clone(), Arc::clone(&client.shared.queue));
        Ok(Self { settings, pace, address, http, queue })
    }

    /// Speaks JSON with it.
    pub(super) fn json(&self, auth: AuthType) -> Result<Client, BmcError> {
        client(&self.settings, &self.pace, auth)
    }

    /// Before the password is sent.
    pub(super) async fn guard(&self) -> Result<Attempt<'_>, BmcError> {
        self.queue.guard(&self.account(&self.settings.credentials.password)).await
    }

    /// The user has this password from now on.
    pub(super) fn trust(&self, password: &Secret) {
        self.queue.forget_refusal(&self.account(password));
    }

    fn account<'a>(&'a self, password: &'a Secret) -> Account<'a> {
        let user = &self.settings.credentials.user;
        Account { user, password, keys: CREDENTIAL_KEYS, address: &self.address }
    }

    /// Posts a document; one that may be repeated is, after broken connections.
    pub(super) async fn post_xml(
        &self,
        path: &str,
        what: &str,
        document: &Secret,
        repeatable: bool,
    ) -> Result<(u16, Vec<u8>), BmcError> {
        let mut pause = self.pace.poll;
        for _ in 1..ATTEMPTS {
            match self.post_once(path, what, document).await {
                Err((BmcError::Unreachable { .. }, sent)) if repeatable || !sent => {}
                other => return other.map_err(|(error, _)| error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.pace.poll_max);
        }
        self.post_once(path, what, document).await.map_err(|(error, _)| error)
    }

    /// With an error: whether the iLO may have got it.
    async fn post_once(
        &self,
        path: &str,
        what: &str,
        document: &Secret,
    ) -> Result<(u16, Vec<u8>), (BmcError, bool)> {
        let unusable = |problem: &str| (self.malformed(what, problem), true);
        let url = self.settings.origin.join(path).map_err(|_| unusable("a path that is none"))?;
        let request =
            self.http.post(url).header("content-type", "text/xml").body(document.reveal().to_owned());
        let call = async {
            let mut response = request.send().await.map_err(|error| self.failure(what, error))?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(what, error))? {
                if body.len() + chunk.len() > MAX_BODY_BYTES {
                    return Err(Failed(self.malformed(what, "an answer of more than 4 MiB"), true));
                }
                body.extend_from_slice(&chunk);
            }
            Ok((response.status().as_u16(), body))
        };
        self.queue.run(what, self.pace.request, call).await.map_err(|Failed(error, sent)| (error, sent))
    }

    fn failure(&self, what: &str, error: reqwest::Error) -> Failed {
        let sent = !error.is_connect();
        if let Some(source) = redfish::certificate_problem(&error) {
            return Failed(
                BmcError::Certificate { address: self.address.clone(), source, key: VERIFY_KEY },
                false,
            );
        }
        if sent && error.is_timeout() {
            let seconds = self.pace.request.as_secs();
            return Failed(
                BmcError::Timeout { address: self.address.clone(), what: what.to_owned(), seconds },
                true,
            );
        }
        let source = error.without_url().into();
        Failed(BmcError::Unreachable { address: self.address.clone(), source }, sent)
    }

    /// Waits until an iLO that restarts has gone and answers again.
    pub(super) async fn wait_for_return<F>(&self, answers: impl Fn() -> F + Sync) -> Result<(), BmcError>
    where
        F: Future<Output = Result<(), BmcError>> + Send,
    {
        let pace = &self.pace;
        let (pause, begins, within) = (pace.poll_max, pace.begins, pace.away);
        let restart = Restart { address: &self.address, pause, begins, within };
        restart.awaited(None, || async { answers().await.map(|()| None) }).await
    }

    // === errors ===

    pub(super) fn unsupported(&self, what: impl Into<String>) -> BmcError {
        BmcError::Unsupported { address: self.address.clone(), what: what.into() }
    }

    pub(super) fn malformed(&self, what: &str, problem: &str) -> BmcError {
        BmcError::Malformed {
            address: self.address.clone(),
            what: what.to_owned(),
            problem: self.masked(problem),
        }
    }

    pub(super) fn refused(&self, what: &str, status: u16, message: &str) -> BmcError {
        BmcError::Refused {
            address: self.address.clone(),
            what: what.to_owned(),
            status,
            message: self.masked(message),
        }
    }

    /// Text of the iLO without our password, should it repeat it.
    pub(super) fn masked(&self, text: &str) -> String {
        let password = &self.settings.credentials.password;
        text.replace(password.reveal(), "******")
    }
}

/// A failed exchange, and whether the iLO may have got it.
struct Failed(BmcError, bool);

impl From<BmcError> for Failed {
    fn from(error: BmcError) -> Self {
        Self(error, true)
    }
}

fn client(settings: &Settings, pace: &Pace, auth: AuthType) -> Result<Client, BmcError> {
    let pace = redfish::Pace {
        connect: pace.connect,
        request: pace.request,
        poll: pace.poll,
        poll_max: pace.poll_max,
        ..redfish::Pace::default()
    };
    Client::new(settings.redfish(auth), pace)
}
