//! How a session begins: Open Session and RAKP (IPMI 2.0, sections 13.17 to 13.24).

use std::time::Duration;

use bessemer_proto::secret::Secret;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{
    crypto::{Keys, Suite, sign},
    packet::{Kind, Packet},
    session::{Session, Wire},
    settings::Settings,
};
use crate::bmc::BmcError;

/// Only the name decides which user it is, not the privilege (section 13.20).
const NAME_ONLY: u8 = 0x10;
/// Of all messages: some BMCs give the tag back only when they say yes (OpenBMC), and refusals must be heard. The kind
/// tells the step, and each handshake has a socket of its own.
const TAG: u8 = 0;

/// Why a session did not begin.
#[derive(Debug)]
pub(super) enum Refusal {
    /// User or password is wrong.
    Credentials,
    /// The BMC does not know the cipher suite.
    Suite(BmcError),
    /// The BMC is silent when the suite is offered.
    Silent(BmcError),
    /// Both ends lost track of each other, and the password is not to blame: begin anew. Not for ever: see [`counts`].
    Anew(BmcError),
    /// Something else.
    Other(BmcError),
}

/// What both ends sign.
struct Parts {
    console: u32,
    bmc: u32,
    console_random: [u8; 16],
    bmc_random: [u8; 16],
    guid: [u8; 16],
    /// Role, length of the name, the name.
    who: Vec<u8>,
}

/// Begins a session; the suite is offered once for each of the waits.
pub(super) async fn begin(
    wire: Wire,
    settings: &Settings,
    suite: Suite,
    offers: &[Duration],
) -> Result<Session, Refusal> {
    let console = rand::random_range(1..=u32::MAX);
    let bmc = open(&wire, settings, suite, console, offers).await?;
    let mut who = vec![settings.privilege as u8 | NAME_ONLY];
    who.extend(u8::try_from(settings.user.len()));
    who.extend(settings.user.as_bytes());
    let mut parts =
        Parts { console, bmc, console_random: rand::random(), bmc_random: [0; 16], guid: [0; 16], who };
    let user = suite.key(settings.password.reveal().as_bytes());
    let code = greet(&wire, suite, &mut parts).await?;
    let expected = sign(
        &user,
        &[
            &console.to_le_bytes(),
            &bmc.to_le_bytes(),
            &parts.console_random,
            &parts.bmc_random,
            &parts.guid,
            &parts.who,
        ],
    );
    // The BMC has counted no failure yet, and is not told of one: so it does not lock the account.
    if !bool::from(subtle::ConstantTimeEq::ct_eq(&*expected, &*code)) {
        return Err(Refusal::Credentials);
    }
    let kg = settings.kg.as_ref().map(key_bytes);
    let session_key = Zeroizing::new(sign(
        &kg.map_or(user.clone(), |kg| suite.key(&kg)),
        &[&parts.console_random, &parts.bmc_random, &parts.who],
    ));
    // The BMC has a session as soon as it gets RAKP 3: whatever happens then, dropping this one closes that one.
    let session = Session::new(wire, Keys::new(suite, &session_key), console, bmc);
    prove(&session.wire, suite, &parts, &user, &session_key).await?;
    Ok(session)
}

fn key_bytes(kg: &Secret) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(hex::decode(kg.reveal()).unwrap_or_default())
}

/// Proposes the suite; the BMC answers with its id of the session.
async fn open(
    wire: &Wire,
    settings: &Settings,
    suite: Suite,
    console: u32,
    offers: &[Duration],
) -> Result<u32, Refusal> {
    const WHAT: &str = "Open Session";
    let mut request = vec![TAG, settings.privilege as u8, 0, 0];
    request.extend(console.to_le_bytes());
    for (kind, algorithm) in (0..).zip(suite.algorithms()) {
        request.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
    let asked = Asked { what: WHAT, kind: Kind::OpenResponse, waits: offers };
    let answer = ask(wire, &asked, Packet::plain(Kind::OpenRequest, request)).await;
    let answer = answer.map_err(Refusal::Silent)?;
    accepted(wire, &answer, WHAT)?;
    of_this(wire, &answer, WHAT, console)?;
    let bmc = answer.get(8..12).and_then(|id| id.try_into().ok()).map(u32::from_le_bytes);
    let chosen = answer.get(12..36).map(|payloads| [payloads[4], payloads[12], payloads[20]]);
    let (Some(bmc), Some(chosen)) = (bmc, chosen) else {
        return Err(malformed(wire, WHAT, "it is too short"));
    };
    // Something else than what was proposed may be no protection at all.
    if chosen != suite.algorithms() {
        return Err(malformed(wire, WHAT, "it chose a cipher suite that was not offered"));
    }
    Ok(bmc)
}

/// RAKP 1 and 2: random numbers; the BMC signs with the password. Answers with its code.
async fn greet(wire: &Wire, suite: Suite, parts: &mut Parts) -> Result<Vec<u8>, Refusal> {
    const WHAT: &str = "RAKP 1";
    let mut request = vec![TAG, 0, 0, 0];
    request.extend(parts.bmc.to_le_bytes());
    request.extend(parts.console_random);
    request.extend([parts.who[0], 0, 0]);
    request.extend(&parts.who[1..]);
    let asked = Asked { what: WHAT, kind: Kind::Rakp2, waits: wire.pace.waits };
    let answer = ask(wire, &asked, Packet::plain(Kind::Rakp1, request)).await.map_err(Refusal::Other)?;
    accepted(wire, &answer, WHAT)?;
    of_this(wire, &answer, WHAT, parts.console)?;
    let code = answer.get(40..40 + suite.digest_length());
    let (Some(random), Some(guid), Some(code)) = (answer.get(8..24), answer.get(24..40), code) else {
        return Err(malformed(wire, WHAT, "it is too short"));
    };
    parts.bmc_random.copy_from_slice(random);
    parts.guid.copy_from_slice(guid);
    Ok(code.to_vec())
}

/// RAKP 3 and 4: both ends prove that they have the keys.
async fn prove(
    wire: &Wire,
    suite: Suite,
    parts: &Parts,
    user: &ring::hmac::Key,
    session_key: &[u8],
) -> Result<(), Refusal> {
    const WHAT: &str = "RAKP 3";
    let mut request = vec![TAG, 0, 0, 0];
    request.extend(parts.bmc.to_le_bytes());
    request.extend(sign(user, &[&parts.bmc_random, &parts.console.to_le_bytes(), &parts.who]));
    // Not for long: a BMC whose answer was lost has its session and sends that answer never again.
    let waits = &wire.pace.waits[..wire.pace.waits.len().div_ceil(2)];
    let asked = Asked { what: WHAT, kind: Kind::Rakp4, waits };
    let answer = ask(wire, &asked, Packet::plain(Kind::Rakp3, request)).await.map_err(Refusal::Anew)?;
    accepted(wire, &answer, WHAT).map_err(|refusal| match refusal {
        // It has shown that it knows the same password: this is about another RAKP 1 than the one that was answered.
        Refusal::Credentials => {
            Refusal::Anew(status(wire, WHAT, answer[1], "it lost track of the session while it began"))
        }
        refusal => refusal,
    })?;
    of_this(wire, &answer, WHAT, parts.console)?;
    let expected =
        sign(&suite.key(session_key), &[&parts.console_random, &parts.bmc.to_le_bytes(), &parts.guid]);
    let code = answer.get(8..8 + suite.code_length()).unwrap_or_default();
    match subtle::ConstantTimeEq::ct_eq(&expected[..suite.code_length()], code).into() {
        true => Ok(()),
        // The password is right. No lock-out threatens, so this is no refusal of an account.
        false => Err(Refusal::Other(BmcError::DriverInfo(format!(
            "the BMC at {} knows user and password, but its key K_g is not that of driver_info: correct ipmi_hex_kg_key",
            wire.address
        )))),
    }
}

/// A question outside of a session.
struct Asked<'a> {
    what: &'static str,
    kind: Kind,
    /// After each of so many tries.
    waits: &'a [Duration],
}

async fn ask(wire: &Wire, asked: &Asked<'_>, packet: Packet) -> Result<Vec<u8>, BmcError> {
    let bytes = packet.bytes(None);
    let mut problem = None;
    for wait in asked.waits {
        let until = Instant::now() + *wait;
        problem = wire.send(&bytes).await.err().or(problem);
        while let Some(received) = wire.receive(until, &mut problem).await {
            match Packet::parse(&received, None) {
                Some(answer) if answer.kind == asked.kind && answer.payload.first() == Some(&TAG) => {
                    return Ok(answer.payload);
                }
                _ => {}
            }
        }
    }
    Err(wire.silent(asked.what, asked.waits, problem))
}

fn malformed(wire: &Wire, what: &str, problem: &str) -> Refusal {
    Refusal::Other(BmcError::Malformed {
        address: wire.address.clone(),
        what: what.to_owned(),
        problem: problem.to_owned(),
    })
}

fn status(wire: &Wire, what: &str, code: u8, meaning: &'static str) -> BmcError {
    BmcError::Completion { address: wire.address.clone(), what: what.to_owned(), code, meaning }
}

/// Whether the BMC may count a problem as a wrong password.
pub(super) fn counts(problem: &BmcError) -> bool {
    matches!(problem, BmcError::Completion { code: 0x0d | 0x0f, .. })
}

/// Whether an answer that says yes is about this session.
fn of_this(wire: &Wire, answer: &[u8], what: &str, console: u32) -> Result<(), Refusal> {
    match answer.get(4..8) {
        Some(id) if id == console.to_le_bytes() => Ok(()),
        _ => Err(malformed(wire, what, "it is too short, or about another session")),
    }
}

/// Looks at the status of an answer (table 13-15).
fn accepted(wire: &Wire, answer: &[u8], what: &str) -> Result<(), Refusal> {
    let code = *answer.get(1).ok_or_else(|| malformed(wire, what, "it is too short"))?;
    let meaning = match code {
        0 => return Ok(()),
        0x0d | 0x0f => return Err(Refusal::Credentials),
        0x01 | 0x0b => "all its sessions are in use: they end by themselves after a minute without use",
        0x02 | 0x08 => "it forgot the session while it began",
        0x04..=0x07 | 0x10 | 0x11 => "it does not know the cipher suite: set ipmi_cipher_suite",
        0x09 | 0x0a => "the user may not have this privilege: set ipmi_priv_level",
        _ => "it does not like the request",
    };
    let error = status(wire, what, code, meaning);
    Err(match code {
        0x02 | 0x08 => Refusal::Anew(error),
        0x04..=0x07 | 0x10..=0x12 => Refusal::Suite(error),
        _ => Refusal::Other(error),
    })
}
