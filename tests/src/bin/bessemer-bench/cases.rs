//! What is compared with what.

use std::path::Path;

use anyhow::Result;

use crate::{
    images::{Form, Image},
    server::Server,
    subjects::{OURS, Source, Subject, Tool},
    target::Before,
};

/// The disk that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    Ram,
    Disk,
}

/// Subjects that do the same thing.
pub(crate) struct Case<'a> {
    pub(crate) name: &'static str,
    pub(crate) image: &'a Image,
    pub(crate) form: Form,
    pub(crate) medium: Medium,
    pub(crate) subjects: Vec<Subject>,
}

/// What cases are made from.
pub(crate) struct Parts<'a> {
    pub(crate) agent: &'a Path,
    /// The controller's binary: it makes manifests.
    pub(crate) bessemer: &'a Path,
    pub(crate) server: &'a Server,
    pub(crate) debian: &'a Image,
    pub(crate) noise: &'a Image,
}

/// All of them.
pub(crate) fn all<'a>(parts: &'a Parts<'a>) -> Result<Vec<Case<'a>>> {
    let debian = |form| Source {
        agent: parts.agent,
        server: parts.server,
        image: parts.debian,
        form,
        tls: false,
        algorithm: "sha256",
    };
    let noise = |form| Source { image: parts.noise, ..debian(form) };
    let raw = debian(Form::Raw);
    let ram = |name, source| case(name, source, Medium::Ram);
    Ok(vec![
        ram("raw", raw)?,
        ram("raw, https", Source { tls: true, ..raw })?,
        ram("raw, sha512", Source { algorithm: "sha512", ..raw })?,
        ram("zstd -3", debian(Form::Zstd3))?,
        ram("zstd -19", debian(Form::Zstd19))?,
        ram("gzip", debian(Form::Gzip))?,
        ram("xz", debian(Form::Xz))?,
        ram("qcow2", debian(Form::Qcow2))?,
        ram("noise, raw", noise(Form::Raw))?,
        ram("noise, zstd -3", noise(Form::Zstd3))?,
        case("raw, on disk", raw, Medium::Disk)?,
        case("zstd -3, on disk", debian(Form::Zstd3), Medium::Disk)?,
        manifest(raw, parts.bessemer)?,
    ])
}

fn case<'a>(name: &'static str, source: Source<'a>, medium: Medium) -> Result<Case<'a>> {
    let mut subjects = vec![source.ours()?];
    match unpackers(source.form) {
        [] if source.form == Form::Qcow2 => {
            subjects.extend([source.qemu_img(), source.copy_and_qemu_img()?]);
        }
        [] => {
            subjects.push(source.pipeline(Tool::Coreutils, None)?);
            subjects.push(source.pipeline(Tool::OpenSsl, None)?);
            // qemu-img and bmaptool cannot be told which certificate to trust; neither computes a digest of the image.
            if !source.tls && source.algorithm == "sha256" {
                subjects.extend([source.qemu_img(), source.bmaptool()?]);
            }
        }
        unpackers => {
            for unpack in unpackers {
                subjects.push(source.pipeline(Tool::None, Some(unpack))?);
                subjects.push(source.pipeline(Tool::OpenSsl, Some(unpack))?);
            }
            subjects.push(source.bmaptool()?);
        }
    }
    Ok(Case { name, image: source.image, form: source.form, medium, subjects })
}

fn unpackers(form: Form) -> &'static [&'static str] {
    match form {
        Form::Raw | Form::Qcow2 => &[],
        Form::Gzip => &["gzip -dc"],
        Form::Zstd3 | Form::Zstd19 => &["zstd -dc"],
        Form::Xz => &["xz -dc", "xz -dc -T0"],
    }
}

fn manifest<'a>(raw: Source<'a>, bessemer: &Path) -> Result<Case<'a>> {
    let ours = || raw.ours_with_manifest(bessemer);
    let subjects = vec![
        ours()?,
        raw.bmaptool()?,
        ours()?.onto(&format!("{OURS}, the disk has the image"), Before::Same),
        ours()?.onto(&format!("{OURS}, 5 % of the data differ"), Before::Older),
    ];
    Ok(Case { name: "raw, manifest", image: raw.image, form: raw.form, medium: Medium::Ram, subjects })
}
