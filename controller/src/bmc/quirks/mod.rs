//! Where BMCs differ from what their standards say, as data: TOML files in `data/`, and those of the operator, which come
//! after and so win. A rule matches on what a BMC says of itself ([`Identity`]) and sets some of [`Quirks`].

mod folder;
mod library;
mod rule;
mod values;
mod version;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

pub use folder::{News, QuirkFolder};
pub use library::{Library, Matched, QuirkError, Source};
pub use rule::{Identity, Rule};
pub use values::{ManagerAttributes, Quirks};

/// The rules in force: those of this program until [`load`] was called.
static CURRENT: LazyLock<RwLock<Arc<Library>>> =
    LazyLock::new(|| RwLock::new(Arc::new(Library::built_in().unwrap_or_default())));

/// The rules in force.
#[must_use]
pub fn current() -> Arc<Library> {
    Arc::clone(&CURRENT.read().unwrap_or_else(PoisonError::into_inner))
}

/// What is different at a BMC that says this of itself.
#[must_use]
pub fn of(identity: &Identity) -> Matched {
    current().of(identity)
}

/// Puts the rules of this program and of the operator's folder in force. When anything in the folder cannot be used,
/// nothing changes.
pub fn load(folder: Option<&Path>) -> Result<Arc<Library>, QuirkError> {
    let mut library = Library::built_in()?;
    if let Some(folder) = folder {
        library.add_folder(folder)?;
    }
    let library = Arc::new(library);
    *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&library);
    Ok(library)
}

/// What of the operator's folder tells that it was changed: names, sizes and times of its files.
#[must_use]
pub fn stamp(folder: &Path) -> Vec<(PathBuf, u64, Option<std::time::SystemTime>)> {
    let files = library::files(folder).unwrap_or_default();
    files
        .into_iter()
        .filter_map(|path| {
            let metadata = path.metadata().ok()?;
            let (size, changed) = (metadata.len(), metadata.modified().ok());
            Some((path, size, changed))
        })
        .collect()
}

/// An error with its causes, in one line.
fn sentence(error: &QuirkError) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
