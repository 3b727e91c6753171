//! Connections to the page's port: accepted, decrypted where TLS is on, and answered over HTTP/1.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tower_service::Service;
use tracing::debug;

use super::listener::next_client;
use super::wire::Wire;

/// A client has this long to agree on encryption, and as long again for the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;

/// Who asks, as requests carry it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// A connection's place among the most that there may be; a WebSocket keeps it for as long as it
/// lasts.
#[derive(Clone, Debug)]
pub(super) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// The connection itself, where it is not encrypted.
#[derive(Clone, Debug)]
pub(super) struct Plain(pub(super) Option<Arc<Wire>>);

/// What HTTP is spoken over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Serves `router` for ever, to at most `max_connections` at one time; others wait to be accepted.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    max_connections: usize,
) {
    let tls = tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(max_connections));
    loop {
        let Ok(permit) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let place = Place {
            _permit: Arc::new(permit),
        };
        let (stream, peer) = next_client("the page", || listener.accept()).await;
        // Records are small and wait for nobody.
        let _ = stream.set_nodelay(true);
        tokio::spawn(connection(stream, peer, tls.clone(), router.clone(), place));
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    place: Place,
) {
    let mut wire = None;
    let stream: Box<dyn Stream> = match tls {
        None => {
            let (stream, plain) = Wire::of(stream);
            wire = Some(plain);
            Box::new(stream)
        }
        Some(tls) => match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(error)) => return debug!("no TLS with {}: {error}", peer.ip()),
            Err(_) => return debug!("no TLS with {}: it says nothing", peer.ip()),
        },
    };
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        let extensions = request.extensions_mut();
        extensions.insert(Peer(peer.ip()));
        extensions.insert(place.clone());
        extensions.insert(Plain(wire.clone()));
        router.clone().call(request)
    });
    let spoken = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = spoken.await {
        debug!("the connection with {} ended: {error}", peer.ip());
    }
}
