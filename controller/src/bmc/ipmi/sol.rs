//! Serial over LAN (IPMI 2.0, section 15; activation 24.1, 24.2).

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    io::{
        AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, ReadHalf,
        WriteHalf,
    },
    task::JoinHandle,
    time::Instant,
};
use url::Url;

use super::{
    Machine,
    command::{self, ACTIVATE_PAYLOAD, DEACTIVATE_PAYLOAD, GET_PAYLOAD_INFO},
    packet::{Kind, Message},
    session::Session,
};
use crate::bmc::{BmcError, Claim, Console, SerialLine, Taken};

const SOL: u8 = 1;
const INSTANCE: u8 = 1;
/// Encrypted, authenticated.
const PROTECTED: u8 = 0xc0;
const ALREADY_ACTIVE: u8 = 0x80;
/// Answers for the console not being enabled, and for its being busy.
const DISABLED: u8 = 0x81;

/// In packets to the BMC and from it.
const NACK: u8 = 0x40;
/// From the BMC: it cannot take characters now; the console was ended.
const UNAVAILABLE: u8 = 0x20;
const DEACTIVATED: u8 = 0x10;

/// Bytes between the session and who reads it.
const BUFFER: usize = 64 * 1024;
/// Header of a packet of the console.
const HEADER: usize = 4;
/// Most characters in one packet, where the BMC does not say less.
const MOST: usize = 200;
/// Tries until a packet that is not acknowledged ends the console.
const TRIES: u32 = 10;
/// Signs of life without an answer that end it.
const MISSED: u32 = 3;
const NUMBERS: u8 = 15;

#[async_trait]
impl Console for Machine {
    async fn has_serial(&self) -> Result<bool, BmcError> {
        Ok(true)
    }

    async fn serial(&self, claim: Claim) -> Result<Box<dyn SerialLine>, BmcError> {
        let mut session = self.client.session().await?;
        let offer = activate(&mut session, claim).await?;
        let owner = owner(&mut session).await?;
        let port = offer.port.filter(|port| *port != self.client.settings.port);
        let (here, there) = tokio::io::duplex(BUFFER);
        let shared = Arc::new(Shared::default());
        let (from, to) = tokio::io::split(there);
        let link = Link {
            session,
            from,
            to,
            most: offer.most,
            port,
            number: 0,
            received: 0,
            owner,
            waiting: None,
            shared: Arc::clone(&shared),
        };
        let link = tokio::spawn(link.run());
        Ok(Box::new(Line { stream: here, link, shared }))
    }

    async fn graphical(&self) -> Result<Option<Url>, BmcError> {
        Ok(None)
    }
}

/// What the BMC says of its console.
struct Offer {
    /// Characters in a packet.
    most: usize,
    port: Option<u16>,
}

/// Begins the console.
async fn activate(session: &mut Session, claim: Claim) -> Result<Offer, BmcError> {
    let request = [SOL, INSTANCE, PROTECTED, 0, 0, 0];
    let (mut code, mut data) = session.exchange(&ACTIVATE_PAYLOAD, &request).await?;
    if code == ALREADY_ACTIVE && claim == Claim::Take {
        // Somebody's session that was left open, perhaps our own from before a restart.
        session.exchange(&DEACTIVATE_PAYLOAD, &[SOL, INSTANCE, 0, 0, 0, 0]).await?;
        (code, data) = session.exchange(&ACTIVATE_PAYLOAD, &request).await?;
    }
    let address = session.wire.address.clone();
    match code {
        0 => {}
        ALREADY_ACTIVE => {
            let what = match claim {
                Claim::Take => {
                    "open the serial console: somebody else uses it, and it does not let go".to_owned()
                }
                Claim::Wait => format!("open the serial console: {Taken}"),
            };
            return Err(BmcError::Unsupported { address, what });
        }
        DISABLED => {
            let what =
                "open the serial console: serial over LAN is disabled, enable it in the BMC".to_owned();
            return Err(BmcError::Unsupported { address, what });
        }
        code => return Err(command::refused(&address, &ACTIVATE_PAYLOAD, code)),
    }
    let number =
        |at: usize| data.get(at..at + 2).and_then(|number| number.try_into().ok()).map(u16::from_le_bytes);
    // Some BMCs count the header of the packet, some do not, some say nothing of use.
    let most = usize::from(number(4).unwrap_or_default()).saturating_sub(HEADER);
    let port = number(8).filter(|port| ![0, u16::MAX].contains(port));
    Ok(Offer { most: if most == 0 { 1 } else { most.min(MOST) }, port })
}

/// Which session has the console now, as the BMC says it.
async fn owner(session: &mut Session) -> Result<Option<[u8; 4]>, BmcError> {
    let (code, data) = session.exchange(&GET_PAYLOAD_INFO, &[SOL, INSTANCE]).await?;
    Ok(data.first_chunk().copied().filter(|_| code == 0))
}

/// Why a console ended by itself.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Taken(#[from] Taken),
    #[error("the BMC has not answered on the serial console for {} s{}", .0.as_secs(), hint(*.1))]
    Silent(Duration, Option<u16>),
}

fn hint(port: Option<u16>) -> String {
    port.map_or_else(String::new, |port| {
        format!("; it has it on UDP port {port}, and ipmi_port is another one")
    })
}

/// What both ends of a line know.
#[derive(Default)]
struct Shared {
    /// Why it ended, when it ended by itself.
    ended: OnceLock<Broken>,
    /// The BMC does not pass on what is typed.
    deaf: AtomicBool,
}

impl Shared {
    fn end(&self) -> Option<io::Error> {
        self.ended.get().map(|reason| match reason {
            Broken::Taken(taken) => io::Error::other(*taken),
            Broken::Silent(..) => io::Error::other(reason.to_string()),
        })
    }
}

/// The end of the console that the controller has.
struct Line {
    stream: DuplexStream,
    link: JoinHandle<()>,
    shared: Arc<Shared>,
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() == before
            && buffer.remaining() > 0
            && let Some(reason) = self.shared.end()
        {
            return Poll::Ready(Err(reason));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.shared.deaf.load(Ordering::Relaxed) {
            let problem = "the machine takes no keys now: it is off, or its serial port is not in use";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ResourceBusy, problem)));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(written.map_err(|error| self.shared.end().unwrap_or(error)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        // It has told the BMC then.
        ready!(Pin::new(&mut self.link).poll(cx)).ok();
        Poll::Ready(Ok(()))
    }
}

/// The other end: between the line and the session.
struct Link {
    session: Session,
    from: ReadHalf<DuplexStream>,
    to: WriteHalf<DuplexStream>,
    most: usize,
    /// Where the BMC says that its console is, if that is elsewhere.
    port: Option<u16>,
    /// Number of the last packet of ours.
    number: u8,
    /// Number of the last packet of the BMC.
    received: u8,
    /// Which session has the console, as the BMC says it; `None`: it does not say.
    owner: Option<[u8; 4]>,
    /// What is not acknowledged yet.
    waiting: Option<Waiting>,
    shared: Arc<Shared>,
}

/// A packet that the BMC has not acknowledged.
struct Waiting {
    data: Vec<u8>,
    tries: u32,
    again: Instant,
    /// The BMC said that it cannot take it now.
    refused: bool,
}

/// A packet of the console (section 15.9).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SolPacket {
    pub(super) number: u8,
    pub(super) acknowledges: u8,
    pub(super) accepted: u8,
    pub(super) flags: u8,
    pub(super) data: Vec<u8>,
}

impl SolPacket {
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let ([number, acknowledges, accepted, flags], data) = payload.split_first_chunk::<HEADER>()?;
        let (number, acknowledges) = (number & 0x0f, acknowledges & 0x0f);
        Some(Self { number, acknowledges, accepted: *accepted, flags: *flags, data: data.to_vec() })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.number, self.acknowledges, self.accepted, self.flags];
        bytes.extend(&self.data);
        bytes
    }
}

// === impl Link ===

impl Link {
    /// Until the line is dropped, or the BMC is gone.
    async fn run(mut self) {
        let ended = self.carry().await;
        // The session's own end would end it as well, on BMCs that do as they should. Somebody else's is theirs.
        if !matches!(ended, Err(Broken::Taken(_))) {
            self.session.post(&DEACTIVATE_PAYLOAD, &[SOL, INSTANCE, 0, 0, 0, 0]).await.ok();
        }
        // Before the line sees its end.
        if let Err(reason) = ended {
            self.shared.ended.set(reason).ok();
        }
        self.to.shutdown().await.ok();
    }

    async fn carry(&mut self) -> Result<(), Broken> {
        let alive = self.session.wire.pace.alive;
        let (mut beat, mut missed) = (Instant::now() + alive, 0);
        let mut typed = vec![0; self.most];
        loop {
            let until = self.waiting.as_ref().map_or(beat, |waiting| waiting.again.min(beat));
            let mut problem = None;
            tokio::select! {
                packet = self.session.receive(until, &mut problem) => match packet {
                    Some(packet) => {
                        (beat, missed) = (Instant::now() + alive, 0);
                        if packet.kind == Kind::Message {
                            self.look_at_owner(&packet.payload)?;
                        }
                        if packet.kind == Kind::Sol && !self.take(&packet.payload).await? {
                            return Ok(());
                        }
                    }
                    None => {
                        self.send_again().await?;
                        if Instant::now() >= beat {
                            missed += 1;
                            if missed > MISSED {
                                return Err(Broken::Silent(alive * MISSED, self.port));
                            }
                            beat = Instant::now() + alive;
                            self.session.post(&GET_PAYLOAD_INFO, &[SOL, INSTANCE]).await.ok();
                        }
                    }
                },
                read = self.from.read(&mut typed), if self.waiting.is_none() => match read {
                    Ok(length @ 1..) => self.send(typed[..length].to_vec()).await,
                    // Nobody holds the line any more.
                    Ok(0) | Err(_) => return Ok(()),
                },
            }
        }
    }

    /// Not all BMCs say so when somebody else takes the console: whose it is shows it.
    fn look_at_owner(&mut self, payload: &[u8]) -> Result<(), Broken> {
        let answer = Message::parse(payload).filter(|answer| answer.command == GET_PAYLOAD_INFO.code);
        let Some([0, a, b, c, d, ..]) = answer.as_ref().map(|answer| answer.data.as_slice()) else {
            return Ok(());
        };
        if self.owner.is_none_or(|owner| owner == [*a, *b, *c, *d]) { Ok(()) } else { Err(Taken.into()) }
    }

    /// Takes a packet of the BMC; false: nobody holds the line any more.
    async fn take(&mut self, payload: &[u8]) -> Result<bool, Broken> {
        let Some(packet) = SolPacket::parse(payload) else { return Ok(true) };
        self.acknowledged(&packet);
        if packet.flags & DEACTIVATED != 0 {
            return Err(Taken.into());
        }
        if packet.number == 0 {
            return Ok(true);
        }
        let is_new = packet.number != self.received;
        // More cannot be acknowledged at once; the rest comes again.
        let data = &packet.data[..packet.data.len().min(usize::from(u8::MAX))];
        if is_new {
            // While the reader is slow, the BMC waits for its acknowledgement.
            if self.to.write_all(data).await.is_err() {
                return Ok(false);
            }
            self.received = packet.number;
        }
        let accepted = u8::try_from(data.len()).unwrap_or(u8::MAX);
        let acknowledgement =
            SolPacket { number: 0, acknowledges: packet.number, accepted, flags: 0, data: Vec::new() };
        self.session.send(Kind::Sol, acknowledgement.bytes()).await.ok();
        Ok(true)
    }

    fn acknowledged(&mut self, packet: &SolPacket) {
        if packet.acknowledges == 0 || packet.acknowledges != self.number {
            return;
        }
        let Some(waiting) = self.waiting.take() else { return };
        // A BMC whose line is slow takes a part. None and no reason is how some say that they took all.
        let accepted = usize::from(packet.accepted).min(waiting.data.len());
        let says_no = packet.flags & (NACK | UNAVAILABLE) != 0;
        let refused = says_no && accepted == 0;
        self.shared.deaf.store(refused, Ordering::Relaxed);
        if accepted == waiting.data.len() || accepted == 0 && !says_no {
            return;
        }
        self.number = next(self.number);
        let data = waiting.data[accepted..].to_vec();
        let (tries, pause) =
            if refused { (waiting.tries, self.session.wire.pace.sol) } else { (0, Duration::ZERO) };
        self.waiting = Some(Waiting { data, tries, again: Instant::now() + pause, refused });
    }

    async fn send(&mut self, data: Vec<u8>) {
        self.number = next(self.number);
        self.waiting = Some(Waiting { data, tries: 0, again: Instant::now(), refused: false });
        // What cannot be sent now is sent again.
        self.transmit().await;
    }

    async fn send_again(&mut self) -> Result<(), Broken> {
        match &self.waiting {
            Some(waiting) if Instant::now() < waiting.again => Ok(()),
            Some(waiting) if waiting.tries >= TRIES && waiting.refused => {
                // The BMC is there, the machine is not. Nobody wants these keys to come when it is switched on.
                self.waiting = None;
                self.shared.deaf.store(false, Ordering::Relaxed);
                Ok(())
            }
            Some(waiting) if waiting.tries >= TRIES => {
                Err(Broken::Silent(self.session.wire.pace.sol * TRIES, self.port))
            }
            Some(_) => {
                self.transmit().await;
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn transmit(&mut self) {
        let Some(waiting) = &mut self.waiting else { return };
        waiting.tries += 1;
        waiting.again = Instant::now() + self.session.wire.pace.sol;
        let data = waiting.data.clone();
        let packet = SolPacket { number: self.number, acknowledges: 0, accepted: 0, flags: 0, data };
        self.session.send(Kind::Sol, packet.bytes()).await.ok();
    }
}

/// 1 to 15, again and again.
fn next(number: u8) -> u8 {
    number % NUMBERS + 1
}
