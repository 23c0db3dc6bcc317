//! One session: events up, commands down, heartbeats beside it, until the connection or the certificate ends.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use bessemer_proto::v1::{
    AgentEvent, ControllerCommand, HeartbeatRequest, Hello, agent_event::Event, controller_command::Command,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{AGENT_VERSION, Client, Link, LinkError, call, clock::Clock, enrol::Identity, status_error};
use crate::report::Report;

/// Messages on their way into the connection. Few: what is in here when the connection dies is lost.
const IN_FLIGHT: usize = 8;
/// Answers to commands that wait to be sent. A controller that asks faster than it listens is cut off.
const ANSWERS: usize = 256;
/// How long the controller may refuse to take an event.
const SEND_DEADLINE: Duration = Duration::from_secs(60);
/// Time between two looks at the queue when there is much to say.
const BATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How long an ending agent waits for the controller to take the rest.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// Why a session ended without an error.
pub(super) enum End {
    /// There is a new certificate: reconnect with it.
    Renewed(Identity),
    /// The agent ends.
    Shutdown,
}

/// The heartbeat interval, told by the controller in several ways.
pub(super) struct Interval(AtomicU32);

impl Interval {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(30))
    }

    /// Zero is ignored, more than an hour is an hour.
    pub(super) fn set(&self, seconds: u32) {
        if seconds > 0 {
            self.0.store(seconds.min(3600), Ordering::Relaxed);
        }
    }

    fn get(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed).into())
    }
}

impl Link {
    /// Holds one session on a connected client.
    pub(super) async fn session(&self, mut client: Client, identity: &Identity) -> Result<End, LinkError> {
        let (out, outgoing) = mpsc::channel(IN_FLIGHT);
        let mut writer = Writer { out, sequence: 0, sent: HashSet::new() };
        writer.send(&self.clock, self.hello()).await?;
        let opening = client.session(ReceiverStream::new(outgoing));
        let incoming = tokio::select! {
            incoming = call("Session", opening) => incoming?,
            () = self.shutdown.cancelled() => return Ok(End::Shutdown),
        };
        tracing::info!(node = %self.parameters.node, "session with the controller is open");

        let (answers, waiting) = mpsc::channel(ANSWERS);
        tokio::select! {
            result = self.read(incoming, answers) => result.map(|never| match never {}),
            result = writer.run(self, waiting) => result,
            result = self.heartbeats(client.clone()) => result.map(|never| match never {}),
            result = self.renewal(client, identity) => result.map(End::Renewed),
        }
    }

    fn hello(&self) -> Event {
        Event::Hello(Hello {
            agent_version: AGENT_VERSION.to_owned(),
            boot_id: self.parameters.boot.to_string(),
            supported_steps: self.runner.supported_steps(),
            running_step_id: self.runner.running_step_id(),
        })
    }

    async fn read(
        &self,
        mut incoming: Streaming<ControllerCommand>,
        answers: mpsc::Sender<Event>,
    ) -> Result<std::convert::Infallible, LinkError> {
        loop {
            let message = incoming.message().await.map_err(|status| status_error("Session", status))?;
            let Some(message) = message else { return Err(LinkError::Closed) };
            let Some(answer) = self.obey(message) else { continue };
            answers.try_send(answer).map_err(|_| LinkError::Flood)?;
        }
    }

    fn obey(&self, message: ControllerCommand) -> Option<Event> {
        match message.command {
            Some(Command::RunStep(run)) => return self.runner.run(run),
            Some(Command::QueryStep(query)) => return Some(self.runner.query(&query.step_id)),
            Some(Command::CancelStep(cancel)) => self.runner.cancel(&cancel.step_id),
            Some(Command::AcknowledgeStep(acknowledge)) => self.runner.acknowledge(&acknowledge.step_id),
            Some(Command::SetHeartbeatInterval(interval)) => self.interval.set(interval.seconds),
            None => tracing::warn!("the controller sent a command that this agent does not know"),
        }
        None
    }

    async fn heartbeats(&self, mut client: Client) -> Result<std::convert::Infallible, LinkError> {
        loop {
            tokio::time::sleep(self.interval.get()).await;
            self.heartbeat(&mut client).await?;
        }
    }

    pub(super) async fn heartbeat(&self, client: &mut Client) -> Result<(), LinkError> {
        let request = HeartbeatRequest {
            agent_version: AGENT_VERSION.to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            running_step_id: self.runner.running_step_id(),
        };
        let response = call("Heartbeat", client.heartbeat(request)).await?;
        self.clock.set_controller(response.controller_time_ms);
        self.interval.set(response.next_heartbeat_seconds);
        Ok(())
    }

    /// Asks for a new certificate in time; goes on trying until the old one has ended.
    async fn renewal(&self, mut client: Client, identity: &Identity) -> Result<Identity, LinkError> {
        tokio::time::sleep_until(identity.renew_at.into()).await;
        loop {
            match self.key.renew(&mut client, &self.parameters, &self.clock).await {
                Ok(identity) => {
                    tracing::info!("the certificate is renewed");
                    return Ok(identity);
                }
                Err(error) if Instant::now() >= identity.expires_at => return Err(error),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the certificate is not renewed"
                    );
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
            }
        }
    }
}

/// Events on their way; those that do not make it go back to the queue, also when the session is dropped.
struct Queued<'a> {
    report: &'a Report,
    events: VecDeque<Event>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.report.give_back(std::mem::take(&mut self.events).into_iter());
    }
}

/// The upward half of a session.
struct Writer {
    out: mpsc::Sender<AgentEvent>,
    sequence: u64,
    /// Results sent in this session; each new session sends what is still not acknowledged.
    sent: HashSet<String>,
}

impl Writer {
    async fn send(&mut self, clock: &Clock, event: Event) -> Result<(), LinkError> {
        self.room().await?.send(self.next(clock, event));
        Ok(())
    }

    /// Waits until the connection takes one more event.
    async fn room(&self) -> Result<mpsc::OwnedPermit<AgentEvent>, LinkError> {
        match timeout(SEND_DEADLINE, self.out.clone().reserve_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(LinkError::Closed),
            Err(_) => Err(LinkError::Deadline("Session")),
        }
    }

    fn next(&mut self, clock: &Clock, event: Event) -> AgentEvent {
        self.sequence += 1;
        AgentEvent { sequence: self.sequence, time_ms: clock.now_ms(), event: Some(event) }
    }

    async fn run(mut self, link: &Link, mut answers: mpsc::Receiver<Event>) -> Result<End, LinkError> {
        loop {
            self.flush(link).await?;
            tokio::select! {
                () = link.report.changed() => tokio::time::sleep(BATCH_INTERVAL).await,
                Some(answer) = answers.recv() => self.send(&link.clock, answer).await?,
                () = link.shutdown.cancelled() => return self.close(link).await,
            }
        }
    }

    /// Sends all that is queued. Results last, and only those that were there before their events were taken.
    async fn flush(&mut self, link: &Link) -> Result<(), LinkError> {
        let results = link.runner.unacknowledged();
        let mut queued = Queued { report: &link.report, events: link.report.take().into() };
        while !queued.events.is_empty() {
            let room = self.room().await?;
            if let Some(event) = queued.events.pop_front() {
                room.send(self.next(&link.clock, event));
            }
        }
        for result in results {
            if self.sent.insert(result.step_id.clone()) {
                self.send(&link.clock, Event::StepFinished(result)).await?;
            }
        }
        Ok(())
    }

    /// The last words, then the end of the stream; the connection gets a moment to carry them.
    async fn close(mut self, link: &Link) -> Result<End, LinkError> {
        self.flush(link).await?;
        drop(self.out);
        tokio::time::sleep(CLOSE_DEADLINE.min(Duration::from_millis(500))).await;
        Ok(End::Shutdown)
    }
}
