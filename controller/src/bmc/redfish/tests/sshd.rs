//! An SSH server that says what is typed, in capitals.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use russh::{
    Channel, ChannelId, MethodKind, MethodSet,
    keys::{HashAlg, PrivateKey, ssh_key::private::Ed25519Keypair},
    server::{self, Auth, Msg, Session},
};
use tokio::net::TcpListener;

/// What it saw.
#[derive(Default)]
pub(super) struct Seen {
    /// Passwords that it was given.
    pub(super) tries: usize,
    /// It takes none.
    pub(super) is_locked: bool,
}

pub(super) struct Sshd {
    pub(super) address: SocketAddr,
    pub(super) fingerprint: String,
    pub(super) seen: Arc<Mutex<Seen>>,
}

#[derive(Clone)]
struct Handler(Arc<Mutex<Seen>>);

impl Sshd {
    pub(super) async fn start(asks: bool) -> Self {
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
        let fingerprint = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let method = if asks { MethodKind::KeyboardInteractive } else { MethodKind::Password };
        let config = Arc::new(server::Config {
            keys: vec![key],
            methods: MethodSet::from(&[method][..]),
            auth_rejection_time: std::time::Duration::ZERO,
            ..server::Config::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let handler = Handler(Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (config, handler) = (Arc::clone(&config), handler.clone());
                tokio::spawn(async move {
                    if let Ok(session) = server::run_stream(config, tcp, handler).await {
                        session.await.ok();
                    }
                });
            }
        });
        Self { address, fingerprint, seen }
    }
}

impl Handler {
    fn judge(&self, user: &str, password: &str) -> Auth {
        let mut seen = self.0.lock().unwrap();
        seen.tries += 1;
        if (user, password) == ("root", "secret") && !seen.is_locked { Auth::Accept } else { Auth::reject() }
    }
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        Ok(self.judge(user, password))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        answer: Option<server::Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let Some(mut answer) = answer else {
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            });
        };
        let password = answer.next().map(|bytes| bytes.to_vec()).unwrap_or_default();
        Ok(self.judge(user, &String::from_utf8(password).unwrap()))
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.data(channel, data.to_ascii_uppercase())?;
        Ok(())
    }
}
