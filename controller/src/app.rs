//! Wiring: builds the rooms from the configuration and runs them.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::Utc;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use url::Url;

use crate::{
    agents::{Fleet, authority::Authority, authority::AuthorityError},
    api, bmc, boot,
    boot::MediaShelf,
    config::Config,
    files,
    image::{self, ImageError, Images},
    reconcile::{Deps, Engine, Pokes, sentence},
    store::{Store, StoreError},
};

/// Why the controller cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A port that cannot be had.
    #[error("{key}: {address} is in use by another program: stop it, or set another port")]
    InUse {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// An address that cannot be had.
    #[error("{key}: this machine cannot listen on {address}")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another controller works on the same state.
    #[error(
        "another controller uses {state_dir}: stop it, or set another state_dir",
        state_dir = state_dir.display()
    )]
    Twice {
        /// The folder.
        state_dir: PathBuf,
    },
    /// A file of the state folder.
    #[error("could not {action} {path}", path = path.display())]
    StateDir {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A URL that the configuration makes.
    #[error("advertise_address {host} cannot be used: set a name or an address")]
    Advertise {
        /// What it says.
        host: String,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The images.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Signals cannot be caught.
    #[error("signals cannot be caught")]
    Signals(#[source] io::Error),
    /// A server ended though nobody told it to.
    #[error("the server for {0} ended: see the log")]
    Ended(&'static str),
}

/// A server that runs until it is told to stop; the name is for messages.
type Servers = JoinSet<(&'static str, Result<(), String>)>;

/// The sockets, bound before anything is changed.
struct Listeners {
    api: TcpListener,
    agents: TcpListener,
    files: TcpListener,
}

/// Runs the controller until `stop`, SIGTERM or SIGINT; then ends what runs, within seconds.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), AppError> {
    rustls::crypto::ring::default_provider().install_default().ok();
    stop_on_signals(&stop)?;
    let _lock = lock(&config.state_dir)?;
    let listeners = Listeners::bind(&config).await?;
    let store = Store::open(&config.resolve(Path::new("bessemer.db"))).await?;
    let authority = Authority::open(&config.resolve(Path::new("ca")))?;
    let mut servers = Servers::new();
    let engine = start(&config, listeners, &store, authority, &stop, &mut servers).await?;
    info!(state_dir = %config.state_dir.display(), "ready");
    let ended = tokio::select! {
        () = stop.cancelled() => None,
        Some(ended) = servers.join_next() => Some(ended),
    };
    info!("stopping");
    stop.cancel();
    let within = Duration::from_secs(config.conductor.graceful_shutdown_timeout.into());
    let drain = async { while servers.join_next().await.is_some() {} };
    let (drained, ()) = tokio::join!(tokio::time::timeout(within, drain), engine.stop());
    if drained.is_err() {
        warn!("some connections did not end in time and are cut");
        servers.shutdown().await;
    }
    store.close().await;
    info!("stopped");
    match ended {
        None => Ok(()),
        Some(ended) => Err(AppError::Ended(why(ended))),
    }
}

fn why(ended: Result<(&'static str, Result<(), String>), tokio::task::JoinError>) -> &'static str {
    match ended {
        Ok((name, Ok(()))) => name,
        Ok((name, Err(problem))) => {
            error!(server = name, problem, "a server ended");
            name
        }
        Err(problem) => {
            error!(%problem, "a server ended");
            "an unknown purpose"
        }
    }
}

async fn start(
    config: &Config,
    listeners: Listeners,
    store: &Store,
    authority: Arc<Authority>,
    stop: &CancellationToken,
    servers: &mut Servers,
) -> Result<Engine, AppError> {
    let host = config.advertised_host();
    let files_url = files_url(config, &host, &listeners.files)?;
    let url_for_bmcs = config.files.url_for_bmcs.clone().unwrap_or_else(|| files_url.clone());
    let url_for_agents = config.files.url_for_agents.clone().unwrap_or(files_url);
    let advertise = advertise(config, &host, &listeners.agents);
    info!(api = %shown(&listeners.api), agents = ?advertise, %url_for_bmcs, %url_for_agents, "listening");

    let pokes = Pokes::new();
    let poker = pokes.clone();
    let fleet = Fleet::new(
        config.agents.clone(),
        advertise,
        store.clone(),
        Arc::clone(&authority),
        Arc::new(move |node| poker.poke(node)),
    );
    let deploy_iso = config.resolve(&config.boot.deploy_iso);
    let shelf = MediaShelf::new(boot::Config { deploy_iso, ..config.boot.clone() }, url_for_bmcs.clone());
    let images = open_images(config, url_for_agents.clone(), &authority)?;
    let engine = Engine::start(Deps {
        store: store.clone(),
        fleet: fleet.clone(),
        shelf: shelf.clone(),
        images: images.clone(),
        open_bmc: Arc::new(bmc::open),
        config: config.conductor.clone(),
        hostname: hostname(),
        token_lifetime: Duration::from_secs(config.agents.token_lifetime.get().into()),
        pokes,
    })
    .await?;

    let hosts = [&url_for_bmcs, &url_for_agents].into_iter().filter_map(|url| url.host_str());
    let hosts: Vec<String> = hosts.map(str::to_owned).collect();
    let router = boot::router(shelf).merge(image::router(images));
    let (tls, files_stop, files_listener) = (config.files.tls, stop.clone(), listeners.files);
    servers.spawn(async move {
        let served = match tls {
            true => files::serve_tls(files_listener, router, &authority, &hosts, files_stop).await,
            false => files::serve(files_listener, router, files_stop).await,
        };
        ("files", served.map_err(|error| sentence(&error)))
    });
    let (agents, agents_stop) = (fleet.clone(), stop.clone());
    servers.spawn(async move {
        ("agents", agents.serve(listeners.agents, agents_stop).await.map_err(|error| sentence(&error)))
    });
    let router = api::router(api::State {
        store: store.clone(),
        engine: engine.clone(),
        fleet,
        hostname: hostname(),
        started: Utc::now(),
        config: config.api.clone(),
    });
    let api_stop = stop.clone().cancelled_owned();
    servers.spawn(async move {
        let served = axum::serve(listeners.api, router).with_graceful_shutdown(api_stop).await;
        ("the API", served.map_err(|error| sentence(&error)))
    });
    Ok(engine)
}

fn open_images(config: &Config, url_for_agents: Url, authority: &Authority) -> Result<Images, ImageError> {
    let mut images = config.images.clone();
    for path in images.file_url_allowed_paths.iter_mut().chain(images.ca_file.as_mut()) {
        *path = config.resolve(path);
    }
    let served_ca = (url_for_agents.scheme() == "https").then(|| pem(authority.certificate()));
    Images::open(images, config.resolve(Path::new("images")), url_for_agents, served_ca)
}

// === sockets ===

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, AppError> {
        Ok(Self {
            api: bind("api.listen", config.api.listen).await?,
            agents: bind("agents.listen", config.agents.listen).await?,
            files: bind("files.listen", config.files.listen).await?,
        })
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    let any_v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
    let bound = match TcpListener::bind(address).await {
        // "All addresses" on a machine without IPv6.
        Err(error)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind(any_v4).await
        }
        bound => bound,
    };
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => AppError::InUse { key, address },
        _ => AppError::Listen { key, address, source },
    })
}

/// The port is the bound one: the configuration may say 0.
fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}

fn shown(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string())
}

fn advertise(config: &Config, host: &str, listener: &TcpListener) -> Vec<String> {
    match config.agents.advertise.is_empty() {
        true => vec![format!("{host}:{}", port(listener))],
        false => config.agents.advertise.clone(),
    }
}

fn files_url(config: &Config, host: &str, listener: &TcpListener) -> Result<Url, AppError> {
    let scheme = if config.files.tls { "https" } else { "http" };
    Url::parse(&format!("{scheme}://{host}:{}/", port(listener)))
        .map_err(|_| AppError::Advertise { host: host.to_owned() })
}

// === the machine ===

/// Held as long as the controller runs.
fn lock(state_dir: &Path) -> Result<File, AppError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| AppError::StateDir { action, path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .map_err(failed("make the folder", state_dir))?;
    let path = state_dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AppError::Twice { state_dir: state_dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
    }
}

fn stop_on_signals(stop: &CancellationToken) -> Result<(), AppError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM"),
            _ = interrupt.recv() => info!("SIGINT"),
            () = stop.cancelled() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// This controller's name: Ironic's `conductor`.
fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
