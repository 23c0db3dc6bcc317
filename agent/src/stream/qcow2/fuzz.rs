//! The whole reader over bytes in memory, for the fuzzer and for tests.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;

use super::{Layout, Qcow2Error, Qcow2Scatter};
use crate::stream::{StreamError, chunks::Chunks, random_access::RandomAccess};

/// An image in memory.
pub(super) struct Memory(pub(super) Bytes);

#[async_trait]
impl RandomAccess for Memory {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, StreamError> {
        let range = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(length)?));
        let inside = range.filter(|range| range.end <= self.0.len());
        Ok(inside.map(|range| self.0.slice(range)).ok_or(Qcow2Error::Changed(offset))?)
    }
}

impl Chunks for Memory {
    fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        let length = self.0.len().min(FUZZ_CHUNK);
        Ok((length > 0).then(|| self.0.split_to(length)))
    }
}

const FUZZ_CHUNK: usize = 1000;
/// A few bytes can describe a disk of any size; a fuzzer that inflates it learns nothing more.
const FUZZ_LARGEST_DISK: u64 = 16 << 20;

/// Reads `bytes` as an image from end to end, for fuzzing.
///
/// # Panics
/// When what was placed and what is to be zeroed are not exactly the disk.
#[doc(hidden)]
pub fn fuzz_layout(bytes: &[u8]) -> Result<(), StreamError> {
    let bytes = Bytes::copy_from_slice(bytes);
    let layout = Layout::read(&Memory(bytes.clone())).now_or_never().unwrap_or(Err(StreamError::Stopped))?;
    let size = layout.virtual_size();
    if size > FUZZ_LARGEST_DISK {
        return Ok(());
    }
    let mut covered: Vec<(u64, u64)> = layout.zero_ranges().collect();
    let mut scatter = Qcow2Scatter::new(layout, Memory(bytes));
    let mut buffer = vec![0; 5 << 10];
    while let Some(placed) = scatter.fill(&mut buffer)? {
        covered.push((placed.offset, placed.length as u64));
    }
    covered.sort_unstable();
    let end = covered.iter().fold(0, |end, (offset, length)| {
        assert_eq!(end, *offset, "a gap or an overlap on the disk");
        end + length
    });
    assert_eq!(end, size, "the end of the disk");
    Ok(())
}
