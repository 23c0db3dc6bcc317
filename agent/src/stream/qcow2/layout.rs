//! Reads the tables of an image by range requests.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{
    Qcow2Error, entry,
    header::{self, Header},
    map::{Builder, Layout, Table},
};
use crate::stream::{StreamError, random_access::RandomAccess};

/// Most bytes of one request.
const LONGEST_READ: u64 = 1 << 20;

impl Layout {
    /// Reads header, L1 and L2 tables of `image`, and checks them.
    pub async fn read(image: &dyn RandomAccess) -> Result<Self, StreamError> {
        let length = image.length();
        let mut header = Region::new(image, 0, length.min(header::LENGTH as u64));
        let bytes = header.next().await?.unwrap_or_default();
        let mut builder = Builder::new(Header::parse(&bytes, length)?);
        builder.table(header.finish())?;
        Reader { image, builder, l2_bytes: 0 }.read().await
    }
}

struct Reader<'a> {
    image: &'a dyn RandomAccess,
    builder: Builder,
    /// Bytes of all L2 tables so far.
    l2_bytes: u64,
}

/// L2 tables that follow each other in the file and on the disk.
#[derive(Clone, Copy)]
struct Run {
    offset: u64,
    length: u64,
    guest: u64,
}

impl Reader<'_> {
    async fn read(mut self) -> Result<Layout, StreamError> {
        let header = self.builder.header();
        let (reach, l1_length) = (header.l2_reach(), u64::from(header.l1_entries) * 8);
        let mut l1 = Region::new(self.image, header.l1_offset, l1_length);
        let mut guest = 0;
        let mut run: Option<Run> = None;
        while let Some(bytes) = l1.next().await? {
            for entry in words(&bytes) {
                run = self.l1_entry(entry, guest, run).await?;
                guest += reach;
            }
        }
        self.run(run).await?;
        self.builder.table(l1.finish())?;
        Ok(self.builder.finish()?)
    }

    /// Adds an L2 table to the run, or reads the run and starts another.
    async fn l1_entry(
        &mut self,
        entry: u64,
        guest: u64,
        run: Option<Run>,
    ) -> Result<Option<Run>, StreamError> {
        let header = self.builder.header();
        let (cluster, reach) = (header.cluster(), header.l2_reach());
        let offset = entry::l1(entry, header).map_err(|reason| Qcow2Error::Entry {
            table: "L1",
            entry,
            guest,
            reason,
        })?;
        let Some(offset) = offset else {
            self.run(run).await?;
            self.builder.zeros(guest, reach)?;
            return Ok(None);
        };
        match run {
            Some(run) if run.offset + run.length == offset && run.length + cluster <= LONGEST_READ => {
                Ok(Some(Run { length: run.length + cluster, ..run }))
            }
            run => {
                self.run(run).await?;
                Ok(Some(Run { offset, length: cluster, guest }))
            }
        }
    }

    async fn run(&mut self, run: Option<Run>) -> Result<(), StreamError> {
        let Some(Run { offset, length, mut guest }) = run else { return Ok(()) };
        // Tables that are used more than once are found out in the end; this is about the work until then.
        self.l2_bytes += length;
        if self.l2_bytes > self.image.length() {
            return Err(Qcow2Error::Overlap(offset).into());
        }
        let mut region = Region::new(self.image, offset, length);
        while let Some(bytes) = region.next().await? {
            self.l2_entries(&bytes, &mut guest)?;
        }
        Ok(self.builder.table(region.finish())?)
    }

    fn l2_entries(&mut self, bytes: &[u8], guest: &mut u64) -> Result<(), Qcow2Error> {
        let (extended, cluster) = (self.builder.header().extended_l2, self.builder.header().cluster());
        let mut words = words(bytes);
        while let Some(entry) = words.next() {
            let bitmap = if extended { words.next().unwrap_or_default() } else { 0 };
            let mapping = entry::l2(entry, bitmap, self.builder.header())
                .map_err(|reason| Qcow2Error::Entry { table: "L2", entry, guest: *guest, reason })?;
            self.builder.cluster(*guest, mapping)?;
            *guest += cluster;
        }
        Ok(())
    }
}

/// Big-endian numbers of 64 bits.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks().0.iter().map(|word| u64::from_be_bytes(*word))
}

/// Reads a part of the file in pieces and remembers its digest.
struct Region<'a> {
    image: &'a dyn RandomAccess,
    start: u64,
    position: u64,
    end: u64,
    hasher: Sha256,
}

impl<'a> Region<'a> {
    fn new(image: &'a dyn RandomAccess, start: u64, length: u64) -> Self {
        Self { image, start, position: start, end: start + length, hasher: Sha256::new() }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        let length = (self.end - self.position).min(LONGEST_READ);
        if length == 0 {
            return Ok(None);
        }
        let bytes = self.image.read_at(self.position, length as usize).await?;
        if bytes.len() as u64 != length {
            return Err(Qcow2Error::Changed(self.position).into());
        }
        self.hasher.update(&bytes);
        self.position += length;
        Ok(Some(bytes))
    }

    fn finish(self) -> Table {
        Table { start: self.start, end: self.end, sha256: self.hasher.finalize().into() }
    }
}
