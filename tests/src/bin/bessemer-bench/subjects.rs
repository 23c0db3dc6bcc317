//! Who writes the image: the agent, and what a user would take instead. Each is a shell script with the disk as `$DISK`.

use std::path::Path;

use anyhow::Result;

use crate::{
    images::{Form, Image},
    server::Server,
    target::{After, Before},
};

/// Name of the agent in tables; what begins with it is the agent, too.
pub(crate) const OURS: &str = "bessemer";
/// Name of [`Source::qemu_img`].
pub(crate) const QEMU_IMG: &str = "qemu-img convert -m 1 -t none";
/// Name of [`Source::bmaptool`].
pub(crate) const BMAPTOOL: &str = "bmaptool copy --bmap";
/// Name of [`Source::pipeline`] with [`Tool::Coreutils`], for a raw image and SHA-256.
pub(crate) const TEE_SHA256SUM: &str = "curl | tee sha256sum | dd";

/// The file for digests.
pub(crate) const SUM: &str = "sum";
/// Proof by a manifest or a block map: a digest for each range.
const PER_RANGE: &str = "per range";

/// One who writes.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) script: String,
    /// What the written bytes are compared with.
    pub(crate) proof: &'static str,
    /// The digest that the script must have put into the file [`SUM`].
    pub(crate) digest: Option<String>,
    pub(crate) before: Before,
    pub(crate) after: After,
}

impl Subject {
    fn new(name: impl Into<String>, script: String) -> Self {
        Self {
            name: name.into(),
            script,
            proof: "none",
            digest: None,
            before: Before::Other,
            after: After::Image,
        }
    }

    pub(crate) fn ours(&self) -> bool {
        self.name.starts_with(OURS)
    }

    /// The same as `name`, onto a disk that holds something.
    pub(crate) fn onto(mut self, name: &str, before: Before) -> Self {
        self.name = name.to_owned();
        self.before = before;
        self
    }
}

/// What is written, and how it is served.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) agent: &'a Path,
    pub(crate) server: &'a Server,
    pub(crate) image: &'a Image,
    pub(crate) form: Form,
    pub(crate) tls: bool,
    /// As openssl names it.
    pub(crate) algorithm: &'static str,
}

impl Source<'_> {
    pub(crate) fn url(&self) -> String {
        self.server.url(self.tls, &format!("{}/{}", self.image.name, self.form.file()))
    }

    fn digest(&self) -> Result<String> {
        self.image.digest(self.form, self.algorithm)
    }

    fn write(&self, proof: &str) -> String {
        let ca =
            if self.tls { format!(" --ca '{}'", self.server.certificate.display()) } else { String::new() };
        let (agent, url) = (self.agent.display(), self.url());
        format!("exec '{agent}' write '{url}' \"$DISK\" {proof}{ca} --progress json")
    }

    /// The agent.
    pub(crate) fn ours(&self) -> Result<Subject> {
        let proof = format!("--{} {}", self.algorithm, self.digest()?);
        Ok(Subject { proof: self.algorithm, ..Subject::new(OURS, self.write(&proof)) })
    }

    /// The agent with a manifest, of which only the digest is known.
    pub(crate) fn ours_with_manifest(&self, bessemer: &Path) -> Result<Subject> {
        let (file, digest) = self.image.manifest(bessemer)?;
        let manifest = self.server.url(self.tls, &format!("{}/{file}", self.image.name));
        let proof = format!("--manifest '{manifest}' --manifest-sha256 {digest}");
        Ok(Subject { proof: PER_RANGE, ..Subject::new(OURS, self.write(&proof)) })
    }

    /// `curl | tee >(digest) | unpack | dd`.
    pub(crate) fn pipeline(&self, digest: Tool, unpack: Option<&str>) -> Result<Subject> {
        let tee = digest.command(self.algorithm);
        let ca = match self.tls {
            true => format!(" --cacert '{}'", self.server.certificate.display()),
            false => String::new(),
        };
        let script = [
            Some(format!("curl -fsS{ca} '{}'", self.url())),
            tee.as_ref().map(|command| format!("tee >({command} > {SUM})")),
            unpack.map(str::to_owned),
            Some(r#"dd of="$DISK" bs=4M iflag=fullblock oflag=direct conv=fsync status=none"#.to_owned()),
        ];
        let shown = [
            Some("curl".to_owned()),
            tee.as_ref().map(|command| format!("tee {command}")),
            unpack.map(str::to_owned),
            Some("dd".to_owned()),
        ];
        let join = |parts: [Option<String>; 4]| parts.into_iter().flatten().collect::<Vec<_>>().join(" | ");
        let subject = Subject::new(join(shown), join(script));
        if tee.is_none() {
            return Ok(subject);
        }
        Ok(Subject { proof: self.algorithm, digest: Some(self.digest()?), ..subject })
    }

    /// `qemu-img convert` from the server: no digest. One coroutine: with more, QEMU 7.2 often hangs when it reads over http.
    pub(crate) fn qemu_img(&self) -> Subject {
        let format = if self.form == Form::Qcow2 { "qcow2" } else { "raw" };
        let url = self.url();
        let script =
            format!("qemu-img convert -n -m 1 -t none -f {format} -O raw '{url}' \"$DISK\"\nsync \"$DISK\"");
        Subject::new(QEMU_IMG, format!("set -e; {script}"))
    }

    /// A copy in RAM and `qemu-img convert` from there: what a user does who wants a digest, or has no http in QEMU.
    pub(crate) fn copy_and_qemu_img(&self) -> Result<Subject> {
        let url = self.url();
        let script = format!(
            "set -e; trap 'rm -f image' EXIT; curl -fsS '{url}' -o image
openssl dgst -{} -r image > {SUM}
qemu-img convert -n -W -t none -f qcow2 -O raw image \"$DISK\"; sync \"$DISK\"",
            self.algorithm
        );
        let subject = Subject::new("curl -o RAM; openssl; qemu-img", script);
        Ok(Subject { proof: self.algorithm, digest: Some(self.digest()?), ..subject })
    }

    /// `bmaptool copy`: leaves alone what is not in the block map.
    pub(crate) fn bmaptool(&self) -> Result<Subject> {
        let (map, url) = (self.image.bmap()?, self.url());
        let script = format!("bmaptool -q copy --bmap '{}' '{url}' \"$DISK\"", map.display());
        Ok(Subject { proof: PER_RANGE, after: After::Data, ..Subject::new(BMAPTOOL, script) })
    }
}

/// Who computes the digest in a pipeline.
#[derive(Clone, Copy)]
pub(crate) enum Tool {
    Coreutils,
    OpenSsl,
    /// Nobody.
    None,
}

impl Tool {
    fn command(self, algorithm: &str) -> Option<String> {
        match self {
            Self::Coreutils => Some(format!("{algorithm}sum")),
            Self::OpenSsl => Some(format!("openssl dgst -{algorithm} -r")),
            Self::None => None,
        }
    }
}
