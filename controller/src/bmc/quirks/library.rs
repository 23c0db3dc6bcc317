//! All rules: those of this program, and those of an operator's folder.

use std::{
    fmt, fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    rule::{Identity, Rule, Written},
    values::Quirks,
};

const MAX_FILES: usize = 256;
const MAX_FILE_BYTES: u64 = 256 * 1024;
const MAX_RULES: usize = 4096;

/// The files of this program, in the order in which they count.
const BUILT_IN: &[(&str, &str)] = &[
    ("ami.toml", include_str!("data/ami.toml")),
    ("dell.toml", include_str!("data/dell.toml")),
    ("lenovo.toml", include_str!("data/lenovo.toml")),
    ("supermicro.toml", include_str!("data/supermicro.toml")),
];

/// Where a rule is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of this program.
    BuiltIn(&'static str),
    /// A file of the operator.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(name) => write!(f, "built in: {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Rules that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QuirkError {
    /// The folder cannot be read.
    #[error("the folder with quirks {} cannot be read", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("the file with quirks {} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not say what it must.
    #[error("{path}: {problem}")]
    Rule {
        /// Which file.
        path: String,
        /// What is wrong, with the rule or the line.
        problem: String,
    },
    /// Far too much.
    #[error("{} has more than {most} {what}", path.display())]
    TooMany {
        /// Where.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// How many may be there.
        most: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    quirk: Vec<Written>,
}

/// What is different at one BMC, and which rules say so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Matched {
    /// What is different.
    pub quirks: Quirks,
    /// Names of the rules, in the order in which they count.
    pub rules: Vec<String>,
}

/// Rules, in the order in which they count.
#[derive(Debug, Default)]
pub struct Library {
    rules: Vec<(Rule, Source)>,
}

impl Library {
    /// The rules of this program.
    pub fn built_in() -> Result<Self, QuirkError> {
        let mut library = Self::default();
        for (name, text) in BUILT_IN {
            library.add(text, &Source::BuiltIn(name))?;
        }
        Ok(library)
    }

    /// Adds the `*.toml` files of a folder, in the order of their names. A folder that is not there has none.
    pub fn add_folder(&mut self, folder: &Path) -> Result<(), QuirkError> {
        for path in files(folder)? {
            self.add_file(&path)?;
        }
        Ok(())
    }

    /// Adds the rules of one file.
    pub fn add_file(&mut self, path: &Path) -> Result<(), QuirkError> {
        let read = |source| QuirkError::Read { path: path.to_owned(), source };
        // Opening a pipe waits for somebody who writes to it.
        if !fs::metadata(path).map_err(read)?.is_file() {
            return Err(read(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
        }
        let mut text = String::new();
        let file = fs::File::open(path);
        file.and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)).map_err(read)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            let most = usize::try_from(MAX_FILE_BYTES).unwrap_or(usize::MAX);
            return Err(QuirkError::TooMany { path: path.to_owned(), what: "bytes", most });
        }
        self.add(&text, &Source::File(path.to_owned()))
    }

    /// Adds the rules of a file; one with the name of an earlier one takes its place.
    pub fn add(&mut self, text: &str, source: &Source) -> Result<(), QuirkError> {
        let problem = |problem: String| QuirkError::Rule { path: source.to_string(), problem };
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1);
            problem(format!("line {line}: {}", error.message().trim()))
        })?;
        let mut own = Vec::new();
        for written in file.quirk {
            let rule = Rule::check(written).map_err(problem)?;
            if own.contains(&rule.name) {
                return Err(problem(format!("rule \"{}\" is there twice", rule.name)));
            }
            own.push(rule.name.clone());
            self.rules.retain(|(old, _)| old.name != rule.name);
            self.rules.push((rule, source.clone()));
        }
        if self.rules.len() > MAX_RULES {
            return Err(problem(format!("there are more than {MAX_RULES} rules")));
        }
        Ok(())
    }

    /// What is different at a BMC that says this of itself: what later rules set wins.
    #[must_use]
    pub fn of(&self, identity: &Identity) -> Matched {
        let mut set = toml::Table::new();
        let mut rules = Vec::new();
        for (rule, _) in self.rules.iter().filter(|(rule, _)| rule.fits(identity)) {
            set.extend(rule.set.clone());
            rules.push(rule.name.clone());
        }
        // Each rule's values were checked on their own, and they do not depend on each other.
        Matched { quirks: Quirks::deserialize(set).unwrap_or_default(), rules }
    }

    /// All rules with where they are written, in the order in which they count.
    pub fn rules(&self) -> impl Iterator<Item = (&Rule, &Source)> {
        self.rules.iter().map(|(rule, source)| (rule, source))
    }
}

/// The `*.toml` files of a folder, by name.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, QuirkError> {
    let unreadable = |source| QuirkError::Folder { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
        if found.len() > MAX_FILES {
            return Err(QuirkError::TooMany { path: folder.to_owned(), what: "files", most: MAX_FILES });
        }
    }
    found.sort();
    Ok(found)
}
