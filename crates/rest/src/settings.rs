//! Where the endpoint listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use highwater_backends::Configuration;
use highwater_backends::options::{REST_ALLOW_REMOTE, REST_BIND_ADDRESS, REST_PORT};
use highwater_types::{Error, Result};

/// Where the endpoint listens.
///
/// ```
/// use highwater_rest::RestSettings;
///
/// let settings = RestSettings::default();
/// assert_eq!(settings.address()?.to_string(), "127.0.0.1:8081");
/// let everywhere = settings.bind_address("0.0.0.0".parse().expect("an address")).port(9_000);
/// assert!(everywhere.address().unwrap_err().to_string().contains("allow"));
/// assert_eq!(everywhere.allow_remote(true).address()?.to_string(), "0.0.0.0:9000");
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct RestSettings {
    bind_address: IpAddr,
    port: u16,
    allow_remote: bool,
}

impl Default for RestSettings {
    /// Port 8081 of 127.0.0.1.
    fn default() -> Self {
        Self { bind_address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 8_081, allow_remote: false }
    }
}

impl RestSettings {
    /// What a configuration says: [`REST_PORT`], [`REST_BIND_ADDRESS`], [`REST_ALLOW_REMOTE`].
    ///
    /// # Errors
    /// `Configuration` where a value is no port or address; `localhost` is one.
    pub fn from_configuration(configuration: &Configuration) -> Result<Self> {
        let port = configuration.get(&REST_PORT)?;
        let port = u16::try_from(port).map_err(|_| {
            Error::configuration("a port is a number from 0 to 65535").with("key", REST_PORT.key()).with("value", port)
        })?;
        let text = configuration.get(&REST_BIND_ADDRESS)?;
        let address = match text.as_str() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            text => text.parse().map_err(|cause| {
                Error::configuration("the address to listen on must be an IP address or localhost")
                    .with("key", REST_BIND_ADDRESS.key())
                    .with("value", text)
                    .because(cause)
            })?,
        };
        Ok(Self { bind_address: address, port, allow_remote: configuration.get(&REST_ALLOW_REMOTE)? })
    }

    /// The port (Flink's `rest.port`); 0 takes any that is free, which [`RestEndpoint::address`](crate::RestEndpoint::address)
    /// tells. Default 8081.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The address of the interface to listen on (Flink's `rest.bind-address`). Default 127.0.0.1.
    pub fn bind_address(mut self, address: IpAddr) -> Self {
        self.bind_address = address;
        self
    }

    /// Whether the address may be one that other machines reach. Whoever does can read everything there is.
    pub fn allow_remote(mut self, allow: bool) -> Self {
        self.allow_remote = allow;
        self
    }

    /// Where to listen.
    ///
    /// # Errors
    /// `Configuration` if that is not the loopback interface, and nothing else is allowed.
    pub fn address(&self) -> Result<SocketAddr> {
        match self.bind_address.is_loopback() || self.allow_remote {
            true => Ok(SocketAddr::new(self.bind_address, self.port)),
            false => Err(Error::configuration(
                "the HTTP endpoint knows no users: let it listen on 127.0.0.1, or allow other addresses",
            )
            .with("key", REST_BIND_ADDRESS.key())
            .with("value", self.bind_address)
            .with("allowed by", REST_ALLOW_REMOTE.key())),
        }
    }
}
