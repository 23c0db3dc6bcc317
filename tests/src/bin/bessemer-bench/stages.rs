//! What each stage of a write takes alone: no pipeline can be faster than the slowest of its own.

use std::{fs, hint::black_box, os::fd::AsFd as _, path::Path};

use anyhow::Result;
use bessemer_agent::stream::{StreamError, chunks::Chunks, decode::Decoder};
use bessemer_proto::step::ImageFormat;
use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate};
use sha2::{Digest, Sha256, Sha512};

use crate::{
    cases::Medium,
    direct::{self, Buffer},
    images::{Form, Image},
    measure::{Runner, timed},
    server::Server,
    target::{Before, Target},
};

/// Bytes that travel at once.
const CHUNK: usize = 1 << 20;
/// Bytes that are digested again and again: more than a processor's cache holds.
const DIGESTED: usize = 64 << 20;
/// What is written: no zeros.
const FILLER: u8 = 0x5a;

/// Name of the stage that fetches over http, and over https.
pub(crate) const NETWORK: [&str; 2] = ["network, http", "network, https"];
/// Name of the stage that digests with SHA-256.
pub(crate) const SHA256: &str = "digest, sha256";

/// Name of the stage that unpacks `form`.
pub(crate) fn decode_name(form: Form) -> String {
    format!("decode, {}", form.name())
}

/// Name of the stage that writes the data of the image and makes its holes zero.
pub(crate) fn write_name(medium: Medium) -> String {
    format!("write data, zero holes, {}", medium_name(medium))
}

fn medium_name(medium: Medium) -> &'static str {
    match medium {
        Medium::Ram => "RAM",
        Medium::Disk => "disk",
    }
}

/// Measures each once: name and seconds for the whole image.
pub(crate) fn all(
    image: &Image,
    server: &Server,
    runner: Runner<'_>,
    targets: &mut [(Medium, Target)],
) -> Result<Vec<(String, f64)>> {
    let mut stages = Vec::new();
    for (name, tls) in NETWORK.into_iter().zip([false, true]) {
        stages.push((name.to_owned(), network(image, server, runner, tls)?));
    }
    let bytes = usize::try_from(image.bytes)?;
    let sample: Vec<u8> = fs::read(image.packed(Form::Zstd3)?)?.into_iter().cycle().take(DIGESTED).collect();
    stages.push((SHA256.to_owned(), digest::<Sha256>(&sample, bytes)?));
    stages.push(("digest, sha512".to_owned(), digest::<Sha512>(&sample, bytes)?));
    for form in [Form::Zstd3, Form::Zstd19, Form::Gzip, Form::Xz] {
        stages.push((decode_name(form), decode(image, form)?));
    }
    for (medium, target) in targets {
        let all = [(0, image.bytes)];
        stages.push((format!("write all, {}", medium_name(*medium)), write(target, image, &all)?));
        stages.push((write_name(*medium), write(target, image, &image.data)?));
    }
    Ok(stages)
}

fn network(image: &Image, server: &Server, runner: Runner<'_>, tls: bool) -> Result<f64> {
    let url = server.url(tls, &format!("{}/{}", image.name, Form::Raw.file()));
    let certificate = server.certificate.display();
    let script = format!("exec curl -fsS --cacert '{certificate}' -o /dev/null '{url}'");
    Ok(runner.run(Path::new("/dev/null"), &script)?.used.wall_seconds)
}

fn digest<D: Digest>(sample: &[u8], bytes: usize) -> Result<f64> {
    timed(|| {
        let mut digest = D::new();
        for chunk in sample.chunks_exact(CHUNK).cycle().take(bytes / CHUNK) {
            digest.update(chunk);
        }
        black_box(digest.finalize());
        Ok(())
    })
}

/// Bytes in memory as they come from a server.
struct Memory(Bytes);

impl Chunks for Memory {
    fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        let length = CHUNK.min(self.0.len());
        Ok((length > 0).then(|| self.0.split_to(length)))
    }
}

fn decode(image: &Image, form: Form) -> Result<f64> {
    let packed = Bytes::from(fs::read(image.packed(form)?)?);
    timed(|| {
        let mut decoder = Decoder::open(Memory(packed), ImageFormat::Auto)?;
        let mut buffer = vec![0; CHUNK];
        while decoder.fill(&mut buffer)? == CHUNK {
            black_box(&mut buffer);
        }
        Ok(())
    })
}

/// Writes `data` and makes the rest zero, one block after the other.
fn write(target: &mut Target, image: &Image, data: &[(u64, u64)]) -> Result<f64> {
    target.prepare(image, Before::Other)?;
    let (device, mut buffer) = (target.direct()?, Buffer::filled(FILLER));
    timed(|| {
        let mut done = 0;
        for &(offset, length) in data {
            zero(device, done, offset)?;
            direct::fill(device, &mut buffer, offset, length)?;
            done = offset + length;
        }
        zero(device, done, image.bytes)?;
        Ok(device.sync_all()?)
    })
}

fn zero(device: &fs::File, start: u64, end: u64) -> Result<()> {
    if start < end {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(device.as_fd(), flags, start, end - start)?;
    }
    Ok(())
}
