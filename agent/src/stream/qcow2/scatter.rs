//! Places data while the file passes.

use bytes::{Buf, Bytes};
use sha2::{Digest as _, Sha256};

use super::{
    Qcow2Error,
    cluster::Cluster,
    map::{Cursor, Item, Kind, Layout},
};
use crate::stream::{StreamError, chunks::Chunks, placed::Placed};

/// Takes the whole file in its own order and says where on the disk its data belongs.
pub struct Qcow2Scatter<S> {
    source: S,
    layout: Layout,
    cursor: Cursor,
    /// The part of the file that is at hand, or comes next.
    item: Option<Item>,
    chunk: Bytes,
    /// Place in the file of the chunk's first byte; beyond the end of the file while zeros are added there.
    position: u64,
    complete: bool,
    failed: bool,
    table: Sha256,
    cluster: Cluster,
}

impl<S: Chunks> Qcow2Scatter<S> {
    /// Will read all of `source`, the file that `layout` was read from.
    pub fn new(layout: Layout, source: S) -> Self {
        let mut cursor = Cursor::default();
        let item = cursor.next(&layout);
        Self {
            source,
            layout,
            cursor,
            item,
            chunk: Bytes::new(),
            position: 0,
            complete: false,
            failed: false,
            table: Sha256::new(),
            cluster: Cluster::default(),
        }
    }

    /// Fills `buffer` with bytes that lie together on the disk: with as many as it holds or as
    /// come without a gap. `None` when the file has passed to its end and all its tables were the ones in the layout.
    ///
    /// Places and lengths are multiples of 512 if the buffer's length is; of the cluster or subcluster size, except at
    /// the end of the disk, if it is a multiple of that too.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<Option<Placed>, StreamError> {
        if self.failed {
            return Err(StreamError::Stopped);
        }
        let result = self.fill_from_source(buffer);
        self.failed = result.is_err();
        result
    }

    fn fill_from_source(&mut self, buffer: &mut [u8]) -> Result<Option<Placed>, StreamError> {
        let mut placed: Option<Placed> = None;
        // A full buffer does not wait for what comes next.
        while placed.is_none_or(|placed| placed.length < buffer.len()) {
            let Some(guest) = self.advance()? else { break };
            let Placed { offset, length } = placed.unwrap_or(Placed { offset: guest, length: 0 });
            if offset + length as u64 != guest {
                break;
            }
            let room = buffer.get_mut(length..).unwrap_or_default();
            placed = Some(Placed { offset, length: length + self.take(room) });
        }
        Ok(placed)
    }

    /// Goes on until there are bytes for the disk, and says for which place; `None` at the end.
    fn advance(&mut self) -> Result<Option<u64>, StreamError> {
        loop {
            if let Some(guest) = self.cluster.guest() {
                return Ok(Some(guest));
            }
            match self.item {
                Some(item) if self.position < item.start => self.pass(item.start)?,
                Some(item) if self.position >= item.end => self.leave(item)?,
                Some(Item { kind: Kind::Data { guest }, start, .. }) => {
                    if !self.chunk.is_empty() || self.complete {
                        return Ok(Some(guest + (self.position - start)));
                    }
                    self.refill()?;
                }
                Some(item) => self.pass(item.end)?,
                None if self.complete => return Ok(None),
                None => self.pass(u64::MAX)?,
            }
        }
    }

    /// Moves bytes for the disk to `room`. Only after [`Self::advance`] found some.
    fn take(&mut self, room: &mut [u8]) -> usize {
        if self.cluster.guest().is_some() {
            return self.cluster.take(room);
        }
        let Some(item) = self.item else { return 0 };
        let limit = clamp(item.end - self.position).min(room.len());
        // What a cluster has beyond the end of the file is zeros, as for QEMU.
        let count = if self.complete { limit } else { limit.min(self.chunk.len()) };
        let room = &mut room[..count];
        if self.complete {
            room.fill(0);
        } else {
            self.chunk.copy_to_slice(room);
        }
        self.position += count as u64;
        count
    }

    /// Moves on within the chunk, no further than to `end`, and gives what passes to who is waiting for it.
    fn pass(&mut self, end: u64) -> Result<(), StreamError> {
        if self.chunk.is_empty() {
            return self.refill();
        }
        let count = clamp(end - self.position).min(self.chunk.len());
        let passing = self.chunk.split_to(count);
        match self.item {
            Some(item) if self.position < item.start => {}
            Some(Item { kind: Kind::Table(_), .. }) => self.table.update(&passing),
            Some(Item { kind: Kind::Packed { .. }, .. }) => self.cluster.add(&passing),
            _ => {}
        }
        self.position += count as u64;
        Ok(())
    }

    fn refill(&mut self) -> Result<(), StreamError> {
        let length = self.layout.header().file_length;
        if self.complete {
            // Parts of the file are within it, except data; so this is not reached.
            return Err(Qcow2Error::Changed(length).into());
        }
        match self.source.next()? {
            Some(chunk) if chunk.len() as u64 > length - self.position => {
                Err(Qcow2Error::Changed(length).into())
            }
            Some(chunk) => {
                self.chunk = chunk;
                Ok(())
            }
            None if self.position < length => Err(Qcow2Error::Changed(self.position).into()),
            None => {
                self.complete = true;
                Ok(())
            }
        }
    }

    /// All of `item` has passed.
    fn leave(&mut self, item: Item) -> Result<(), StreamError> {
        match item.kind {
            Kind::Table(number) => {
                let sha256: [u8; 32] = self.table.finalize_reset().into();
                if self.layout.table(number).is_none_or(|table| table.sha256 != sha256) {
                    return Err(Qcow2Error::Changed(item.start).into());
                }
            }
            Kind::Packed { guest } => self
                .cluster
                .unpack(self.layout.header(), guest)
                .map_err(|source| Qcow2Error::Cluster { guest, source })?,
            Kind::Data { .. } => {}
        }
        self.item = self.cursor.next(&self.layout);
        let shared = match self.item {
            Some(Item { kind: Kind::Packed { .. }, start, .. }) => clamp(self.position.saturating_sub(start)),
            _ => 0,
        };
        self.cluster.keep_last(shared);
        Ok(())
    }
}

fn clamp(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
