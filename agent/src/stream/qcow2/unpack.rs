//! Inflates one compressed cluster (specification, "Compressed Clusters Descriptor" and `compression_type`).

use std::io;

use flate2::{Decompress, FlushDecompress};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::header::Compression;

/// A cluster has at most 2 MiB, but the encoder's level decides of the window: up to 8 MiB at level 19.
const LARGEST_WINDOW_LOG: u32 = 23;

/// Inflates clusters.
pub(super) enum Unpacker {
    Zlib(Box<Decompress>),
    Zstd(Decoder<'static>),
}

impl Unpacker {
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Zlib => Self::Zlib(Box::new(Decompress::new(false))),
            Compression::Zstd => {
                let mut decoder = Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(LARGEST_WINDOW_LOG))?;
                Self::Zstd(decoder)
            }
        })
    }

    /// Fills `cluster` from `packed`. What follows the data in `packed` belongs to somebody else.
    pub(super) fn unpack(&mut self, packed: &[u8], cluster: &mut [u8]) -> io::Result<()> {
        let count = match self {
            Self::Zlib(inflate) => zlib(inflate, packed, cluster)?,
            Self::Zstd(decoder) => zstd(decoder, packed, cluster)?,
        };
        if count == cluster.len() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("it has {count} bytes when unpacked, not {}", cluster.len()),
        ))
    }
}

fn zlib(inflate: &mut Decompress, packed: &[u8], cluster: &mut [u8]) -> io::Result<usize> {
    inflate.reset(false);
    inflate
        .decompress(packed, cluster, FlushDecompress::Finish)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(usize::try_from(inflate.total_out()).unwrap_or(usize::MAX))
}

fn zstd(decoder: &mut Decoder<'static>, packed: &[u8], cluster: &mut [u8]) -> io::Result<usize> {
    decoder.reinit()?;
    let mut input = InBuffer::around(packed);
    let mut output = OutBuffer::around(cluster);
    loop {
        let before = (input.pos(), output.pos());
        let hint = decoder.run(&mut input, &mut output)?;
        if hint == 0 || (input.pos(), output.pos()) == before {
            return Ok(output.pos());
        }
    }
}
