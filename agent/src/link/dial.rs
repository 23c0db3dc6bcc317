//! One TLS connection to one controller address, and a gRPC channel on it. No hidden reconnects: when the
//! connection ends, the channel is over and the caller decides where to dial next.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use super::{
    clock::Clock,
    resolve::{ResolveError, Resolver},
    tls,
};

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(15);
/// A connection that is silently dead is noticed within the sum of these two.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_DEADLINE: Duration = Duration::from_secs(20);

/// Why a controller cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address is not host:port.
    #[error("controller address \"{0}\" is not host:port: make the boot medium anew")]
    Address(String),
    /// The name has no address.
    #[error("controller {endpoint} cannot be dialled")]
    Resolve {
        /// Which controller.
        endpoint: String,
        /// Why.
        #[source]
        source: ResolveError,
    },
    /// No connection.
    #[error("controller {endpoint} cannot be reached ({tried} addresses tried)")]
    Connect {
        /// Which controller.
        endpoint: String,
        /// How many addresses were tried.
        tried: usize,
        /// The last failure.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("controller {endpoint} did not prove that it is the controller of the boot medium")]
    Tls {
        /// Which controller.
        endpoint: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed because of somebody's clock.
    #[error(
        "the certificate of controller {endpoint} is not valid now: {clocks}; set the clock that is wrong"
    )]
    Clock {
        /// Which controller.
        endpoint: String,
        /// What the clocks say.
        clocks: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// HTTP/2 did not start.
    #[error("controller {endpoint} does not speak gRPC")]
    Http {
        /// Which controller.
        endpoint: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Connects and authenticates.
pub(super) async fn dial(
    endpoint: &str,
    resolver: &Resolver,
    config: Arc<ClientConfig>,
    clock: &Clock,
) -> Result<Channel, DialError> {
    let tcp = connect(endpoint, resolver).await?;
    let handshake = TlsConnector::from(config).connect(tls::server_name(), tcp);
    let stream = match timeout(HANDSHAKE_DEADLINE, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) if tls::is_validity_error(&source) => {
            return Err(DialError::Clock { endpoint: endpoint.to_owned(), clocks: clock.explain(), source });
        }
        Ok(Err(source)) => return Err(DialError::Tls { endpoint: endpoint.to_owned(), source }),
        Err(_) => {
            return Err(DialError::Tls {
                endpoint: endpoint.to_owned(),
                source: io::ErrorKind::TimedOut.into(),
            });
        }
    };
    channel(stream).await.map_err(|source| DialError::Http { endpoint: endpoint.to_owned(), source })
}

async fn connect(endpoint: &str, resolver: &Resolver) -> Result<TcpStream, DialError> {
    let (host, port) =
        split(endpoint).ok_or_else(|| DialError::Address(endpoint.chars().take(100).collect()))?;
    let addresses = resolver
        .lookup(host)
        .await
        .map_err(|source| DialError::Resolve { endpoint: endpoint.to_owned(), source })?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in &addresses {
        match timeout(CONNECT_DEADLINE, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).ok();
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(DialError::Connect { endpoint: endpoint.to_owned(), tried: addresses.len(), source: last })
}

/// `host:port`, `address:port` or `[address]:port`.
pub(super) fn split(endpoint: &str) -> Option<(&str, u16)> {
    let (host, port) = endpoint.rsplit_once(':')?;
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    let port: u16 = port.parse().ok()?;
    (!host.is_empty() && !bare_v6 && port != 0).then_some((host, port))
}

async fn channel(stream: TlsStream<TcpStream>) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    // The scheme only keeps tonic from adding TLS of its own: the stream has it.
    Endpoint::from_static("http://controller.bessemer.internal")
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_DEADLINE)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_at_the_last_colon() {
        assert_eq!(split("10.0.0.1:6386"), Some(("10.0.0.1", 6386)));
        assert_eq!(split("[fd00::1]:6386"), Some(("[fd00::1]", 6386)));
        assert_eq!(split("controller.example:1"), Some(("controller.example", 1)));
        for wrong in ["", "host", ":1", "host:", "host:0", "host:65536", "fd00::1:6386", "host:x"] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
