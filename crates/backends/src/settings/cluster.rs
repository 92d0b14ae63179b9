//! How the processes of a cluster find and watch each other.

use std::time::Duration;

use highwater_types::Result;

use super::Ranged;
use crate::config::Configuration;
use crate::options;

/// How the processes of a cluster find and watch each other, with Flink's keys and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterSettings {
    /// Time between two signs of life (`heartbeat.interval`, default 10 s).
    pub heartbeat_interval: Duration,
    /// Time without a sign of life after which a process counts as lost (`heartbeat.timeout`, default 50 s).
    pub heartbeat_timeout: Duration,
    /// How long a process looks for the coordinating one before it ends (`taskmanager.registration.timeout`, default
    /// 5 min).
    pub registration_timeout: Duration,
    /// How long the coordinating process waits for all others before an attempt fails (`slot.request.timeout`, default
    /// 5 min).
    pub slot_request_timeout: Duration,
}

impl ClusterSettings {
    pub(super) fn from_configuration(configuration: &Configuration) -> Result<Self> {
        let shortest = Duration::from_millis(1);
        let heartbeat_interval = configuration.at_least(&options::HEARTBEAT_INTERVAL, shortest)?;
        Ok(Self {
            heartbeat_interval,
            heartbeat_timeout: configuration.at_least(&options::HEARTBEAT_TIMEOUT, heartbeat_interval)?,
            registration_timeout: configuration.at_least(&options::REGISTRATION_TIMEOUT, shortest)?,
            slot_request_timeout: configuration.at_least(&options::SLOT_REQUEST_TIMEOUT, shortest)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_below_the_interval_is_refused() {
        let read = |timeout: &str| {
            let entries = [("heartbeat.interval", "2 s"), ("heartbeat.timeout", timeout)];
            ClusterSettings::from_configuration(&entries.into_iter().collect())
        };
        assert_eq!(read("2 s").unwrap().heartbeat_timeout, Duration::from_secs(2));
        assert_eq!(read("1 s").unwrap_err().value("key"), Some("heartbeat.timeout"));
        let defaults = ClusterSettings::from_configuration(&Configuration::new()).unwrap();
        assert_eq!(defaults.heartbeat_interval, Duration::from_secs(10));
        assert_eq!(defaults.heartbeat_timeout, Duration::from_secs(50));
    }
}
