//! Connections: how many, how long, over TLS or not, and how they end.

use std::{convert::Infallible, future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use hyper::{
    Request,
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus::IntGauge;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::webhook::Peer;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection is asked to end at this age, so that clients that only keep connections open cannot use them all up.
const MAX_AGE: Duration = Duration::from_secs(300);

/// Then its last requests may take this long.
const LAST_REQUESTS: Duration = Duration::from_secs(60);

/// After an answer to a request that was not read to its end, what the client still sends is thrown away for this
/// long. Closing at once would reset the connection, and the client might never see the answer.
const LINGER: Duration = Duration::from_secs(1);

/// For each HTTP/2 connection; also how much of its bodies waits in memory outside the body budget.
const HTTP2_WINDOW_BYTES: u32 = 256 * 1024;

/// Request line and headers of HTTP/1 must fit.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;

/// What every connection needs.
pub(super) struct Server {
    pub(super) router: Router,
    pub(super) tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    pub(super) header_timeout: Duration,
    pub(super) max_connections: usize,
    pub(super) connections: IntGauge,
    /// Connections, and the appends that outlive theirs.
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
    pub(super) shutdown_timeout: Duration,
}

impl Server {
    /// Accepts until shutdown, then lets requests under way finish, within `shutdown_timeout`.
    pub(super) async fn run(self, listener: TcpListener) {
        let server = Arc::new(self);
        let end = CancellationToken::new();
        server.shutdown.run_until_cancelled(server.accept(&listener, &end)).await;
        // From here on clients are refused rather than left waiting.
        drop(listener);
        server.tasks.close();
        if timeout(server.shutdown_timeout, server.tasks.wait()).await.is_err() {
            tracing::warn!(unfinished = server.tasks.len(), "requests did not finish in time for the shutdown");
            end.cancel();
        }
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, end: &CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.max_connections));
        loop {
            // Before accepting: further clients wait in the kernel's queue.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let guard = ConnectionGuard::new(slot, self.connections.clone());
                    let (server, end) = (Arc::clone(self), end.clone());
                    self.tasks.spawn(async move {
                        let _guard = guard;
                        let connection = server.connection(stream, peer.ip());
                        end.run_until_cancelled(timeout(MAX_AGE + LAST_REQUESTS, connection)).await;
                    });
                }
                Err(error) => {
                    // Out of file descriptors, usually; some will be free soon.
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(&self, stream: TcpStream, peer: IpAddr) {
        // Answers are small and must not wait for more; without it they are only slower.
        drop(stream.set_nodelay(true));
        // Boxed, or every connection would have the size of the largest state it could ever be in.
        let Some(tls) = &self.tls else { return Box::pin(self.http1(stream, peer)).await };
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
        let handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
        match Box::pin(self.shutdown.run_until_cancelled(handshake)).await {
            Some(Ok(Ok(stream))) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                Box::pin(self.http2(stream, peer)).await;
            }
            Some(Ok(Ok(stream))) => Box::pin(self.http1(stream, peer)).await,
            Some(Ok(Err(error))) => tracing::debug!(%error, "TLS handshake failed"),
            Some(Err(_)) => tracing::debug!("TLS handshake took too long"),
            None => {}
        }
    }

    async fn http1(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: IpAddr) {
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(HTTP1_BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service_fn(|request| self.answer(request, peer)));
        let ended = {
            let mut close = std::pin::pin!(self.time_to_close());
            let mut closing = false;
            loop {
                tokio::select! {
                    ended = std::future::poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
                    () = &mut close, if !closing => {
                        closing = true;
                        Pin::new(&mut connection).graceful_shutdown();
                    }
                }
            }
        };
        match ended {
            Ok(()) => linger(connection.into_parts().io.into_inner()).await,
            Err(error) => tracing::debug!(%error, "HTTP/1 connection ended"),
        }
    }

    async fn http2(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: IpAddr) {
        let router = self.router.clone();
        let mut connection = std::pin::pin!(
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(256)
                .max_header_list_size(16 * 1024)
                .initial_stream_window_size(HTTP2_WINDOW_BYTES)
                .initial_connection_window_size(HTTP2_WINDOW_BYTES)
                .keep_alive_interval(Duration::from_secs(20))
                .keep_alive_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service_fn(move |request| answer(&router, request, peer)))
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.time_to_close() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "HTTP/2 connection ended");
        }
    }

    async fn time_to_close(&self) {
        self.shutdown.run_until_cancelled(sleep(MAX_AGE)).await;
    }

    fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Answer {
        answer(&self.router, request, peer)
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

fn answer(router: &Router, request: Request<Incoming>, peer: IpAddr) -> Answer {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer));
    Box::pin(TowerToHyperService::new(router.clone()).call(request))
}

async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let drain = async {
        stream.shutdown().await?;
        let mut scratch = vec![0; 8 * 1024];
        while stream.read(&mut scratch).await? > 0 {}
        std::io::Result::Ok(())
    };
    // However it ends, there is nobody left to tell.
    drop(timeout(LINGER, drain).await);
}

/// Keeps the gauge and the number of free slots true however a connection ends.
struct ConnectionGuard {
    _slot: OwnedSemaphorePermit,
    gauge: IntGauge,
}

impl ConnectionGuard {
    fn new(slot: OwnedSemaphorePermit, gauge: IntGauge) -> Self {
        gauge.inc();
        Self { _slot: slot, gauge }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
