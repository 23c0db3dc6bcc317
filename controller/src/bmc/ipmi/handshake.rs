//! How a session begins: Open Session and RAKP (IPMI 2.0, sections 13.17 to 13.24).

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

/// Why a session did not begin.
#[derive(Debug)]
pub(super) enum Refusal {
    /// User, password or K_g is wrong.
    Credentials,
    /// The BMC does not know the cipher suite, or is silent when it is offered.
    Suite(BmcError),
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

/// Begins a session.
pub(super) async fn begin(wire: Wire, settings: &Settings, suite: Suite) -> Result<Session, Refusal> {
    let console = rand::random_range(1..=u32::MAX);
    let bmc = open(&wire, settings, suite, console).await?;
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
    prove(&wire, suite, &parts, &user, &session_key).await?;
    Ok(Session::new(wire, Keys::new(suite, &session_key), console, bmc))
}

fn key_bytes(kg: &Secret) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(hex::decode(kg.reveal()).unwrap_or_default())
}

/// Proposes the suite; the BMC answers with its id of the session.
async fn open(wire: &Wire, settings: &Settings, suite: Suite, console: u32) -> Result<u32, Refusal> {
    let tag = rand::random();
    let mut request = vec![tag, settings.privilege as u8, 0, 0];
    request.extend(console.to_le_bytes());
    for (kind, algorithm) in (0..).zip(suite.algorithms()) {
        request.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
    let within = wire.pace.waits.len().min(if settings.suite.is_none() { 2 } else { usize::MAX });
    let asked = Asked { what: "Open Session", tag, kind: Kind::OpenResponse, tries: within };
    let answer = ask(wire, &asked, Packet::plain(Kind::OpenRequest, request)).await;
    let answer = answer.map_err(Refusal::Suite)?;
    accepted(wire, &answer, "Open Session")?;
    let ids = answer.get(4..12).and_then(|ids| ids.split_first_chunk::<4>());
    let chosen = answer.get(12..36).map(|payloads| [payloads[4], payloads[12], payloads[20]]);
    match (ids, chosen) {
        (Some((own, bmc)), Some(chosen)) if u32::from_le_bytes(*own) == console => {
            // Something else than what was proposed may be no protection at all.
            if chosen != suite.algorithms() {
                let problem = "it chose a cipher suite that was not offered".to_owned();
                return Err(Refusal::Other(malformed(wire, "Open Session", problem)));
            }
            let bmc = bmc.try_into().map(u32::from_le_bytes).unwrap_or_default();
            Ok(bmc)
        }
        _ => {
            Err(Refusal::Other(malformed(wire, "Open Session", "it is too short, or for others".to_owned())))
        }
    }
}

/// RAKP 1 and 2: random numbers; the BMC signs with the password. Answers with its code.
async fn greet(wire: &Wire, suite: Suite, parts: &mut Parts) -> Result<Vec<u8>, Refusal> {
    let tag = rand::random();
    let mut request = vec![tag, 0, 0, 0];
    request.extend(parts.bmc.to_le_bytes());
    request.extend(parts.console_random);
    request.extend([parts.who[0], 0, 0]);
    request.extend(&parts.who[1..]);
    let asked = Asked { what: "RAKP 1", tag, kind: Kind::Rakp2, tries: usize::MAX };
    let answer = ask(wire, &asked, Packet::plain(Kind::Rakp1, request)).await.map_err(Refusal::Other)?;
    accepted(wire, &answer, "RAKP 1")?;
    let code = answer.get(40..40 + suite.digest_length());
    let (Some(random), Some(guid), Some(code)) = (answer.get(8..24), answer.get(24..40), code) else {
        return Err(Refusal::Other(malformed(wire, "RAKP 1", "it is too short".to_owned())));
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
    let tag = rand::random();
    let mut request = vec![tag, 0, 0, 0];
    request.extend(parts.bmc.to_le_bytes());
    request.extend(sign(user, &[&parts.bmc_random, &parts.console.to_le_bytes(), &parts.who]));
    let asked = Asked { what: "RAKP 3", tag, kind: Kind::Rakp4, tries: usize::MAX };
    let answer = ask(wire, &asked, Packet::plain(Kind::Rakp3, request)).await.map_err(Refusal::Other)?;
    accepted(wire, &answer, "RAKP 3")?;
    let expected =
        sign(&suite.key(session_key), &[&parts.console_random, &parts.bmc.to_le_bytes(), &parts.guid]);
    let code = answer.get(8..8 + suite.code_length()).unwrap_or_default();
    match subtle::ConstantTimeEq::ct_eq(&expected[..suite.code_length()], code).into() {
        true => Ok(()),
        // The password is right, so K_g is not.
        false => Err(Refusal::Credentials),
    }
}

/// A question outside of a session.
struct Asked {
    what: &'static str,
    tag: u8,
    kind: Kind,
    tries: usize,
}

async fn ask(wire: &Wire, asked: &Asked, packet: Packet) -> Result<Vec<u8>, BmcError> {
    let bytes = packet.bytes(None);
    let mut problem = None;
    for wait in wire.pace.waits.iter().take(asked.tries) {
        let until = Instant::now() + *wait;
        problem = wire.send(&bytes).await.err().or(problem);
        while let Some(received) = wire.receive(until, &mut problem).await {
            match Packet::parse(&received, None) {
                Some(answer) if answer.kind == asked.kind && answer.payload.first() == Some(&asked.tag) => {
                    return Ok(answer.payload);
                }
                _ => {}
            }
        }
    }
    Err(wire.silent(asked.what, problem))
}

fn malformed(wire: &Wire, what: &str, problem: String) -> BmcError {
    BmcError::Malformed { address: wire.address.clone(), what: what.to_owned(), problem }
}

/// Looks at the status of an answer (table 13-15).
fn accepted(wire: &Wire, answer: &[u8], what: &str) -> Result<(), Refusal> {
    let status =
        *answer.get(1).ok_or_else(|| Refusal::Other(malformed(wire, what, "it is too short".to_owned())))?;
    let meaning = match status {
        0 => return Ok(()),
        0x0d | 0x0f => return Err(Refusal::Credentials),
        0x01 | 0x0b => "all its sessions are in use: they end by themselves after a minute without use",
        0x02 | 0x08 => "it forgot the session while it began",
        0x04..=0x07 | 0x10 | 0x11 => "it does not know the cipher suite: set ipmi_cipher_suite",
        0x09 | 0x0a => "the user may not have this privilege: set ipmi_priv_level",
        _ => "it does not like the request",
    };
    let error =
        BmcError::Completion { address: wire.address.clone(), what: what.to_owned(), code: status, meaning };
    Err(match status {
        0x04..=0x07 | 0x10..=0x12 => Refusal::Suite(error),
        _ => Refusal::Other(error),
    })
}
