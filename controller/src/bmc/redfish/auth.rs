//! Proving who we are: a session that is kept, or basic authentication. The queue of the BMC sees to it that credentials
//! which were refused are not tried again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bessemer_proto::secret::Secret;
use futures_util::future::join_all;
use http::{Method, StatusCode, header};
use serde_json::json;
use tracing::{debug, info};

use super::{
    client::Client,
    document::Document,
    messages::{self, error_sentence},
    pool::{self, Shared},
    settings::{AuthType, Credentials},
    transport::{Answer, Authorization, Call, Upload},
};
use crate::bmc::{
    BmcError,
    queue::{Account, Attempt},
};

pub(super) const ROOT: &str = "/redfish/v1/";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
/// What anyone may read, with any password.
const OPEN: [&str; 2] = ["/redfish/v1", "/rest/v1"];
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// Why there was no session may pass: too many of them, a BMC that starts.
const WITHOUT_SESSIONS: Duration = Duration::from_secs(600);
/// Why a session is refused that the password has nothing to do with; and what ends the ids of such messages of makers.
const NO_ROOM: [&str; 4] = [
    "CreateLimitReachedForResource",
    "ResourceExhaustion",
    "ServiceDisabled",
    "ServiceTemporarilyUnavailable",
];
const LIMITS: [&str; 2] = ["LimitExceeded", "LimitReached"];
/// Why a user is refused whose password is right.
const MAY_NOT: [&str; 2] = ["InsufficientPrivilege", "PasswordChangeRequired"];

/// What is known about logging in with one set of credentials.
#[derive(Default)]
pub(super) struct Login {
    /// Locked while logging in: one login at a time, since BMCs have few sessions. A login is bounded by the
    /// timeouts of its requests.
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
enum State {
    #[default]
    Unknown,
    /// Sessions are tried again after that.
    Basic { until: Instant },
    Session {
        token: Secret,
        /// Where the session is ended.
        url: Option<reqwest::Url>,
    },
}

impl State {
    fn asks_for_login(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::Basic { until } => *until <= Instant::now(),
            Self::Session { .. } => false,
        }
    }
}

/// Whether a message of an error answer has such an id.
fn says(answer: &Answer, is_it: impl Fn(&str) -> bool) -> bool {
    messages::in_error(&answer.body).iter().any(|message| is_it(&message.id))
}

fn is_no_room(id: &str) -> bool {
    NO_ROOM.contains(&id) || LIMITS.iter().any(|end| id.ends_with(end))
}

impl Login {
    /// A session that the BMC does not know any more.
    async fn forget(&self, stale: &Secret) {
        let mut state = self.state.lock().await;
        if matches!(&*state, State::Session { token, .. } if token == stale) {
            *state = State::Unknown;
        }
    }
}

/// Ends a session that is kept, if there is one.
async fn close(shared: &Shared) {
    let state = std::mem::take(&mut *shared.login.state.lock().await);
    // Not by the queue: what waits there must not keep a session open when the controller stops.
    if let State::Session { token, url: Some(url) } = state {
        let request = shared.http.delete(url).header("x-auth-token", token.reveal()).timeout(CLOSE_WITHIN);
        if let Err(error) = request.send().await {
            debug!(error = %error.without_url(), "a session at a BMC could not be ended");
        }
    }
}

/// Ends all sessions.
pub(super) async fn close_all() {
    let shared = pool::drain();
    let closing = join_all(shared.iter().map(|shared| close(shared)));
    tokio::time::timeout(CLOSE_WITHIN, closing).await.ok();
}

/// Ends the session of an entry that makes room for another.
pub(super) fn close_in_background(shared: Arc<Shared>) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move { close(&shared).await });
    }
}

// === impl Client: authentication ===

impl Client {
    /// Sends a request as the user of `driver_info`; logs in again once when a session has ended.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Answer, BmcError> {
        let (authorization, attempt) = self.authorization().await?;
        let answer = self.transport.send(call, &authorization).await?;
        match authorization {
            Authorization::Token(stale) if answer.status == StatusCode::UNAUTHORIZED => {
                self.shared.login.forget(&stale).await;
            }
            _ => return self.judged(call, answer, attempt),
        }
        let (authorization, attempt) = self.authorization().await?;
        let answer = self.transport.send(call, &authorization).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            // A new session that may not do this: it would be left open by the next try.
            close(&self.shared).await;
        }
        self.judged(call, answer, attempt)
    }

    /// Sends a large body, once. A session that has ended is noticed by a read just before.
    pub(super) async fn upload(&self, call: Call<'_>, upload: Upload) -> Result<Answer, BmcError> {
        let (authorization, attempt) = self.authorization().await?;
        let answer = self.transport.upload(call, &authorization, upload).await?;
        self.judged(call, answer, attempt)
    }

    /// What an answer proves of the user and password that came with the request. One that is busy, broken or knows no
    /// such resource may not have looked at them; nor one with what anyone may read.
    fn judged(
        &self,
        call: Call<'_>,
        answer: Answer,
        attempt: Option<Attempt<'_>>,
    ) -> Result<Answer, BmcError> {
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(self.refused(attempt));
        }
        match attempt {
            Some(attempt)
                if answer.status.is_success() && !OPEN.contains(&call.link.trim_end_matches('/')) =>
            {
                attempt.accepted();
            }
            // Some BMCs say so to a wrong password.
            Some(attempt)
                if answer.status == StatusCode::FORBIDDEN
                    && attempt.is_untested()
                    && !says(&answer, |id| MAY_NOT.contains(&id)) =>
            {
                return Err(attempt.refused());
            }
            _ => {}
        }
        Ok(answer)
    }

    /// What a request carries; with it, unless a session stands for it, the try of user and password that it is.
    async fn authorization(&self) -> Result<(Authorization, Option<Attempt<'_>>), BmcError> {
        let Some(credentials) = &self.settings.credentials else { return Ok((Authorization::Nothing, None)) };
        if self.settings.auth != AuthType::Basic {
            let mut state = self.shared.login.state.lock().await;
            if state.asks_for_login() {
                *state = self.log_in(credentials).await?;
            }
            if let State::Session { token, .. } = &*state {
                return Ok((Authorization::Token(token.clone()), None));
            }
        }
        let attempt = self.shared.queue.guard(&self.account(credentials)).await?;
        Ok((Authorization::Basic(credentials.clone()), Some(attempt)))
    }

    async fn log_in(&self, credentials: &Credentials) -> Result<State, BmcError> {
        let attempt = self.shared.queue.guard(&self.account(credentials)).await?;
        let Some(sessions) = self.sessions_link().await? else {
            return self.without_session("the BMC has no session service");
        };
        let body = json!({"UserName": credentials.user, "Password": credentials.password.reveal()});
        let call = Call { method: &Method::POST, link: &sessions, body: Some(&body), if_match: None };
        let answer = self.transport.send(call, &Authorization::Nothing).await?;
        match answer.status {
            // The same password by basic authentication would be a second try.
            StatusCode::UNAUTHORIZED => Err(attempt.refused()),
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN if !says(&answer, is_no_room) => {
                let reason = self.masked(error_sentence(&answer.body));
                info!(bmc = self.transport.address, reason, "a session is refused");
                Err(attempt.refused())
            }
            status if status.is_success() => match answer.header("x-auth-token") {
                Some(token) if !token.is_empty() => {
                    attempt.accepted();
                    debug!(bmc = self.transport.address, "session at a BMC opened");
                    let url = answer.header(header::LOCATION).and_then(|link| self.on_origin(link));
                    Ok(State::Session { token: Secret::new(token), url })
                }
                _ => self.without_session("the BMC's answer has no X-Auth-Token"),
            },
            status => self.without_session(&format!("the BMC opens no session: status {}", status.as_u16())),
        }
    }

    /// Where sessions are made. The service root can be read by anyone.
    async fn sessions_link(&self) -> Result<Option<String>, BmcError> {
        let call = Call { method: &Method::GET, link: ROOT, body: None, if_match: None };
        let answer = self.transport.send(call, &Authorization::Nothing).await?;
        if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Ok(Some(SESSIONS.to_owned()));
        }
        if !answer.status.is_success() {
            return Err(self.refusal(&call, &answer).into());
        }
        let root: Document = self.document(&call, &answer)?;
        let linked = root.link("/Links/Sessions").map(str::to_owned);
        Ok(linked.or_else(|| root.link("/SessionService").map(|_| SESSIONS.to_owned())))
    }

    fn without_session(&self, why: &str) -> Result<State, BmcError> {
        if self.settings.auth == AuthType::Auto {
            info!(bmc = self.transport.address, why, "basic authentication is used");
            return Ok(State::Basic { until: Instant::now() + WITHOUT_SESSIONS });
        }
        Err(BmcError::Unsupported {
            address: self.transport.address.clone(),
            what: format!("open a session ({why}): set redfish_auth_type to basic or auto"),
        })
    }

    /// A link's path on the BMC's origin: some BMCs name themselves differently in `Location`.
    pub(super) fn on_origin(&self, link: &str) -> Option<reqwest::Url> {
        let target = self.transport.origin.join(link).ok()?;
        let mut url = self.transport.origin.clone();
        url.set_path(target.path());
        url.set_query(target.query());
        Some(url)
    }

    fn account<'a>(&'a self, credentials: &'a Credentials) -> Account<'a> {
        Account {
            user: &credentials.user,
            password: &credentials.password,
            keys: self.settings.names.credentials,
            address: &self.transport.address,
        }
    }

    /// Nobody is asked for: no credentials. A session: it may not do this.
    fn refused(&self, attempt: Option<Attempt<'_>>) -> BmcError {
        let address = &self.transport.address;
        match (attempt, &self.settings.credentials) {
            (Some(attempt), _) => attempt.refused(),
            (None, Some(who)) => BmcError::Credentials {
                address: address.clone(),
                user: who.user.clone(),
                keys: self.settings.names.credentials,
            },
            (None, None) => BmcError::DriverInfo(format!(
                "the BMC at {address} wants to know who asks: set {}",
                self.settings.names.credentials
            )),
        }
    }

    /// Text of the BMC without our password, should it repeat it.
    pub(super) fn masked(&self, text: String) -> String {
        match &self.settings.credentials {
            Some(who) if !who.password.is_empty() => text.replace(who.password.reveal(), "******"),
            _ => text,
        }
    }
}
