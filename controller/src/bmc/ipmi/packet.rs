//! Packets: RMCP, the IPMI 2.0 session header and trailer, and the messages inside (IPMI 2.0, sections 13.1, 13.6,
//! 13.8). What comes in is hostile: nothing is read that is not there, and nothing is believed that is not signed.

use super::crypto::Keys;

/// Longest packet that is read; the standard's largest is shorter.
pub(super) const MAX: usize = 1024;
const RMCP: [u8; 4] = [6, 0, 0xff, 7];
/// Authentication type of IPMI 2.0.
const RMCP_PLUS: u8 = 6;
const NEXT_HEADER: u8 = 7;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;
/// Authentication type, payload type, session, sequence number, payload length.
const HEADER: usize = 12;

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Message = 0x00,
    Sol = 0x01,
    OpenRequest = 0x10,
    OpenResponse = 0x11,
    Rakp1 = 0x12,
    Rakp2 = 0x13,
    Rakp3 = 0x14,
    Rakp4 = 0x15,
}

/// A packet that was believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) kind: Kind,
    pub(super) session: u32,
    pub(super) sequence: u32,
    pub(super) payload: Vec<u8>,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        use Kind::{Message, OpenRequest, OpenResponse, Rakp1, Rakp2, Rakp3, Rakp4, Sol};
        [Message, Sol, OpenRequest, OpenResponse, Rakp1, Rakp2, Rakp3, Rakp4]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

impl Packet {
    /// Outside of a session.
    pub(super) fn plain(kind: Kind, payload: Vec<u8>) -> Self {
        Self { kind, session: 0, sequence: 0, payload }
    }

    /// Its bytes; with keys it is encrypted and signed.
    pub(super) fn bytes(&self, keys: Option<&Keys>) -> Vec<u8> {
        let sealed = keys.map(|keys| keys.encrypt(&self.payload));
        let payload = sealed.as_deref().unwrap_or(&self.payload);
        let flags = if keys.is_some() { ENCRYPTED | AUTHENTICATED } else { 0 };
        let mut bytes = RMCP.to_vec();
        bytes.extend([RMCP_PLUS, self.kind as u8 | flags]);
        bytes.extend(self.session.to_le_bytes());
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend(payload);
        if let Some(keys) = keys {
            // The signed part is made a multiple of four bytes.
            let padding = (4 - (bytes.len() - RMCP.len() + 2) % 4) % 4;
            bytes.extend(std::iter::repeat_n(0xff, padding));
            bytes.extend(u8::try_from(padding));
            bytes.push(NEXT_HEADER);
            bytes.extend(keys.code(&bytes[RMCP.len()..]));
        }
        bytes
    }

    /// `None`: it is none of ours, or it cannot be believed. With keys, only what is signed and encrypted is.
    pub(super) fn parse(bytes: &[u8], keys: Option<&Keys>) -> Option<Self> {
        let (rmcp, signed) = bytes.split_at_checked(RMCP.len())?;
        // The sequence number of RMCP itself means nothing here.
        if rmcp[0] != RMCP[0] || rmcp[3] != RMCP[3] {
            return None;
        }
        let protected = signed.get(1)? & (ENCRYPTED | AUTHENTICATED);
        let body = match keys {
            Some(keys) if protected == ENCRYPTED | AUTHENTICATED => keys.verified(signed)?,
            None if protected == 0 => signed,
            _ => return None,
        };
        let (header, rest) = body.split_first_chunk::<HEADER>()?;
        let [auth, kind, s0, s1, s2, s3, q0, q1, q2, q3, l0, l1] = *header;
        let payload = rest.get(..usize::from(u16::from_le_bytes([l0, l1])))?;
        if auth != RMCP_PLUS {
            return None;
        }
        let payload = match keys {
            Some(keys) => keys.decrypt(payload).ok()?,
            None => payload.to_vec(),
        };
        Some(Self {
            kind: Kind::of(kind & !(ENCRYPTED | AUTHENTICATED))?,
            session: u32::from_le_bytes([s0, s1, s2, s3]),
            sequence: u32::from_le_bytes([q0, q1, q2, q3]),
            payload,
        })
    }
}

// === messages ===

const BMC: u8 = 0x20;
/// Software id of a remote console.
const CONSOLE: u8 = 0x81;

/// A message between a console and a BMC.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Even in requests.
    pub(super) net_fn: u8,
    pub(super) lun: u8,
    /// Counts to 63.
    pub(super) sequence: u8,
    pub(super) command: u8,
    /// In a response, the completion code first.
    pub(super) data: Vec<u8>,
}

impl Message {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (to, from) = if self.net_fn & 1 == 0 { (BMC, CONSOLE) } else { (CONSOLE, BMC) };
        let head = [to, self.net_fn << 2 | self.lun & 3];
        let mut tail = vec![from, self.sequence << 2, self.command];
        tail.extend(&self.data);
        let mut bytes = head.to_vec();
        bytes.push(checksum(&head));
        bytes.extend(&tail);
        bytes.push(checksum(&tail));
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, tail) = bytes.split_at_checked(3)?;
        if checksum(head) != 0 || checksum(tail) != 0 {
            return None;
        }
        let (_, tail) = tail.split_last()?;
        let [_, sequence, command, data @ ..] = tail else { return None };
        Some(Self {
            net_fn: head[1] >> 2,
            lun: head[1] & 3,
            sequence: sequence >> 2,
            command: *command,
            data: data.to_vec(),
        })
    }
}

/// Makes the sum of all bytes zero.
pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}
