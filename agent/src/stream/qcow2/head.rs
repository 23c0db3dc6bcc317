//! The start of the disk, read before anything is written: the partition table is there.

use super::{
    Qcow2Error,
    cluster::Cluster,
    map::{Item, Kind, Layout},
};
use crate::stream::{StreamError, random_access::RandomAccess};

impl Layout {
    /// The first `length` bytes of the disk, or fewer when they lie in several places of the file.
    pub async fn head(&self, image: &dyn RandomAccess, length: usize) -> Result<Vec<u8>, StreamError> {
        let Some(item) = self.item_at_start() else {
            let zeros = self.zero_ranges().next().filter(|(offset, _)| *offset == 0);
            let zeros = usize::try_from(zeros.map_or(0, |(_, length)| length)).unwrap_or(length);
            return Ok(vec![0; zeros.min(length)]);
        };
        // What a cluster has beyond the end of the file is left out.
        let there = item.end.min(image.length()).saturating_sub(item.start);
        match item.kind {
            Kind::Packed { guest } if there > 0 => self.unpacked(image, item, guest, length).await,
            _ if there == 0 => Ok(Vec::new()),
            _ => {
                let length = usize::try_from(there).unwrap_or(length).min(length);
                Ok(image.read_at(item.start, length).await?.to_vec())
            }
        }
    }

    async fn unpacked(
        &self,
        image: &dyn RandomAccess,
        item: Item,
        guest: u64,
        length: usize,
    ) -> Result<Vec<u8>, StreamError> {
        // At most one cluster and a sector.
        let packed = usize::try_from(item.end.saturating_sub(item.start)).unwrap_or_default();
        let mut cluster = Cluster::default();
        cluster.add(&image.read_at(item.start, packed).await?);
        cluster.unpack(self.header(), guest).map_err(|source| Qcow2Error::Cluster { guest, source })?;
        let mut head = vec![0; length];
        let count = cluster.take(&mut head);
        head.truncate(count);
        Ok(head)
    }
}
