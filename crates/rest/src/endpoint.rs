//! The server: one thread, a bounded number of connections, one request on each.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use highwater_dataflow::JobHandle;
use highwater_types::{Error, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::runtime;
use tokio::sync::{Semaphore, oneshot};

use crate::answers::{self, Missing};
use crate::settings::RestSettings;

/// Most connections at once. More wait until one is closed.
const CONNECTIONS: usize = 32;
/// Most bytes of a request.
const REQUEST_BYTES: usize = 16 * 1024;
/// Time for a request to come.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Time for a connection in all.
const CONNECTION_TIME: Duration = Duration::from_secs(20);
/// How often the recorder puts in order what was recorded: without a scrape nothing else does.
const UPKEEP: Duration = Duration::from_secs(5);
/// After an error of the listener, of which there may be more.
const PAUSE: Duration = Duration::from_millis(100);

/// An HTTP endpoint beside a job. It serves until it is dropped.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
///
/// use highwater_dataflow::{CollectionSource, ExecutionConfig, Job, JobHandle};
/// use highwater_rest::{RestEndpoint, RestSettings};
///
/// let handle = JobHandle::new();
/// let endpoint = RestEndpoint::start(&handle, &RestSettings::default().port(0))?;
/// let job = Job::new("words", |env| {
///     env.source("words", CollectionSource::new(vec!["to", "be"])).map(str::len);
///     Ok(())
/// });
/// job.execute(&ExecutionConfig::new().handle(&handle))?;
///
/// let mut connection = TcpStream::connect(endpoint.address())?;
/// connection.write_all(b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
/// let mut answer = String::new();
/// connection.read_to_string(&mut answer)?;
/// assert!(answer.contains("FINISHED"), "{answer}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RestEndpoint {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RestEndpoint {
    /// Starts to serve what there is to know of the job of this handle, which may run already or later.
    ///
    /// Metrics are those of the whole process, RocksDB's included, as far as they are configured.
    ///
    /// # Errors
    /// `Configuration` for an address that is not allowed; `Storage` if it cannot be listened on; `Program` if the
    /// program has a recorder of metrics of its own.
    pub fn start(handle: &JobHandle, settings: &RestSettings) -> Result<Self> {
        settings.address()?;
        Self::serve(handle, settings, Some(crate::metrics::install()?))
    }

    /// As [`start`](Self::start), without `/metrics`: for a program that publishes metrics in its own way.
    ///
    /// # Errors
    /// As there.
    pub fn start_without_metrics(handle: &JobHandle, settings: &RestSettings) -> Result<Self> {
        Self::serve(handle, settings, None)
    }

    fn serve(handle: &JobHandle, settings: &RestSettings, metrics: Option<PrometheusHandle>) -> Result<Self> {
        let address = settings.address()?;
        let failed = |cause| Error::storage("the HTTP endpoint cannot listen").with("address", address).because(cause);
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Arc::new(Server { handle: handle.clone(), metrics, is_local: bound.ip().is_loopback() });
        let run = move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => {
                        drop(tokio::spawn(Arc::clone(&server).keep_up()));
                        drop(tokio::spawn(server.accept(listener)));
                    }
                    Err(error) => tracing::error!(%error, "the HTTP endpoint does not listen"),
                }
                // Comes to an end when the sender is dropped.
                let _ = stopped.await;
            });
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("rest".to_owned()).spawn(run).map_err(failed)?;
        tracing::info!(address = %bound, "the HTTP endpoint listens");
        Ok(Self { address: bound, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RestEndpoint {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the HTTP endpoint panicked");
        }
    }
}

struct Server {
    handle: JobHandle,
    metrics: Option<PrometheusHandle>,
    /// Whether it listens on the loopback interface.
    is_local: bool,
}

impl Server {
    async fn keep_up(self: Arc<Self>) {
        while let Some(metrics) = &self.metrics {
            metrics.run_upkeep();
            tokio::time::sleep(UPKEEP).await;
        }
    }

    async fn accept(self: Arc<Self>, listener: tokio::net::TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = Arc::clone(&self);
                    drop(tokio::spawn(async move {
                        server.connection(stream).await;
                        drop(place);
                    }));
                }
                // Out of files, mostly: it may pass.
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: tokio::net::TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let response = match self.is_meant(&request) {
                true => self.respond(request.method(), request.uri().path()),
                false => refused(StatusCode::FORBIDDEN, "This endpoint is at localhost."),
            };
            async { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .keep_alive(false)
            .max_buf_size(REQUEST_BYTES)
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIME)
            .serve_connection(TokioIo::new(stream), service);
        match tokio::time::timeout(CONNECTION_TIME, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a connection of the HTTP endpoint failed"),
            Err(_) => tracing::debug!("a connection of the HTTP endpoint took too long"),
        }
    }

    /// A page can give its own name the address of this machine; a browser then asks here, under that name.
    fn is_meant<T>(&self, request: &Request<T>) -> bool {
        let Some(host) = request.headers().get(HOST).filter(|_| self.is_local) else { return true };
        let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        authority.is_some_and(|authority| {
            let name = authority.host().trim_start_matches('[').trim_end_matches(']');
            name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        })
    }

    fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let answer = match (path, &self.metrics) {
            ("/metrics", Some(metrics)) => {
                metrics.run_upkeep();
                Ok(("text/plain; version=0.0.4; charset=utf-8", metrics.render()))
            }
            _ => answers::answer(&self.handle, path).map(|json| ("application/json", json.to_string())),
        };
        match answer {
            Ok((content_type, body)) if matches!(*method, Method::GET | Method::HEAD) => {
                response(StatusCode::OK, content_type, body)
            }
            Ok(_) => {
                let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "Only GET is supported.");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
            Err(Missing::Unknown) => refused(StatusCode::NOT_FOUND, "Not found."),
            Err(Missing::Elsewhere) => refused(
                StatusCode::NOT_FOUND,
                "Process 0 of the job knows of its checkpoints: ask the endpoint of that process.",
            ),
        }
    }
}

fn refused(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    response(status, "application/json", json!({ "errors": [reason] }).to_string())
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
