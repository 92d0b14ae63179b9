//! `/metrics`: what was published through the `metrics` facade, as text for Prometheus.

use std::sync::OnceLock;

use highwater_types::{Error, Result};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// The recorder of this process, or why there is none.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Makes a recorder for Prometheus the recorder of this process. All endpoints share it.
///
/// # Errors
/// `Program` if the program has installed a recorder of its own, which then has the metrics.
pub(crate) fn install() -> Result<PrometheusHandle> {
    let recorder = RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().ok());
    recorder.clone().ok_or_else(|| {
        Error::program(
            "the program has installed a recorder of metrics of its own: publish the metrics from there, and start the \
             endpoint without them (RestEndpoint::start_without_metrics)",
        )
    })
}
