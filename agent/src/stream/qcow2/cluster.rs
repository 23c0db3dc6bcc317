//! One compressed cluster on its way through: packed bytes in, bytes for the disk out.

use std::io;

use super::{header::Header, unpack::Unpacker};

/// Holds at most one cluster.
#[derive(Default)]
pub(super) struct Cluster {
    unpacker: Option<Unpacker>,
    /// What of the packed bytes has come.
    packed: Vec<u8>,
    unpacked: Vec<u8>,
    /// Bytes of the unpacked that were taken, and the end of those that are for the disk.
    taken: usize,
    end: usize,
    /// Place on the disk of the first unpacked byte.
    guest: u64,
}

impl Cluster {
    /// More packed bytes.
    pub(super) fn add(&mut self, packed: &[u8]) {
        self.packed.extend_from_slice(packed);
    }

    /// Forgets all packed bytes but the last `count`, which the next cluster starts with.
    pub(super) fn keep_last(&mut self, count: usize) {
        let forgotten = self.packed.len().saturating_sub(count);
        self.packed.drain(..forgotten);
    }

    /// Unpacks what was added, for the disk's byte `guest`.
    pub(super) fn unpack(&mut self, header: &Header, guest: u64) -> io::Result<()> {
        let unpacker = match &mut self.unpacker {
            Some(unpacker) => unpacker,
            none => none.insert(Unpacker::new(header.compression)?),
        };
        self.unpacked.resize(1 << header.cluster_bits, 0);
        unpacker.unpack(&self.packed, &mut self.unpacked)?;
        // The disk may end within the cluster.
        let left = usize::try_from(header.virtual_size.saturating_sub(guest)).unwrap_or(usize::MAX);
        (self.taken, self.end, self.guest) = (0, self.unpacked.len().min(left), guest);
        Ok(())
    }

    /// Place on the disk of the first byte that can be taken.
    pub(super) fn guest(&self) -> Option<u64> {
        (self.taken < self.end).then(|| self.guest + self.taken as u64)
    }

    /// Moves bytes for the disk to `room`, and says how many.
    pub(super) fn take(&mut self, room: &mut [u8]) -> usize {
        let ready = self.unpacked.get(self.taken..self.end).unwrap_or_default();
        let count = ready.len().min(room.len());
        room[..count].copy_from_slice(&ready[..count]);
        self.taken += count;
        count
    }
}
