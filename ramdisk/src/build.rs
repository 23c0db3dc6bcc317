//! The whole recipe: agent and kernel in, `deploy.iso`, `vmlinuz`, `initramfs.zst` and `manifest.json` out.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    agent_binary::{self, AgentError},
    debian::{self, Missing},
    files::{self, FileError, at},
    initramfs::{Addition, InitramfsError, Tree},
    iso::{self, BootConfig, Contents, IsoError},
    kernel::{self, DownloadError, Kernel, KernelError},
    manifest::{Content, Manifest, RegionPlace},
    modules::{self, ModuleList, ModuleSet, ModulesError},
};

/// The ISO's file name.
pub const ISO: &str = "deploy.iso";
/// The kernel's file name.
pub const KERNEL: &str = "vmlinuz";
/// The ramdisk's file name.
pub const INITRAMFS: &str = "initramfs.zst";
/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";

/// Where the kernel comes from.
#[derive(Clone, Debug)]
pub enum KernelSource {
    /// The folder of an unpacked linux-image package.
    Root(PathBuf),
    /// Debian, by apt, kept in this cache folder.
    Debian(PathBuf),
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The agent's binary.
    pub agent: PathBuf,
    /// Where the results go.
    pub out: PathBuf,
    /// Where the kernel comes from.
    pub kernel: KernelSource,
    /// Which kernel modules.
    pub modules: ModuleList,
    /// Further files.
    pub additions: Vec<Addition>,
    /// How the kernel is started.
    pub boot: BootConfig,
    /// How hard zstd tries on the ramdisk, 1 to 19.
    pub level: i32,
    /// Time stamps, seconds since 1970.
    pub epoch: u64,
}

/// What was built.
#[derive(Debug)]
pub struct Built {
    /// Everything about it.
    pub manifest: Manifest,
    /// Sentences about what was left out.
    pub warnings: Vec<String>,
}

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Something is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The agent cannot run in a ramdisk.
    #[error("{}: {reason}", path.display())]
    Agent {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        reason: AgentError,
    },
    /// No kernel from Debian.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// No kernel in the folder.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The modules do not fit together.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// The ramdisk cannot be packed.
    #[error(transparent)]
    Initramfs(#[from] InitramfsError),
    /// The ISO cannot be written.
    #[error(transparent)]
    Iso(#[from] IsoError),
    /// The manifest cannot be written.
    #[error("cannot write the manifest")]
    Manifest(#[source] io::Error),
}

/// Builds everything. Equal recipes give equal bytes.
pub fn build(recipe: &Recipe) -> Result<Built, BuildError> {
    debian::check(&[debian::XORRISO])?;
    let agent = files::read(&recipe.agent)?;
    agent_binary::check(&agent).map_err(|reason| BuildError::Agent { path: recipe.agent.clone(), reason })?;
    let (root, warning) = match &recipe.kernel {
        KernelSource::Root(root) => (root.clone(), None),
        KernelSource::Debian(cache) => {
            let downloaded = kernel::download(cache)?;
            (downloaded.root, downloaded.warning)
        }
    };
    let kernel = Kernel::open(&root)?;
    let modules = modules::select(&kernel, &recipe.modules)?;
    fs::create_dir_all(&recipe.out).map_err(at("create", &recipe.out))?;
    let initramfs = initramfs(recipe, &agent, &kernel, &modules)?;
    let path = recipe.out.join(ISO);
    let contents =
        Contents { kernel: &kernel.image, initramfs: &initramfs, boot: &recipe.boot, epoch: recipe.epoch };
    let region = iso::write(&contents, &path)?;
    files::write(&recipe.out.join(KERNEL), &kernel.image)?;
    files::write(&recipe.out.join(INITRAMFS), &initramfs)?;
    let results = [(ISO, files::read(&path)?), (KERNEL, kernel.image.clone()), (INITRAMFS, initramfs)];
    let manifest = Manifest {
        bessemer: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel.release.clone(),
        kernel_arguments: recipe.boot.arguments(),
        files: results.iter().map(|(name, bytes)| ((*name).to_owned(), Content::of(bytes))).collect(),
        agent: Content::of(&agent),
        modules: modules.modules.values().map(|m| (m.name.clone(), m.bytes.len() as u64)).collect(),
        load: modules.load.clone(),
        firmware_not_included: firmware_not_included(&modules, &recipe.additions),
        region: RegionPlace { offset: region.offset, length: region.length },
    };
    write_manifest(&manifest, &recipe.out)?;
    let warnings = warning.into_iter().chain(modules.warnings).collect();
    Ok(Built { manifest, warnings })
}

fn initramfs(
    recipe: &Recipe,
    agent: &[u8],
    kernel: &Kernel,
    modules: &ModuleSet,
) -> Result<Vec<u8>, BuildError> {
    let mut tree = Tree::default();
    tree.file("init", 0o755, agent.to_vec())?;
    let base = format!("lib/modules/{}", kernel.release);
    for module in modules.modules.values() {
        tree.file(&format!("{base}/{}", module.path), 0o644, module.bytes.clone())?;
    }
    tree.file(&format!("{base}/modules.dep"), 0o644, modules.dep().into_bytes())?;
    tree.file(&format!("{base}/modules.alias"), 0o644, modules.alias().into_bytes())?;
    tree.file(&format!("{base}/bessemer.load"), 0o644, modules.load().into_bytes())?;
    let release = format!(
        "BESSEMER_VERSION={}\nKERNEL={}\nMODULES={}\n",
        env!("CARGO_PKG_VERSION"),
        kernel.release,
        modules.modules.len()
    );
    tree.file("bessemer-release", 0o644, release.into_bytes())?;
    for addition in &recipe.additions {
        tree.add(addition)?;
    }
    Ok(tree.pack(recipe.epoch, recipe.level)?)
}

/// Firmware that no addition brings along.
fn firmware_not_included(modules: &ModuleSet, additions: &[Addition]) -> BTreeMap<String, Vec<String>> {
    let has = |file: &&String| {
        additions.iter().any(|addition| {
            let wanted = format!("lib/firmware/{file}");
            match wanted.strip_prefix(&addition.target) {
                Some("") => true,
                Some(rest) => rest.starts_with('/') && addition.source.join(&rest[1..]).exists(),
                None => false,
            }
        })
    };
    let missing = modules.modules.values().map(|module| {
        let files: Vec<String> = module.firmware.iter().filter(|file| !has(file)).cloned().collect();
        (module.name.clone(), files)
    });
    missing.filter(|(_, files)| !files.is_empty()).collect()
}

fn write_manifest(manifest: &Manifest, out: &Path) -> Result<(), BuildError> {
    let mut json = serde_json::to_vec_pretty(manifest).map_err(|error| BuildError::Manifest(error.into()))?;
    json.push(b'\n');
    Ok(files::write(&out.join(MANIFEST), &json)?)
}
