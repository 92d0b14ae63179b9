//! Several processes that run one job together: who takes part, how they find, trust and watch each other, and what they
//! are told.
//!
//! Process 0 coordinates ([`leader`]); every other process joins it over a control connection ([`member`], [`session`]).
//! For each attempt all processes connect with each other once more, for timely's records ([`mesh`], [`data`]). Every
//! connection begins with the same handshake ([`wire`]) at the same door ([`listener`]). What is decided is pure and free
//! of sockets: the handshake ([`handshake`]), who is a member ([`membership`]), where a broken stream stands
//! ([`boundary`]).

mod boundary;
mod data;
mod handshake;
mod leader;
mod listener;
mod member;
mod membership;
mod mesh;
pub(crate) mod protocol;
mod secret;
mod session;
mod wire;

use std::fmt;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use highwater_backends::ClusterSettings;
use highwater_checkpoint::JobId;
use highwater_types::{Error, Result};

pub(crate) use leader::Leader;
pub(crate) use member::{Event, Member, Relay};
pub(crate) use mesh::Allocators;
pub use secret::Secret;

use handshake::Identity;

/// Several processes that run one job together.
///
/// All run the same program with the same settings; each has its own index. Process 0 coordinates. The end of the job, be
/// it good or bad, is the same in all of them. When a process is lost, the others keep running: they wait until somebody
/// has started it again, and the job goes on from the newest checkpoint, as its restart strategy says
/// (`heartbeat.interval`, `heartbeat.timeout`, `taskmanager.registration.timeout`, `slot.request.timeout`).
///
/// Nobody takes part who does not know the [`Secret`]: both sides of every connection prove that they do. What follows is
/// **neither encrypted nor protected against changes**: who can listen in or write on the way between the processes can
/// read and forge records. Keep the network to yourself, or put a tunnel below it.
///
/// ```
/// use highwater_dataflow::{Cluster, ExecutionConfig, Secret};
///
/// let cluster = Cluster::new(1, ["10.0.0.1:6123", "10.0.0.2:6123"])
///     .secret(Secret::new("0123456789abcdef0123456789abcdef")?);
/// let config = ExecutionConfig::new().cluster(cluster);
/// # let _ = config;
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub(crate) index: usize,
    pub(crate) hosts: Vec<String>,
    pub(crate) secret: Option<Secret>,
}

impl Cluster {
    /// Process `index`, from 0, of those at `hosts`: `host:port` of each in the order of their indexes. A process listens
    /// where its own entry says, and nowhere else. All must reach the checkpoint storage.
    pub fn new(index: usize, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { index, hosts: hosts.into_iter().map(Into::into).collect(), secret: None }
    }

    /// What only these processes know. Without one, all hosts must be on loopback.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Reads and checks it.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(host) =
            self.hosts.iter().find(|host| host.rsplit_once(':').is_none_or(|(_, p)| p.parse::<u16>().is_err()))
        {
            return Err(Error::configuration("an entry of the hosts is not of the form host:port").with("host", host));
        }
        if self.hosts.len() < 2 || self.secret.is_some() {
            return Ok(());
        }
        if let Some(host) = self.hosts.iter().find(|host| !is_loopback(host)) {
            return Err(Error::configuration(
                "a cluster beyond one machine needs a secret, or anybody who reaches its ports can take part: give every \
                 process the same one",
            )
            .with("host", host));
        }
        tracing::warn!("the processes of this cluster have no secret: every user of this machine can take part");
        Ok(())
    }
}

fn is_loopback(host: &str) -> bool {
    host.to_socket_addrs().is_ok_and(|addresses| addresses.into_iter().all(|address| address.ip().is_loopback()))
}

/// A process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) index: u32,
    pub(crate) host: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.index, self.host)
    }
}

/// What a process knows of its cluster.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) index: u32,
    peers: Vec<Peer>,
    identity: Identity,
    secret: Option<Secret>,
    settings: ClusterSettings,
    incarnation: u64,
}

impl Network {
    pub(crate) fn new(cluster: &Cluster, job: JobId, workers: usize, settings: &ClusterSettings) -> Result<Arc<Self>> {
        let peers = cluster.hosts.iter().zip(0..).map(|(host, index)| Peer { index, host: host.clone() }).collect();
        Ok(Arc::new(Self {
            index: cluster.index as u32,
            peers,
            identity: Identity {
                job: job.to_string(),
                processes: cluster.hosts.len() as u32,
                workers: workers as u32,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            secret: cluster.secret.clone(),
            settings: settings.clone(),
            incarnation: handshake::incarnation()?,
        }))
    }

    fn peer(&self, index: u32) -> Peer {
        let unknown = || Peer { index, host: "unknown".to_owned() };
        self.peers.get(index as usize).cloned().unwrap_or_else(unknown)
    }

    /// How long a connection may take until both sides know each other.
    fn handshake_timeout(&self) -> Duration {
        self.settings.heartbeat_timeout.min(Duration::from_secs(10))
    }
}

/// The error for a peer that is gone.
fn lost(peer: &Peer, reason: &str) -> Error {
    Error::storage("another process of the job is lost").with("peer", peer).with("reason", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_beyond_loopback_needs_a_secret() {
        assert!(Cluster::new(0, ["127.0.0.1:1", "[::1]:2"]).check().is_ok());
        let open = Cluster::new(0, ["127.0.0.1:1", "192.0.2.7:2"]);
        assert_eq!(open.check().unwrap_err().value("host"), Some("192.0.2.7:2"));
        assert!(open.secret(Secret::new([7; 16]).unwrap()).check().is_ok());
        assert!(Cluster::new(0, ["127.0.0.1:1", "nowhere"]).check().is_err());
    }
}
