//! One connected agent: its events in, commands out, until either side ends it.

use std::{net::SocketAddr, time::Duration};

use bessemer_proto::{
    ids::StepId,
    v1::{
        AcknowledgeStep, AgentEvent, Hello, LogLevel, LogRecord, StepFinished, StepProgress, StepStatus,
        StepWarning, agent_event::Event, controller_command::Command,
    },
};
use chrono::Utc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{Instrument as _, debug, error, info, warn};

use super::{
    CommandSender, Fleet, SessionInfo,
    enroll::clip,
    intake::LogIntake,
    listener::Peer,
    live::{EndReason, Registration},
    send,
};
use crate::store::{StepOutcome, StoreError};

const HELLO_WITHIN: Duration = Duration::from_secs(15);
const MAX_STEPS: usize = 256;
const MAX_ERROR_CHARS: usize = 8192;

/// A session whose agent has not said hello yet.
pub(super) struct Opening {
    pub(super) fleet: Fleet,
    pub(super) peer: Peer,
    pub(super) address: SocketAddr,
    pub(super) commands: CommandSender,
    pub(super) shutdown: CancellationToken,
}

/// A session that is the node's own.
struct Session {
    fleet: Fleet,
    peer: Peer,
    commands: CommandSender,
    log: LogIntake,
}

/// How a session ended.
enum End {
    /// The agent closed it, or the connection broke.
    ByAgent(Option<Status>),
    /// This side ends it and says why.
    ByController(Status),
}

// === impl Opening ===

impl Opening {
    /// Runs the session to its end.
    pub(super) async fn run(self, mut events: Streaming<AgentEvent>) {
        let span = tracing::info_span!("session", node = %self.peer.node, boot = %self.peer.boot);
        async move {
            let hello = match self.hello(&mut events).await {
                Ok(hello) => hello,
                Err(status) => {
                    warn!(peer = %self.address, reason = status.message(), "session refused");
                    self.commands.send(Err(status)).await.ok();
                    return;
                }
            };
            self.open(hello, events).await;
        }
        .instrument(span)
        .await;
    }

    /// The first event, which must fit the certificate.
    async fn hello(&self, events: &mut Streaming<AgentEvent>) -> Result<Hello, Status> {
        let first = tokio::select! {
            first = tokio::time::timeout(HELLO_WITHIN, events.message()) => first,
            () = self.shutdown.cancelled() => return Err(stopping()),
        };
        let first = first.map_err(|_| Status::deadline_exceeded("no hello in time"))??;
        let Some(Event::Hello(hello)) = first.and_then(|event| event.event) else {
            return Err(Status::invalid_argument("the first event of a session must be Hello"));
        };
        if hello.boot_id.parse().ok() != Some(self.peer.boot) {
            return Err(Status::permission_denied("the certificate belongs to another boot"));
        }
        Ok(hello)
    }

    async fn open(self, hello: Hello, events: Streaming<AgentEvent>) {
        let info = session_info(self.peer, &hello);
        let version = &info.agent_version;
        info!(peer = %self.address, version, running = %clip(&hello.running_step_id, 40), "session opened");
        let node = self.peer.node;
        let live = &self.fleet.0.live;
        let Registration { serial, mut ended } = live.register(node, info, self.commands.clone());
        let (fleet, commands) = (self.fleet.clone(), self.commands.clone());
        let mut session = Session { fleet, peer: self.peer, commands, log: LogIntake::new() };
        let end = tokio::select! {
            reason = &mut ended => End::ByController(reason.map_or_else(|_| stopping(), EndReason::status)),
            () = self.shutdown.cancelled() => End::ByController(stopping()),
            end = session.run(events) => end,
        };
        live.unregister(node, serial);
        session.store_log().await;
        end.report(&self.commands);
        (self.fleet.0.poke)(node);
    }
}

fn session_info(peer: Peer, hello: &Hello) -> SessionInfo {
    let now = Utc::now();
    SessionInfo {
        boot: peer.boot,
        agent_version: clip(&hello.agent_version, 64),
        supported_steps: hello.supported_steps.iter().take(MAX_STEPS).map(|s| clip(s, 64)).collect(),
        since: now,
        last_seen: now,
    }
}

impl End {
    /// Logs it and tells the agent.
    fn report(self, commands: &CommandSender) {
        match self {
            Self::ByAgent(None) => info!("session closed by the agent"),
            Self::ByAgent(Some(status)) => warn!(reason = status.message(), "session lost"),
            Self::ByController(status) => {
                info!(reason = status.message(), "session ended");
                commands.try_send(Err(status)).ok();
            }
        }
    }
}

fn stopping() -> Status {
    Status::unavailable("the controller is stopping: dial again")
}

impl EndReason {
    fn status(self) -> Status {
        match self {
            Self::Replaced => Status::aborted("another connection of this boot took over"),
            Self::NewBoot => Status::permission_denied("this boot is over: the node gets another one"),
            Self::Closed => Status::permission_denied("this boot is over"),
        }
    }
}

// === impl Session ===

impl Session {
    async fn still_open(&self) -> Result<(), Status> {
        match self.fleet.0.store.boot(self.peer.boot).await {
            Ok(boot) if !boot.closed => Ok(()),
            Ok(_) | Err(StoreError::NotFound { .. }) => Err(EndReason::Closed.status()),
            Err(problem) => Err(unavailable(&problem)),
        }
    }

    /// Takes events until the agent or an error ends it. Cancelled at any await by the caller.
    async fn run(&mut self, mut events: Streaming<AgentEvent>) -> End {
        // The boot may have been closed between the check of the certificate and the registration.
        if let Err(status) = self.still_open().await {
            return End::ByController(status);
        }
        (self.fleet.0.poke)(self.peer.node);
        loop {
            let due = self.log.due();
            let write_log = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = write_log => self.store_log().await,
                event = events.message() => match event {
                    Ok(Some(event)) => {
                        if let Err(status) = self.take(event).await {
                            return End::ByController(status);
                        }
                    }
                    Ok(None) => return End::ByAgent(None),
                    Err(status) => return End::ByAgent(Some(status)),
                },
            }
        }
    }

    async fn take(&mut self, event: AgentEvent) -> Result<(), Status> {
        let node = self.peer.node;
        self.fleet.0.live.seen(node);
        match event.event {
            Some(Event::StepStarted(started)) => {
                info!(step = %clip(&started.step_id, 40), "step started");
                self.progress(StepProgress {
                    step_id: started.step_id,
                    stage: "starting".to_owned(),
                    ..Default::default()
                });
            }
            Some(Event::StepProgress(progress)) => self.progress(progress),
            Some(Event::StepWarning(warning)) => self.warning(warning, event.time_ms),
            Some(Event::StepFinished(finished)) => self.finished(finished).await?,
            Some(Event::Log(batch)) => {
                if let Some(newest) = batch.records.last() {
                    self.fleet.0.live.set_last_log(node, clip(&newest.message, 512));
                }
                self.log.take(batch);
            }
            Some(Event::StepUnknown(unknown)) => {
                warn!(step = %clip(&unknown.step_id, 40), "the agent does not know the step");
                (self.fleet.0.poke)(node);
            }
            Some(Event::Hello(_)) => {
                return Err(Status::invalid_argument("Hello is only the first event of a session"));
            }
            // A newer agent's event that this controller does not know.
            None => debug!(sequence = event.sequence, "event of unknown kind ignored"),
        }
        Ok(())
    }

    fn progress(&self, mut progress: StepProgress) {
        progress.step_id = clip(&progress.step_id, 40);
        progress.stage = clip(&progress.stage, 64);
        self.fleet.0.live.set_progress(self.peer.node, progress);
    }

    fn warning(&mut self, warning: StepWarning, time_ms: i64) {
        let (step, message) = (clip(&warning.step_id, 40), clip(&warning.message, 1024));
        warn!(step, message, "warning of an agent's step");
        let level = LogLevel::Warn.into();
        self.log.push(LogRecord { time_ms, level, target: "step".to_owned(), message });
    }

    /// Stores how a step ended, then lets the agent forget it.
    async fn finished(&mut self, finished: StepFinished) -> Result<(), Status> {
        let node = self.peer.node;
        let step = clip(&finished.step_id, 40);
        self.fleet.0.live.clear_progress(node, &step);
        match step.parse::<StepId>() {
            Err(_) => warn!(step, "result of a step whose id is no UUID thrown away"),
            Ok(id) => {
                let outcome = outcome(&finished);
                match self.fleet.0.store.finish_step(node, id, &outcome).await {
                    Ok(()) => log_outcome(id, &outcome),
                    Err(StoreError::NotFound { .. }) => {
                        warn!(step, "result of a step that is not this node's thrown away");
                    }
                    // The agent keeps the result and brings it again.
                    Err(problem) => return Err(unavailable(&problem)),
                }
            }
        }
        let acknowledge = Command::AcknowledgeStep(AcknowledgeStep { step_id: finished.step_id });
        if !send(&self.commands, acknowledge).await {
            return Err(Status::deadline_exceeded("the agent does not read its commands"));
        }
        (self.fleet.0.poke)(node);
        Ok(())
    }

    async fn store_log(&mut self) {
        let records = self.log.drain();
        if records.is_empty() {
            return;
        }
        if let Err(problem) = self.fleet.0.store.append_log(self.peer.node, self.peer.boot, &records).await {
            warn!(%problem, records = records.len(), "an agent's log records are lost");
        }
    }
}

fn unavailable(problem: &StoreError) -> Status {
    error!(%problem, "an agent's session needs the database");
    Status::unavailable("the controller cannot use its database now: dial again")
}

fn log_outcome(step: StepId, outcome: &StepOutcome) {
    match outcome {
        StepOutcome::Succeeded(_) => info!(%step, "step succeeded"),
        StepOutcome::Failed(error) => warn!(%step, error, "step failed"),
    }
}

fn outcome(finished: &StepFinished) -> StepOutcome {
    let status = finished.status();
    if status == StepStatus::Succeeded {
        let json = if finished.result_json.is_empty() { "null" } else { &finished.result_json };
        return match serde_json::from_str(json) {
            Ok(result) => StepOutcome::Succeeded(result),
            Err(_) => StepOutcome::Failed(
                "the agent says that the step succeeded, but its result is not JSON".into(),
            ),
        };
    }
    if !finished.error.trim().is_empty() {
        return StepOutcome::Failed(clip(finished.error.trim(), MAX_ERROR_CHARS));
    }
    StepOutcome::Failed(
        match status {
            StepStatus::Cancelled => "the step was cancelled",
            StepStatus::TimedOut => "the step did not end before its deadline",
            StepStatus::UnknownStep => "the agent has no such step: use a deploy ISO of this version",
            StepStatus::BadArguments => "the agent does not accept the step's arguments",
            _ => "the step failed and the agent gave no reason",
        }
        .to_owned(),
    )
}
