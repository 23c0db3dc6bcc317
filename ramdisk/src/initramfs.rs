//! The file tree of the ramdisk and its archive: cpio in newc format, compressed with zstd.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Cursor, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use cpio::newc::{Builder, ModeFileType, trailer};
use zstd::zstd_safe::CParameter;

use crate::files::{self, FileError, at};

/// How hard zstd tries when nothing else is said.
pub const DEFAULT_LEVEL: i32 = 19;
/// The kernel unpacks windows of up to 128 MiB, but the window costs memory on the machine: 8 MiB.
const WINDOW_LOG: u32 = 23;
/// Fixed, so that the number of processors does not change the result.
const WORKERS: u32 = 2;
const JOB_BYTES: u32 = 16 * 1024 * 1024;

/// Folders that are there before the agent starts, with their modes.
const FOLDERS: [(&str, u32); 9] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("lib", 0o755),
    ("mnt", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
];

/// Why the ramdisk cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Two files with one path.
    #[error("/{0} would be in the ramdisk twice: choose another path")]
    Twice(String),
    /// A file where a folder must be.
    #[error("/{0} would have to be a file and a folder in the ramdisk: choose another path")]
    NotAFolder(String),
    /// Something that is neither file, folder nor link.
    #[error("{} is neither a file, a folder nor a symbolic link: it cannot be in the ramdisk", .0.display())]
    Special(PathBuf),
    /// More than the archive's format can say.
    #[error("/{0} has 4 GiB or more: too large for a ramdisk")]
    TooLarge(String),
    /// The archive could not be made.
    #[error("cannot compress the ramdisk")]
    Compress(#[source] io::Error),
}

/// A file or folder of an operator for the ramdisk: `FILE:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// What to read.
    pub source: PathBuf,
    /// Where it goes, without the leading slash.
    pub target: String,
}

/// An addition that is not `FILE:/path`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not FILE:/path with an absolute path that has no . or .. in it")]
pub struct NotAnAddition(String);

impl FromStr for Addition {
    type Err = NotAnAddition;

    fn from_str(text: &str) -> Result<Self, NotAnAddition> {
        let error = || NotAnAddition(text.to_owned());
        let (source, target) = text.rsplit_once(":/").ok_or_else(error)?;
        let target = target.trim_end_matches('/');
        let plain = target.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if source.is_empty() || !plain || target.contains('\0') {
            return Err(error());
        }
        Ok(Self { source: source.into(), target: target.to_owned() })
    }
}

#[derive(Debug)]
enum Node {
    Folder { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
    Device { mode: u32, major: u32, minor: u32 },
}

/// The file tree of a ramdisk.
#[derive(Debug)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Default for Tree {
    fn default() -> Self {
        let mut nodes: BTreeMap<String, Node> =
            FOLDERS.map(|(path, mode)| (path.to_owned(), Node::Folder { mode })).into();
        // The kernel opens it for the agent's messages before the agent can mount /dev.
        nodes.insert("dev/console".to_owned(), Node::Device { mode: 0o600, major: 5, minor: 1 });
        Self { nodes }
    }
}

impl Tree {
    /// Adds a file; the folders above it come by themselves.
    pub fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) -> Result<(), InitramfsError> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(InitramfsError::TooLarge(path.to_owned()));
        }
        self.put(path, Node::File { mode, bytes })
    }

    /// Adds what an operator gives: a file, or a folder with all that is in it.
    pub fn add(&mut self, addition: &Addition) -> Result<(), InitramfsError> {
        // The first is followed if it is a link; links inside a folder stay links.
        let source = fs::canonicalize(&addition.source).map_err(at("read", &addition.source))?;
        self.add_from(&source, &addition.target)
    }

    fn add_from(&mut self, source: &Path, target: &str) -> Result<(), InitramfsError> {
        let metadata = fs::symlink_metadata(source).map_err(at("read", source))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            self.folder(target)?;
            for name in files::names(source)? {
                self.add_from(&source.join(&name), &format!("{target}/{name}"))?;
            }
            return Ok(());
        }
        if kind.is_symlink() {
            let points_to = fs::read_link(source).map_err(at("read", source))?;
            return self.put(target, Node::Link { target: points_to.to_string_lossy().into_owned() });
        }
        if !kind.is_file() {
            return Err(InitramfsError::Special(source.to_owned()));
        }
        let mode = if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
        self.file(target, mode, files::read(source)?)
    }

    fn put(&mut self, path: &str, node: Node) -> Result<(), InitramfsError> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder)?;
        }
        match self.nodes.insert(path.to_owned(), node) {
            None => Ok(()),
            Some(_) => Err(InitramfsError::Twice(path.to_owned())),
        }
    }

    fn folder(&mut self, path: &str) -> Result<(), InitramfsError> {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for folder in ends.map(|end| &path[..end]) {
            let node = self.nodes.entry(folder.to_owned()).or_insert(Node::Folder { mode: 0o755 });
            if !matches!(node, Node::Folder { .. }) {
                return Err(InitramfsError::NotAFolder(folder.to_owned()));
            }
        }
        Ok(())
    }

    /// Packs the tree. `level` is how hard zstd tries. Equal trees give equal bytes.
    pub fn pack(&self, epoch: u64, level: i32) -> Result<Vec<u8>, InitramfsError> {
        let archive = self.archive(epoch).map_err(InitramfsError::Compress)?;
        compress(&archive, level).map_err(InitramfsError::Compress)
    }

    fn archive(&self, epoch: u64) -> io::Result<Vec<u8>> {
        let mut archive = Vec::new();
        let mtime = u32::try_from(epoch).unwrap_or(u32::MAX);
        for (ino, (path, node)) in (1..).zip(&self.nodes) {
            let entry = Builder::new(path).ino(ino).mtime(mtime);
            let (entry, bytes): (Builder, &[u8]) = match node {
                Node::Folder { mode } => {
                    (entry.mode(*mode).set_mode_file_type(ModeFileType::Directory).nlink(2), &[])
                }
                Node::File { mode, bytes } => {
                    (entry.mode(*mode).set_mode_file_type(ModeFileType::Regular), bytes)
                }
                Node::Link { target } => {
                    (entry.mode(0o777).set_mode_file_type(ModeFileType::Symlink), target.as_bytes())
                }
                Node::Device { mode, major, minor } => {
                    let entry = entry.mode(*mode).set_mode_file_type(ModeFileType::Char);
                    (entry.rdev_major(*major).rdev_minor(*minor), &[])
                }
            };
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            let mut writer = entry.write(archive, length);
            io::copy(&mut Cursor::new(bytes), &mut writer)?;
            archive = writer.finish()?;
        }
        trailer(archive)
    }
}

fn compress(archive: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
    encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
    encoder.set_parameter(CParameter::NbWorkers(WORKERS))?;
    encoder.set_parameter(CParameter::JobSize(JOB_BYTES))?;
    encoder.include_checksum(true)?;
    encoder.write_all(archive)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use cpio::newc::Reader;

    use super::*;

    fn listing(packed: &[u8]) -> Vec<(String, u32, u32, Vec<u8>)> {
        let mut archive = Cursor::new(zstd::decode_all(packed).unwrap());
        let mut entries = Vec::new();
        loop {
            let mut reader = Reader::new(archive).unwrap();
            if reader.entry().is_trailer() {
                return entries;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mtime = reader.entry().mtime();
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
            entries.push((name, mode, mtime, bytes));
            archive = reader.finish().unwrap();
        }
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_nothing_says_who_built_it() {
        let source = tempfile::tempdir().unwrap();
        fs::create_dir(source.path().join("fw")).unwrap();
        fs::write(source.path().join("fw/a.bin"), "A").unwrap();
        std::os::unix::fs::symlink("a.bin", source.path().join("fw/b.bin")).unwrap();
        let mut tree = Tree::default();
        tree.file("init", 0o755, b"agent".to_vec()).unwrap();
        tree.add(&Addition { source: source.path().join("fw"), target: "lib/firmware/x".into() }).unwrap();
        let packed = tree.pack(7, 3).unwrap();
        assert_eq!(packed, tree.pack(7, 3).unwrap());
        let entries = listing(&packed);
        let names: Vec<&str> = entries.iter().map(|entry| entry.0.as_str()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        let find = |name: &str| entries.iter().find(|entry| entry.0 == name).unwrap();
        assert_eq!((find("init").1, find("init").3.as_slice()), (0o100_755, b"agent".as_slice()));
        assert_eq!(find("lib/firmware").1, 0o040_755);
        assert_eq!(find("lib/firmware/x/a.bin").1, 0o100_644);
        assert_eq!(
            (find("lib/firmware/x/b.bin").1, find("lib/firmware/x/b.bin").3.as_slice()),
            (0o120_777, b"a.bin".as_slice())
        );
        assert_eq!(find("dev/console").1, 0o020_600);
        assert_eq!(find("tmp").1, 0o041_777);
        assert!(entries.iter().all(|entry| entry.2 == 7));
    }

    #[test]
    fn a_path_is_taken_once() {
        let mut tree = Tree::default();
        tree.file("init", 0o755, Vec::new()).unwrap();
        assert!(matches!(tree.file("init", 0o755, Vec::new()), Err(InitramfsError::Twice(_))));
        assert!(matches!(tree.file("init/x", 0o755, Vec::new()), Err(InitramfsError::NotAFolder(_))));
        assert!(matches!(tree.file("dev", 0o755, Vec::new()), Err(InitramfsError::Twice(_))));
    }

    #[test]
    fn additions_name_a_file_and_an_absolute_path() {
        let good: Addition = "a:b/c:/etc/x".parse().unwrap();
        assert_eq!(good, Addition { source: "a:b/c".into(), target: "etc/x".into() });
        for bad in ["x", "x:y", ":/x", "x:/", "x:/a/../b", "x://a", "x:/a/./b"] {
            assert!(bad.parse::<Addition>().is_err(), "{bad}");
        }
    }
}
