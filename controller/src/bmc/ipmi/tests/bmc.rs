//! A BMC that speaks RMCP+ and does with packets what a test wants. That it speaks as others do is shown by ipmitool.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{net::UdpSocket, task::JoinHandle};

use super::super::{
    crypto::{Keys, Suite, sign},
    packet::{Kind, Message, Packet},
    sol::SolPacket,
};

const SESSION: u32 = 0x0102_0304;
const GUID: [u8; 16] = [9; 16];

/// What becomes of the next packet that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is answered.
    Answered,
    /// It gets lost.
    Lost,
    /// It is answered, and the answer gets lost.
    AnswerLost,
    /// It is answered twice.
    Doubled,
    /// Its answer comes with the next one.
    Late,
    /// It ends the session.
    EndsSession,
    /// It ends the session and is answered.
    Forgotten,
}

#[derive(Default)]
pub(super) struct State {
    /// Of the next packets; then all are answered.
    pub(super) fates: VecDeque<Fate>,
    /// The codes of the next answers; then 0.
    pub(super) codes: VecDeque<u8>,
    /// Network function, command and data of each command that was done.
    pub(super) commands: Vec<(u8, u8, Vec<u8>)>,
    /// Packets that began a session.
    pub(super) opened: usize,
    /// Sessions that were closed.
    pub(super) closed: usize,
    /// RAKP 3 that came in.
    pub(super) proofs: usize,
    /// Logins that the BMC counts as failed.
    pub(super) failed: usize,
    /// The key K_g.
    pub(super) kg: Option<Vec<u8>>,
    /// Its user's password; otherwise `secret`.
    pub(super) password: Option<Vec<u8>>,
    /// What its machine still has to say.
    pub(super) flood: Vec<u8>,
    /// Nothing is answered when a suite is offered that it lacks.
    pub(super) is_shy: bool,
    /// Each RAKP 1 is answered when the next one comes.
    pub(super) is_slow: bool,
    /// What was typed on the console.
    pub(super) typed: Vec<u8>,
    pub(super) is_on: bool,
    /// The number of its maker; otherwise Supermicro.
    pub(super) maker: Option<u32>,
    /// The boot options that were written.
    pub(super) options: BTreeMap<u8, Vec<u8>>,
    /// Boot options that it does not have.
    pub(super) lacks: Vec<u8>,
    /// How it takes what is typed.
    pub(super) ear: Ear,
    /// A warm reset has no answer.
    pub(super) dies_at_reset: bool,
    /// Somebody else has the console.
    pub(super) is_taken: bool,
    /// Sessions for which the console was opened.
    pub(super) consoles: usize,
    sequence: u32,
    console: Option<Console>,
    held: Vec<Vec<u8>>,
    /// The answer to the last RAKP 1, of a BMC that is slow.
    slow: Vec<Vec<u8>>,
    sol_number: u8,
    last_typed: u8,
}

/// How what is typed is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ear {
    #[default]
    All,
    /// So many characters of a packet, with those flags.
    Some(usize, u8),
    /// Nothing, and no reason.
    Mute,
    /// The console belongs to somebody else now.
    Taken,
}

struct Console {
    id: u32,
    random: [u8; 16],
    /// The BMC's own, another one for each RAKP 1.
    answer: [u8; 16],
    who: Vec<u8>,
    keys: Option<Keys>,
}

pub(crate) struct Bmc {
    pub(crate) address: SocketAddr,
    pub(super) state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bmc {
    /// One that only has that suite; user `admin`, password `secret`.
    pub(super) async fn start(suite: Suite) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let served = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let answers = answers(&mut served.lock().unwrap(), suite, &buffer[..length]);
                for answer in answers {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { address, state, task }
    }

    /// It restarts before it answers a warm reset.
    pub(crate) fn dies_at_reset(&self) {
        self.state.lock().unwrap().dies_at_reset = true;
    }

    /// What was typed on its console.
    pub(crate) fn typed(&self) -> String {
        String::from_utf8(self.state.lock().unwrap().typed.clone()).unwrap()
    }

    /// The same, for tests of what is built upon it.
    pub(crate) async fn modern() -> Self {
        Self::start(Suite::Sha256).await
    }

    pub(super) fn expect(&self, fates: &[Fate]) {
        self.state.lock().unwrap().fates = fates.iter().copied().collect();
    }
}

fn answers(state: &mut State, suite: Suite, bytes: &[u8]) -> Vec<Vec<u8>> {
    let fate = state.fates.pop_front().unwrap_or(Fate::Answered);
    match fate {
        Fate::Lost => return Vec::new(),
        Fate::EndsSession => {
            state.console = None;
            return Vec::new();
        }
        Fate::Forgotten => state.console = None,
        _ => {}
    }
    let mut answers = std::mem::take(&mut state.held);
    answers.extend(answer(state, suite, bytes));
    match fate {
        Fate::AnswerLost => Vec::new(),
        Fate::Late => {
            state.held = answers;
            Vec::new()
        }
        Fate::Doubled => answers.iter().chain(&answers).cloned().collect(),
        _ => answers,
    }
}

fn answer(state: &mut State, suite: Suite, bytes: &[u8]) -> Vec<Vec<u8>> {
    if let Some(packet) = Packet::parse(bytes, None) {
        let plain = |kind, payload: Option<Vec<u8>>| {
            payload.into_iter().map(|payload| Packet::plain(kind, payload).bytes(None)).collect()
        };
        return match packet.kind {
            Kind::OpenRequest => plain(Kind::OpenResponse, open(state, suite, &packet.payload)),
            Kind::Rakp1 => {
                let answers: Vec<Vec<u8>> = plain(Kind::Rakp2, greet(state, suite, &packet.payload));
                if state.is_slow { std::mem::replace(&mut state.slow, answers) } else { answers }
            }
            Kind::Rakp3 => plain(Kind::Rakp4, prove(state, suite, &packet.payload)),
            // What ipmitool asks before it begins (section 22.13): IPMI 2.0 is known, the BMC has users.
            _ => Vec::new(),
        };
    }
    if bytes.get(4) == Some(&0) {
        return capabilities(bytes).into_iter().collect();
    }
    let Some(keys) = state.console.as_mut().and_then(|console| console.keys.take()) else {
        return Vec::new();
    };
    let packet = Packet::parse(bytes, Some(&keys)).filter(|packet| packet.session == SESSION);
    let mut answers = Vec::new();
    let id = state.console.as_ref().unwrap().id;
    for (kind, payload) in packet.map(|packet| inside(state, &packet)).unwrap_or_default() {
        state.sequence += 1;
        let answer = Packet { kind, session: id, sequence: state.sequence, payload };
        answers.push(answer.bytes(Some(&keys)));
    }
    state.console.as_mut().unwrap().keys = Some(keys);
    answers
}

/// As OpenBMC says no: the tag is given back only with a yes.
fn refusal(status: u8) -> Option<Vec<u8>> {
    Some(vec![0, status, 0, 0, 0, 0, 0, 0])
}

fn user_key(state: &State, suite: Suite) -> ring::hmac::Key {
    suite.key(state.password.as_deref().unwrap_or(b"secret"))
}

fn open(state: &mut State, suite: Suite, request: &[u8]) -> Option<Vec<u8>> {
    state.opened += 1;
    state.slow.clear();
    let algorithms = [request[12], request[20], request[28]];
    if algorithms != suite.algorithms() {
        return if state.is_shy { None } else { refusal(0x11) };
    }
    let mut answer = vec![request[0], 0, request[1], 0];
    answer.extend(&request[4..8]);
    answer.extend(SESSION.to_le_bytes());
    answer.extend(&request[8..32]);
    let id = u32::from_le_bytes(request[4..8].try_into().unwrap());
    state.console = Some(Console { id, random: [0; 16], answer: [0; 16], who: Vec::new(), keys: None });
    Some(answer)
}

fn greet(state: &mut State, suite: Suite, request: &[u8]) -> Option<Vec<u8>> {
    let user = user_key(state, suite);
    let Some(console) = &mut state.console else { return refusal(0x02) };
    console.random.copy_from_slice(&request[8..24]);
    console.who = [&request[24..25], &request[27..]].concat();
    console.answer = rand::random();
    if request[28..] != *b"admin" {
        state.failed += 1;
        return refusal(0x0d);
    }
    let mut answer = vec![request[0], 0, 0, 0];
    answer.extend(console.id.to_le_bytes());
    answer.extend(console.answer);
    answer.extend(GUID);
    let ids = [console.id.to_le_bytes(), SESSION.to_le_bytes()].concat();
    let parts = [&ids[..], &console.random, &console.answer, &GUID, &console.who];
    answer.extend(sign(&user, &parts));
    Some(answer)
}

fn prove(state: &mut State, suite: Suite, request: &[u8]) -> Option<Vec<u8>> {
    state.proofs += 1;
    let user = user_key(state, suite);
    let Some(console) = &mut state.console else { return refusal(0x02) };
    // The session is there: this is said once.
    if console.keys.is_some() {
        return None;
    }
    let mut answer = vec![request[0], 0, 0, 0];
    answer.extend(console.id.to_le_bytes());
    if request[8..] != sign(&user, &[&console.answer, &console.id.to_le_bytes(), &console.who]) {
        state.failed += 1;
        state.console = None;
        return refusal(0x0f);
    }
    let kg = state.kg.as_deref().map_or_else(|| user.clone(), |kg| suite.key(kg));
    let session_key = sign(&kg, &[&console.random, &console.answer, &console.who]);
    let code = sign(&suite.key(&session_key), &[&console.random, &SESSION.to_le_bytes(), &GUID]);
    answer.extend(&code[..suite.code_length()]);
    console.keys = Some(Keys::new(suite, &session_key));
    state.sequence = 0;
    Some(answer)
}

/// Get Channel Authentication Capabilities, outside of a session and in the packet of IPMI 1.5.
fn capabilities(bytes: &[u8]) -> Option<Vec<u8>> {
    let request = Message::parse(bytes.get(14..)?)?;
    let data = match request.command {
        0x38 => vec![0, 1, 0x80, 0x04, 0x02, 0, 0, 0, 0],
        _ => vec![0xc1],
    };
    let answer = Message { net_fn: request.net_fn | 1, data, ..request }.bytes();
    let mut packet = bytes[..13].to_vec();
    packet.push(answer.len() as u8);
    packet.extend(answer);
    Some(packet)
}

fn inside(state: &mut State, packet: &Packet) -> Vec<(Kind, Vec<u8>)> {
    match packet.kind {
        Kind::Message => {
            let Some(request) = Message::parse(&packet.payload) else { return Vec::new() };
            if (request.net_fn, request.command) == (0x06, 0x03) && state.dies_at_reset {
                return Vec::new();
            }
            let data = done(state, &request);
            vec![(Kind::Message, Message { net_fn: request.net_fn | 1, data, ..request }.bytes())]
        }
        Kind::Sol => console(state, &packet.payload),
        _ => Vec::new(),
    }
}

fn done(state: &mut State, request: &Message) -> Vec<u8> {
    if let Some(code @ 1..) = state.codes.pop_front() {
        return vec![code];
    }
    state.commands.push((request.net_fn, request.command, request.data.clone()));
    let mut answer = vec![0];
    answer.extend(match (request.net_fn, request.command) {
        (0x00, 0x01) => vec![u8::from(state.is_on), 0, 0],
        (0x00, 0x02) => {
            state.is_on = request.data[0] != 0;
            Vec::new()
        }
        (0x00, 0x08) if state.lacks.contains(&request.data[0]) => return vec![0x80],
        (0x00, 0x08) => {
            state.options.insert(request.data[0], request.data[1..].to_vec());
            Vec::new()
        }
        (0x00, 0x09) => {
            let found = state.options.get(&request.data[0]).cloned().unwrap_or_else(|| vec![0; 5]);
            [vec![1, request.data[0]], found].concat()
        }
        (0x06, 0x01) => {
            let [m0, m1, m2, _] = state.maker.unwrap_or(10876).to_le_bytes();
            vec![0x20, 1, 2, 0x30, 2, 0xbf, m0, m1, m2, 1, 0]
        }
        (0x06, 0x46) => {
            let mut name = if request.data[0] == 2 { b"admin".to_vec() } else { Vec::new() };
            name.resize(16, 0);
            name
        }
        // User 2, 20 bytes: is it the password, set it.
        (0x06, 0x47) => {
            let length = request.data[2..].iter().position(|byte| *byte == 0).unwrap_or(20);
            let given = request.data[2..2 + length].to_vec();
            match request.data[..2] {
                [0x82, 3] if state.password.as_ref() != Some(&given) => return vec![0x80],
                [0x82, 2] => state.password = Some(given),
                _ => {}
            }
            Vec::new()
        }
        // One entry in the log; no reservations; erased at once.
        (0x0a, 0x40) => vec![0x51, 1, 0],
        (0x0a, 0x42) => return vec![0xc1],
        (0x0a, 0x47) => vec![1],
        (0x06, 0x48) if state.is_taken => return vec![0x80],
        (0x06, 0x49) => {
            state.is_taken = false;
            Vec::new()
        }
        (0x06, 0x3b) => request.data.clone(),
        (0x06, 0x3c) => {
            state.closed += 1;
            Vec::new()
        }
        (0x06, 0x48) => {
            state.consoles += 1;
            vec![0, 0, 0, 0, 64, 0, 64, 0, 0x6f, 2, 0xff, 0xff]
        }
        _ => Vec::new(),
    });
    answer
}

/// Says what was typed, in capitals.
fn console(state: &mut State, payload: &[u8]) -> Vec<(Kind, Vec<u8>)> {
    let packet = SolPacket::parse(payload).unwrap();
    if packet.number == 0 {
        let accepted = usize::from(packet.accepted).min(state.flood.len());
        state.flood.drain(..accepted);
        if packet.acknowledges != state.sol_number || state.flood.is_empty() {
            return Vec::new();
        }
        state.sol_number = state.sol_number % 15 + 1;
        let (number, data) = (state.sol_number, state.flood.clone());
        let rest = SolPacket { number, acknowledges: 0, accepted: 0, flags: 0, data };
        return vec![(Kind::Sol, rest.bytes())];
    }
    let (most, flags) = match state.ear {
        Ear::All | Ear::Mute => (packet.data.len(), 0),
        Ear::Some(most, flags) => (most.min(packet.data.len()), flags),
        Ear::Taken => (0, 0x10),
    };
    let taken = &packet.data[..most];
    let accepted = if state.ear == Ear::Mute { 0 } else { most as u8 };
    let flags = if most < packet.data.len() { flags } else { 0 };
    let mut answer = SolPacket { number: 0, acknowledges: packet.number, accepted, flags, data: Vec::new() };
    if packet.number != state.last_typed && !taken.is_empty() {
        state.last_typed = packet.number;
        state.typed.extend(taken);
        state.sol_number = state.sol_number % 15 + 1;
        answer.number = state.sol_number;
        answer.data = if state.flood.is_empty() { taken.to_ascii_uppercase() } else { state.flood.clone() };
    }
    vec![(Kind::Sol, answer.bytes())]
}
