//! The agent's connection to its controller: enrolment, session, reconnect.
//!
//! The link never ends by itself once enrolled: it dials every controller it was told of, in turn, until the
//! agent shuts down. It owns no work; [`crate::runner`] does, and does not notice when a connection breaks.

pub mod clock;
pub mod dial;
pub mod enrol;
pub mod resolve;
mod session;
pub mod tls;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use bessemer_proto::{
    MAX_MESSAGE_BYTES,
    boot_parameters::BootParameters,
    v1::{LookupRequest, agent_client::AgentClient},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Response, Status, transport::Channel};

use crate::backoff::Backoff;
use crate::{report::Report, runner::Runner};
use clock::Clock;
use dial::DialError;
use enrol::{CertificateError, Identity, Key};
use resolve::Resolver;
use session::{End, Interval};
use tls::{ClientCertificate, TlsError};

/// Version that the agent tells the controller.
pub const AGENT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Longest wait for the answer to one call.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// Controllers that are remembered.
const MAX_ENDPOINTS: usize = 16;
/// A session that held this long proves that the controller is well: the next delay is short again.
const HEALTHY_SESSION: Duration = Duration::from_secs(30);

type Client = AgentClient<Channel>;

/// Why the agent has no working link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// TLS cannot be set up.
    #[error("the connection to the controller cannot be secured")]
    Tls(#[from] TlsError),
    /// The controller cannot be reached.
    #[error("no connection to the controller")]
    Dial(#[source] Box<DialError>),
    /// The key of this boot cannot be made.
    #[error("the key for enrolment cannot be made")]
    Key(#[source] rcgen::Error),
    /// The controller answered a call with an error.
    #[error("the controller refused {call}: {message} ({code:?})")]
    Refused {
        /// The call.
        call: &'static str,
        /// gRPC's code.
        code: Code,
        /// What it said.
        message: String,
    },
    /// No answer.
    #[error("the controller did not answer {0} in time")]
    Deadline(&'static str),
    /// The certificate that the controller issued is wrong.
    #[error("enrolment failed")]
    Certificate(#[from] CertificateError),
    /// The controller ended the session.
    #[error("the controller closed the session")]
    Closed,
    /// The controller sends more queries than it takes answers.
    #[error("the controller sends queries faster than it takes the answers")]
    Flood,
    /// Enrolment did not succeed in time.
    #[error(
        "no controller enrolled this machine within {seconds} s: check that the controller runs and can be reached"
    )]
    EnrolDeadline {
        /// How long it was tried.
        seconds: u64,
        /// The last failure.
        #[source]
        last: Option<Box<LinkError>>,
    },
}

impl From<DialError> for LinkError {
    fn from(error: DialError) -> Self {
        Self::Dial(Box::new(error))
    }
}

impl LinkError {
    /// True when trying again cannot help: the controller knows this boot and does not want it.
    fn is_permanent(&self) -> bool {
        match self {
            Self::Refused { code, .. } => {
                matches!(code, Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument)
            }
            Self::Certificate(_) | Self::Key(_) | Self::Tls(_) => true,
            _ => false,
        }
    }
}

impl LinkError {
    /// True when the controller says that this boot is over: whatever still runs must stop.
    fn is_over(&self) -> bool {
        matches!(self, Self::Refused { code: Code::PermissionDenied, .. })
    }
}

/// How patient the link is.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Enrolment is given up after this.
    pub enrol_deadline: Duration,
    /// First delay between attempts.
    pub first_delay: Duration,
    /// Longest delay between attempts.
    pub longest_delay: Duration,
    /// Set the machine's clock to the controller's time. Only where the agent owns the machine.
    pub set_system_clock: bool,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            enrol_deadline: Duration::from_secs(30 * 60),
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(30),
            set_system_clock: false,
        }
    }
}

/// What a link needs.
pub struct LinkParts {
    /// The boot parameters.
    pub parameters: Arc<BootParameters>,
    /// The agent's clock; the link improves it.
    pub clock: Arc<Clock>,
    /// Names to addresses.
    pub resolver: Resolver,
    /// Runs what the controller commands.
    pub runner: Runner,
    /// What to tell the controller.
    pub report: Report,
    /// Ends the link.
    pub shutdown: CancellationToken,
}

/// The link to the controller.
pub struct Link {
    parameters: Arc<BootParameters>,
    clock: Arc<Clock>,
    resolver: Resolver,
    runner: Runner,
    report: Report,
    shutdown: CancellationToken,
    options: LinkOptions,
    interval: Interval,
    key: Key,
    started: Instant,
}

impl Link {
    /// A link with a fresh key.
    pub fn new(parts: LinkParts, options: LinkOptions) -> Result<Self, LinkError> {
        Ok(Self {
            parameters: parts.parameters,
            clock: parts.clock,
            resolver: parts.resolver,
            runner: parts.runner,
            report: parts.report,
            shutdown: parts.shutdown,
            options,
            interval: Interval::new(),
            key: Key::generate().map_err(LinkError::Key)?,
            started: Instant::now(),
        })
    }

    /// Enrols and holds sessions until shutdown. An error means that this boot can never have a session.
    pub async fn run(&self) -> Result<(), LinkError> {
        let shutdown = self.shutdown.clone();
        let mut endpoints = Endpoints::new(&self.parameters.controllers);
        let identity = tokio::select! {
            identity = self.enrol(&mut endpoints) => identity?,
            () = shutdown.cancelled() => return Ok(()),
        };
        self.hold_sessions(identity, endpoints).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.options.first_delay, self.options.longest_delay)
    }

    async fn enrol(&self, endpoints: &mut Endpoints) -> Result<Identity, LinkError> {
        let (started, deadline) = (Instant::now(), self.options.enrol_deadline);
        let mut backoff = self.backoff();
        let mut last = None;
        while started.elapsed() < deadline {
            let endpoint = endpoints.current();
            match self.enrol_at(endpoint).await {
                Ok(identity) => {
                    tracing::info!(endpoint, node = %self.parameters.node, "enrolled");
                    if self.options.set_system_clock {
                        self.clock.set_system_clock();
                    }
                    return Ok(identity);
                }
                Err(error) if error.is_permanent() => return Err(error),
                Err(error) => {
                    tracing::warn!(endpoint, error = &error as &dyn std::error::Error, "not enrolled yet");
                    last = Some(Box::new(error));
                }
            }
            endpoints.rotate();
            tokio::time::sleep(backoff.next_delay()).await;
        }
        Err(LinkError::EnrolDeadline { seconds: deadline.as_secs(), last })
    }

    async fn enrol_at(&self, endpoint: &str) -> Result<Identity, LinkError> {
        let mut client = self.connect(endpoint, None).await?;
        self.key.enrol(&mut client, &self.parameters, &self.clock).await
    }

    async fn connect(&self, endpoint: &str, client: Option<&ClientCertificate>) -> Result<Client, LinkError> {
        let config = tls::client_config(&self.parameters.ca_certificates, client, self.clock.clone())?;
        let channel = dial::dial(endpoint, &self.resolver, config, &self.clock).await?;
        Ok(Client::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    async fn hold_sessions(&self, mut identity: Identity, mut endpoints: Endpoints) -> Result<(), LinkError> {
        let mut backoff = self.backoff();
        while !self.shutdown.is_cancelled() {
            let endpoint = endpoints.current().to_owned();
            let opened = Instant::now();
            match self.one_session(&endpoint, &mut identity, &mut endpoints).await {
                Ok(End::Shutdown) => break,
                Ok(End::Renewed(renewed)) => {
                    identity = renewed;
                    continue;
                }
                Err(_) if self.shutdown.is_cancelled() => break,
                Err(error) if error.is_over() => return Err(error),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(endpoint, error, "no session with the controller; trying again");
                    endpoints.rotate();
                }
            }
            if opened.elapsed() >= HEALTHY_SESSION {
                backoff.reset();
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_delay()) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn one_session(
        &self,
        endpoint: &str,
        identity: &mut Identity,
        endpoints: &mut Endpoints,
    ) -> Result<End, LinkError> {
        let connected = async {
            if Instant::now() >= identity.expires_at {
                tracing::warn!("the certificate has ended while no controller was there; enrolling again");
                *identity = self.enrol_at(endpoint).await?;
            }
            let mut client = self.connect(endpoint, Some(&identity.certificate)).await?;
            let request = LookupRequest { agent_version: AGENT_VERSION.to_owned() };
            let lookup = call("Lookup", client.lookup(request)).await?;
            self.clock.set_controller(lookup.controller_time_ms);
            self.interval.set(lookup.heartbeat_interval_seconds);
            endpoints.learn(&lookup.controller_endpoints, endpoint);
            // Even when the session is refused the controller knows that this machine is alive.
            self.heartbeat(&mut client).await?;
            Ok::<_, LinkError>(client)
        };
        let client = tokio::select! {
            client = connected => client?,
            () = self.shutdown.cancelled() => return Ok(End::Shutdown),
        };
        self.session(client, identity).await
    }
}

/// Addresses of controllers, the one to try next first.
struct Endpoints {
    configured: Vec<String>,
    list: Vec<String>,
    next: usize,
}

impl Endpoints {
    fn new(configured: &[String]) -> Self {
        let configured: Vec<_> = configured.iter().take(MAX_ENDPOINTS).cloned().collect();
        Self { list: configured.clone(), configured, next: 0 }
    }

    fn current(&self) -> &str {
        self.list.get(self.next % self.list.len().max(1)).map_or("", String::as_str)
    }

    fn rotate(&mut self) {
        self.next = (self.next + 1) % self.list.len().max(1);
    }

    /// The controller's own list, then those of the boot medium; `current` stays the one that works now.
    fn learn(&mut self, told: &[String], current: &str) {
        let told = told.iter().filter(|endpoint| endpoint.len() < 300 && dial::split(endpoint).is_some());
        let mut list: Vec<String> = Vec::new();
        for endpoint in told.chain(&self.configured) {
            if !list.contains(endpoint) && list.len() < MAX_ENDPOINTS {
                list.push(endpoint.clone());
            }
        }
        self.next = list.iter().position(|endpoint| endpoint == current).unwrap_or(0);
        self.list = list;
    }
}

/// One call with its deadline.
async fn call<T>(
    name: &'static str,
    response: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, LinkError> {
    match timeout(CALL_DEADLINE, response).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status_error(name, status)),
        Err(_) => Err(LinkError::Deadline(name)),
    }
}

/// The causes of a status (a broken connection, a TLS alert) are local and worth showing.
fn status_error(call: &'static str, status: Status) -> LinkError {
    let mut message: String = status.message().chars().take(500).collect();
    let mut cause = std::error::Error::source(&status);
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = error.source();
    }
    LinkError::Refused { call, code: status.code(), message }
}

#[cfg(test)]
mod tests;
