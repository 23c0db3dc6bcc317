//! A socket, and a session over it.

use std::{io, time::Duration};

use tokio::{
    net::{UdpSocket, lookup_host},
    time::{Instant, timeout_at},
};

use super::{
    command::{self, Command},
    crypto::Keys,
    packet::{self, Kind, Message, Packet},
    settings::Settings,
};
use crate::bmc::BmcError;

/// Until a network that said no is listened to again.
const BREATH: Duration = Duration::from_millis(200);

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// After each of so many tries.
    pub(super) waits: &'static [Duration],
    /// All of a command, with the beginning of a session.
    pub(super) command: Duration,
    /// A session that was not used for so long is not used again: BMCs end it after a minute.
    pub(super) idle: Duration,
    /// A session that was used so lately is there.
    pub(super) fresh: Duration,
    /// How long a BMC may take until it goes down for a restart.
    pub(super) down: Duration,
    /// A suite that may not be the best of the BMC is used for so long.
    pub(super) doubt: Duration,
    /// Before a busy BMC is asked again.
    pub(super) busy: Duration,
    /// Shortest pause between two looks at something that changes.
    pub(super) poll: Duration,
    /// How long a BMC may take to start.
    pub(super) start: Duration,
    /// Until a packet of the console is sent again.
    pub(super) sol: Duration,
    /// Between two signs of life of a console.
    pub(super) alive: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        const WAITS: &[Duration] = &[
            Duration::from_secs(1),
            Duration::from_secs(1),
            Duration::from_secs(2),
            Duration::from_secs(3),
            Duration::from_secs(4),
        ];
        Self {
            waits: WAITS,
            command: Duration::from_secs(45),
            idle: Duration::from_secs(30),
            fresh: Duration::from_secs(5),
            down: Duration::from_secs(60),
            doubt: Duration::from_secs(600),
            busy: Duration::from_millis(500),
            poll: Duration::from_secs(1),
            start: Duration::from_secs(600),
            sol: Duration::from_secs(1),
            alive: Duration::from_secs(20),
        }
    }
}

/// A socket that leads to one BMC.
pub(super) struct Wire {
    socket: UdpSocket,
    /// As messages show it.
    pub(super) address: String,
    pub(super) pace: Pace,
}

impl Wire {
    pub(super) async fn open(settings: &Settings, pace: Pace) -> Result<Self, BmcError> {
        let address = settings.address();
        match connect(settings).await {
            Ok(socket) => Ok(Self { socket, address, pace }),
            Err(source) => Err(BmcError::Unreachable { address, source: source.into() }),
        }
    }

    pub(super) async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes).await.map(drop)
    }

    /// The next packet until then. A network that says no may say yes a moment later.
    pub(super) async fn receive(&self, until: Instant, problem: &mut Option<io::Error>) -> Option<Vec<u8>> {
        let mut buffer = [0; packet::MAX];
        loop {
            match timeout_at(until, self.socket.recv(&mut buffer)).await {
                Ok(Ok(length)) => return Some(buffer[..length].to_vec()),
                Ok(Err(error)) => {
                    *problem = Some(error);
                    tokio::time::sleep_until(until.min(Instant::now() + BREATH)).await;
                }
                Err(_) => return None,
            }
        }
    }

    /// The error for no answer within these waits.
    pub(super) fn silent(&self, what: &str, waits: &[Duration], problem: Option<io::Error>) -> BmcError {
        let address = self.address.clone();
        match problem {
            Some(source) => BmcError::Unreachable { address, source: source.into() },
            None => BmcError::Timeout {
                address,
                what: what.to_owned(),
                seconds: waits.iter().sum::<Duration>().as_secs(),
            },
        }
    }
}

async fn connect(settings: &Settings) -> io::Result<UdpSocket> {
    let mut problem = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host((settings.host.as_str(), settings.port)).await?.take(8) {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

/// A session. Dropping it closes it.
pub(super) struct Session {
    pub(super) wire: Wire,
    keys: Keys,
    own: u32,
    bmc: u32,
    sequence: u32,
    request: u8,
    received: Window,
    /// When the BMC answered last.
    pub(super) used: Instant,
}

/// Which sequence numbers were received (section 6.12.13).
#[derive(Debug, Default)]
struct Window {
    highest: u32,
    /// Bit 0 is the highest.
    seen: u32,
}

impl Window {
    /// Whether that number is new; it is not afterwards.
    fn take(&mut self, sequence: u32) -> bool {
        if sequence == 0 {
            return false;
        }
        if let Some(ahead) = sequence.checked_sub(self.highest).filter(|ahead| *ahead > 0) {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = sequence;
            return true;
        }
        let behind = self.highest - sequence;
        let Some(bit) = 1u32.checked_shl(behind) else { return false };
        let new = self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // One packet, and no wait for the answer: if it is lost, the BMC ends the session after a minute.
        let message = self.message(&command::CLOSE_SESSION, &self.bmc.to_le_bytes());
        let packet = self.packet(Kind::Message, message);
        let bytes = packet.bytes(Some(&self.keys));
        self.wire.socket.try_send(&bytes).ok();
    }
}

// === impl Session ===

impl Session {
    pub(super) fn new(wire: Wire, keys: Keys, own: u32, bmc: u32) -> Self {
        let received = Window::default();
        Self { wire, keys, own, bmc, sequence: 0, request: 0, received, used: Instant::now() }
    }

    /// Sends a command until it is answered; the completion code, and the data after it.
    pub(super) async fn exchange(
        &mut self,
        command: &Command,
        data: &[u8],
    ) -> Result<(u8, Vec<u8>), BmcError> {
        let message = self.message(command, data);
        let request = self.request;
        let mut problem = None;
        for wait in self.wire.pace.waits {
            let until = Instant::now() + *wait;
            problem = self.send(Kind::Message, message.clone()).await.err().or(problem);
            while let Some(packet) = self.receive(until, &mut problem).await {
                // Whatever of a console comes meanwhile is sent again.
                if packet.kind == Kind::Message
                    && let Some(answer) = answer_to(command, request, &packet)
                {
                    let Some((code, data)) = answer.data.split_first() else {
                        return Err(self.malformed(command, "it has no completion code"));
                    };
                    return Ok((*code, data.to_vec()));
                }
            }
        }
        Err(self.wire.silent(command.name, self.wire.pace.waits, problem))
    }

    /// Sends a command without waiting for its answer.
    pub(super) async fn post(&mut self, command: &Command, data: &[u8]) -> io::Result<()> {
        let message = self.message(command, data);
        self.send(Kind::Message, message).await
    }

    pub(super) async fn send(&mut self, kind: Kind, payload: Vec<u8>) -> io::Result<()> {
        let packet = self.packet(kind, payload);
        self.wire.send(&packet.bytes(Some(&self.keys))).await
    }

    /// The next packet of this session until then that was not received before.
    pub(super) async fn receive(
        &mut self,
        until: Instant,
        problem: &mut Option<io::Error>,
    ) -> Option<Packet> {
        loop {
            let received = self.wire.receive(until, problem).await?;
            match Packet::parse(&received, Some(&self.keys)) {
                Some(packet) if packet.session == self.own && self.received.take(packet.sequence) => {
                    self.used = Instant::now();
                    return Some(packet);
                }
                _ => {}
            }
        }
    }

    pub(super) fn malformed(&self, command: &Command, problem: &str) -> BmcError {
        command::malformed(&self.wire.address, command, problem)
    }

    fn message(&mut self, command: &Command, data: &[u8]) -> Vec<u8> {
        self.request = (self.request + 1) & 63;
        Message {
            net_fn: command.net_fn,
            lun: command.lun,
            sequence: self.request,
            command: command.code,
            data: data.to_vec(),
        }
        .bytes()
    }

    fn packet(&mut self, kind: Kind, payload: Vec<u8>) -> Packet {
        // 0 is for packets outside of sessions.
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        Packet { kind, session: self.bmc, sequence: self.sequence, payload }
    }
}

fn answer_to(command: &Command, request: u8, packet: &Packet) -> Option<Message> {
    let answer = Message::parse(&packet.payload)?;
    let is_ours =
        answer.net_fn == command.net_fn | 1 && answer.command == command.code && answer.sequence == request;
    is_ours.then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_network_that_says_no_is_listened_to_again_soon() {
        let first = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap();
        let info = serde_json::json!({"ipmi_address": "127.0.0.1", "ipmi_port": address.port()});
        let settings = Settings::from_driver_info(info.as_object().unwrap()).unwrap();
        let wire = Wire::open(&settings, Pace::default()).await.unwrap();
        drop(first);
        wire.send(b"?").await.unwrap();
        let mut problem = None;
        let later = Instant::now() + Duration::from_secs(3600);
        let answer = async {
            // After the refusal came.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let second = UdpSocket::bind(address).await.unwrap();
            second.send_to(b"!", wire.socket.local_addr().unwrap()).await.unwrap();
        };
        let both = async { tokio::join!(wire.receive(later, &mut problem), answer).0 };
        let received = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
        assert_eq!(received.as_deref(), Some(&b"!"[..]));
        assert!(problem.is_some(), "the network did say no");
    }

    #[test]
    fn each_sequence_number_is_taken_once() {
        let mut window = Window::default();
        let taken: Vec<_> = [1, 1, 3, 2, 2, 40, 9, 8, 8, 40, 39, 0, 41].map(|n| window.take(n)).into();
        let expected = [true, false, true, true, false, true, true, false, false, false, true, false, true];
        assert_eq!(taken, expected);
        assert!(window.take(u32::MAX) && !window.take(u32::MAX) && !window.take(41));
    }
}
