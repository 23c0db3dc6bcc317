//! Wiring: builds the rooms from the configuration and runs them.

mod machine;
mod sockets;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chrono::Utc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::{
    machine::{hostname, lock, pem, stop_on_signals},
    sockets::{Endpoints, Listeners, shown},
};
use crate::{
    agents::{Fleet, authority::Authority, authority::AuthorityError},
    api,
    bmc::{self, quirks::QuirkFolder},
    boot,
    boot::MediaShelf,
    config::Config,
    config_drive::{self, ConfigDrives},
    console::Consoles,
    files,
    image::{self, ImageError, Images},
    notify::{Notifications, NotifyError},
    reconcile::{Deps, Engine, OpenBmc, Pokes, sentence},
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
    /// The notifications.
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// The certificate of the API.
    #[error(transparent)]
    Tls(#[from] api::TlsError),
    /// Nobody could be authenticated.
    #[error(transparent)]
    Access(#[from] api::access::AccessError),
    /// Signals cannot be caught.
    #[error("signals cannot be caught")]
    Signals(#[source] io::Error),
    /// Another controller works with the database by now.
    #[error("another controller took the database over while the connection to it was broken")]
    Overtaken,
    /// A server ended though nobody told it to.
    #[error("the server for {0} ended: see the log")]
    Ended(&'static str),
}

/// How a server ended; the name is for messages.
type Ended = (&'static str, Result<(), String>);

/// The rooms that servers serve.
struct Rooms {
    store: Store,
    authority: Arc<Authority>,
    fleet: Fleet,
    shelf: MediaShelf,
    images: Images,
    config_drives: ConfigDrives,
    engine: Engine,
    notifications: Arc<Notifications>,
    quirks: QuirkFolder,
    gate: api::access::Gate,
    certificate: Option<api::Certificate>,
}

/// Runs the controller until `stop`, SIGTERM or SIGINT; then ends what runs, within seconds.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), AppError> {
    rustls::crypto::ring::default_provider().install_default().ok();
    stop_on_signals(&stop)?;
    let _lock = lock(&config.state_dir)?;
    let listeners = Listeners::bind(&config).await?;
    let endpoints = listeners.endpoints(&config)?;
    info!(
        api = %shown(&listeners.api), agents = ?endpoints.agents, url_for_bmcs = %endpoints.url_for_bmcs,
        url_for_agents = %endpoints.url_for_agents, "listening"
    );
    let rooms = Rooms::open(&config, &endpoints).await?;
    let (engine, store) = (rooms.engine.clone(), rooms.store.clone());
    let notifications = Arc::clone(&rooms.notifications);
    let mut servers = rooms.serve(&config, &endpoints, listeners, &stop);
    info!(state_dir = %config.state_dir.display(), "ready");
    let ended = tokio::select! {
        // Servers end as well when told to stop: that is no failure.
        biased;
        () = stop.cancelled() => Ok(()),
        Some(ended) = servers.join_next() => Err(AppError::Ended(why(ended))),
        () = store.lost() => Err(AppError::Overtaken),
    };
    stop.cancel();
    match &ended {
        // Every command to a machine from here on would be in another controller's way.
        Err(AppError::Overtaken) => {
            tokio::join!(engine.abandon(), servers.shutdown());
            bmc::close_sessions().await;
        }
        _ => drain(&config, &engine, servers).await,
    }
    notifications.stop().await;
    store.close().await;
    ended
}

async fn drain(config: &Config, engine: &Engine, mut servers: JoinSet<Ended>) {
    info!("stopping");
    let within = Duration::from_secs(config.conductor.graceful_shutdown_timeout.into());
    let all = async { while servers.join_next().await.is_some() {} };
    let (drained, ()) = tokio::join!(tokio::time::timeout(within, all), engine.stop());
    if drained.is_err() {
        warn!("some connections did not end in time and are cut");
        servers.shutdown().await;
    }
    bmc::close_sessions().await;
    info!("stopped");
}

fn why(ended: Result<Ended, JoinError>) -> &'static str {
    let (name, problem) = match ended {
        Ok((name, result)) => (name, result.err().unwrap_or_else(|| "for no reason".to_owned())),
        Err(panic) => ("an unknown purpose", panic.to_string()),
    };
    error!(server = name, problem, "a server ended");
    name
}

// === impl Rooms ===

impl Rooms {
    async fn open(config: &Config, endpoints: &Endpoints) -> Result<Self, AppError> {
        let certificate = certificate_of_api(config)?;
        let quirks = QuirkFolder::open(config.resolve(&config.bmc.quirks_dir)).await;
        let gate = api::access::Gate::open(&config.api, &config.keystone, &config.state_dir)?;
        let store = Store::start(&config.store, &config.state_dir).await?;
        // Before the engine, which already writes history as it starts.
        let resolve = |path: &Path| config.resolve(path);
        let notifications = Arc::new(Notifications::start(&config.notifications, &store, resolve).await?);
        let authority = Authority::open(&config.resolve(Path::new("ca")))?;
        let pokes = Pokes::new();
        let poker = pokes.clone();
        let fleet = Fleet::new(
            config.agents.clone(),
            endpoints.agents.clone(),
            store.clone(),
            Arc::clone(&authority),
            Arc::new(move |node| poker.poke(node)),
        );
        let mut boot = config.boot.clone();
        boot.deploy_iso = config.resolve(&boot.deploy_iso);
        let shelf = MediaShelf::new(boot, endpoints.url_for_bmcs.clone());
        if let Err(error) = shelf.check().await {
            warn!("no machine can be deployed yet: {}", sentence(&error));
        }
        let images = open_images(config, endpoints, &authority)?;
        let config_drives = ConfigDrives::new(images.clone());
        let open_bmc: OpenBmc = Arc::new(bmc::open);
        let folder = config.resolve(Path::new("consoles"));
        let consoles = Consoles::new(config.console.clone(), &folder, store.clone(), Arc::clone(&open_bmc));
        let engine = Engine::start(Deps {
            store: store.clone(),
            fleet: fleet.clone(),
            shelf: shelf.clone(),
            images: images.clone(),
            config_drives: config_drives.clone(),
            consoles,
            open_bmc,
            sensor_data: config.sensor_data.clone(),
            announcer: notifications.announcer(),
            config: config.conductor.clone(),
            ilo: config.ilo.clone(),
            hostname: hostname(),
            token_lifetime: Duration::from_secs(config.agents.token_lifetime.get().into()),
            pokes,
        })
        .await?;
        Ok(Self {
            store,
            authority,
            fleet,
            shelf,
            images,
            config_drives,
            engine,
            notifications,
            quirks,
            gate,
            certificate,
        })
    }

    fn serve(
        self,
        config: &Config,
        endpoints: &Endpoints,
        listeners: Listeners,
        stop: &CancellationToken,
    ) -> JoinSet<Ended> {
        let mut servers = JoinSet::new();
        let files = boot::router(self.shelf)
            .merge(image::router(self.images))
            .merge(config_drive::router(self.config_drives));
        let (tls, hosts, files_stop) = (config.files.tls, endpoints.file_hosts(), stop.clone());
        let authority = self.authority;
        servers.spawn(async move {
            let served = match tls {
                true => files::serve_tls(listeners.files, files, &authority, &hosts, files_stop).await,
                false => files::serve(listeners.files, files, files_stop).await,
            };
            ("files", served.map_err(|error| sentence(&error)))
        });
        let agents = self.fleet.clone().serve(listeners.agents, stop.clone());
        servers.spawn(async move { ("agents", agents.await.map_err(|error| sentence(&error))) });
        let api = api::router(api::State {
            store: self.store,
            engine: self.engine,
            fleet: self.fleet,
            hostname: hostname(),
            started: Utc::now(),
            quirks: self.quirks.clone(),
            gate: self.gate,
            config: config.api.clone(),
        });
        if config.bmc.quirks_check_interval > 0 {
            let every = Duration::from_secs(config.bmc.quirks_check_interval.into());
            let (quirks, stop) = (self.quirks, stop.clone());
            servers.spawn(async move {
                stop.run_until_cancelled(quirks.watch(every)).await;
                ("quirks", Ok(()))
            });
        }
        let (api_stop, max_connections) = (stop.clone(), config.api.max_connections);
        servers.spawn(async move {
            let served = api::serve(listeners.api, api, self.certificate, max_connections, api_stop).await;
            ("the API", served.map_err(|error| sentence(&error)))
        });
        servers
    }
}

fn certificate_of_api(config: &Config) -> Result<Option<api::Certificate>, api::TlsError> {
    match (&config.api.tls_certificate, &config.api.tls_key) {
        (Some(certificate), Some(key)) => {
            api::Certificate::open(config.resolve(certificate), config.resolve(key)).map(Some)
        }
        _ => Ok(None),
    }
}

fn open_images(config: &Config, endpoints: &Endpoints, authority: &Authority) -> Result<Images, ImageError> {
    let mut images = config.images.clone();
    for path in images.file_url_allowed_paths.iter_mut().chain(images.ca_file.as_mut()) {
        *path = config.resolve(path);
    }
    let url = endpoints.url_for_agents.clone();
    let served_ca = (url.scheme() == "https").then(|| pem(authority.certificate()));
    Images::open(images, config.resolve(Path::new("images")), url, served_ca)
}
