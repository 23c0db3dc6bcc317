//! WebSockets of the controller.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use http::Uri;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error, protocol::WebSocketConfig},
};
use url::{Host, Url};

/// Longest refusal that is shown.
const MAX_REFUSAL: usize = 64 * 1024;

/// A connection, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A WebSocket of the controller.
pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Opens `url`, which is `http` or `https` as the API is, without any proxy.
pub(super) async fn open(
    url: Url,
    tls: Arc<ClientConfig>,
    config: WebSocketConfig,
) -> anyhow::Result<Socket> {
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
        bail!("{url} has no host");
    };
    let tcp = match host {
        Host::Domain(name) => TcpStream::connect((name, port)).await,
        Host::Ipv4(address) => TcpStream::connect((address, port)).await,
        Host::Ipv6(address) => TcpStream::connect((address, port)).await,
    };
    let tcp = tcp.with_context(|| format!("no connection to {host} port {port}"))?;
    tcp.set_nodelay(true).ok();
    let stream: Box<dyn Stream> = if url.scheme() == "https" {
        let name = ServerName::try_from(host.to_string().trim_matches(['[', ']']).to_owned())?;
        let stream = tokio_rustls::TlsConnector::from(tls).connect(name, tcp).await;
        Box::new(stream.with_context(|| format!("no TLS with {host}"))?)
    } else {
        Box::new(tcp)
    };
    // `ws` and `wss` are all that the library takes.
    let uri: Uri = format!("ws{}", url.as_str().strip_prefix("http").unwrap_or_default()).parse()?;
    match client_async_with_config(uri, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = &body[..body.len().min(MAX_REFUSAL)];
            match super::client::error_message(body) {
                Some(message) => bail!("{message}"),
                None => bail!("the controller answered {}", response.status()),
            }
        }
        Err(error) => Err(error).context("the controller does not open a WebSocket"),
    }
}
