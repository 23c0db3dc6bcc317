//! An SSH server that says what is typed, in capitals.

use std::{
    borrow::Cow,
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
    pub(super) manner: Manner,
}

/// What it does at a log-in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Manner {
    #[default]
    Answers,
    /// It hangs up before it gets a password.
    Leaves,
    /// It gets a password and hangs up.
    HangsUp,
    /// It gets a password and says nothing.
    Silent,
    /// It gets a password and asks again.
    AsksAgain,
    /// It says something before it asks, and after.
    Talks,
    /// It asks two things at once.
    AsksTwo,
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
    fn manner(&self) -> Manner {
        self.0.lock().unwrap().manner
    }

    async fn judge(&self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        self.0.lock().unwrap().tries += 1;
        match self.manner() {
            Manner::HangsUp => return Err(russh::Error::Disconnect),
            Manner::Silent => std::future::pending::<()>().await,
            Manner::AsksAgain => return Ok(question(1)),
            _ => {}
        }
        let is_locked = self.0.lock().unwrap().is_locked;
        let is_right = (user, password) == ("root", "secret") && !is_locked;
        Ok(if is_right { Auth::Accept } else { Auth::reject() })
    }
}

fn question(prompts: usize) -> Auth {
    let prompts: Vec<(Cow<'static, str>, bool)> = vec![("Password: ".into(), false); prompts];
    Auth::Partial { name: "".into(), instructions: "".into(), prompts: prompts.into() }
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, russh::Error> {
        match self.manner() {
            Manner::Leaves => Err(russh::Error::Disconnect),
            _ => Ok(Auth::reject()),
        }
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        self.judge(user, password).await
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        answer: Option<server::Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let Some(answer) = answer else {
            return Ok(question(match self.manner() {
                Manner::Talks => 0,
                Manner::AsksTwo => 2,
                _ => 1,
            }));
        };
        let answers: Vec<Vec<u8>> = answer.map(|bytes| bytes.to_vec()).collect();
        let Some(password) = answers.into_iter().next() else {
            // To what it said before the question, or after it.
            let is_after = self.0.lock().unwrap().tries > 0;
            return Ok(if is_after { Auth::Accept } else { question(1) });
        };
        let judged = self.judge(user, &String::from_utf8(password).unwrap()).await?;
        Ok(if self.manner() == Manner::Talks { question(0) } else { judged })
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
