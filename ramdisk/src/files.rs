//! Reading and writing files, with errors that name the file.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// What could not be done to a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

/// Names the file that an operation failed on.
pub fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { action, path, source }
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(at("read", path))
}

/// Writes a file that appears under its name only when it is complete.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    fs::write(&part, bytes).map_err(at("write", &part))?;
    fs::rename(&part, path).map_err(at("write", path))
}

/// Writes a file of a staging folder, with its folders, and gives it a fixed age.
pub fn stage(path: &Path, bytes: &[u8], epoch: u64) -> Result<(), FileError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(at("create", folder))?;
    }
    fs::write(path, bytes).map_err(at("write", path))?;
    set_age(path, epoch)
}

/// Sets the modification time of a file or folder.
pub fn set_age(path: &Path, epoch: u64) -> Result<(), FileError> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
    let file = fs::File::open(path).map_err(at("open", path))?;
    file.set_modified(time).map_err(at("set the time of", path))
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Result<Vec<String>, FileError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(at("list", folder))? {
        let entry = entry.map_err(at("list", folder))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
