//! What an operator holds to send with.

use timely::dataflow::operators::{Capability, InputCapability};

use crate::runtime::time::Time;

/// For its results, and for the notices of its side outputs if it has any.
#[derive(Clone, Debug)]
pub(super) struct Capabilities {
    pub(super) results: Capability<Time>,
    pub(super) notices: Option<Capability<Time>>,
}

impl Capabilities {
    /// Of the ports of a new operator.
    pub(super) fn initial(ports: Vec<Capability<Time>>) -> Option<Self> {
        let mut ports = ports.into_iter();
        Some(Self { results: ports.next()?, notices: ports.next() })
    }

    /// Those that came with a batch.
    pub(super) fn retain(input: &InputCapability<Time>, has_notices: bool) -> Option<Self> {
        let notices = if has_notices { input.retain_least(1) } else { None };
        Some(Self { results: input.retain_least(0)?, notices })
    }

    pub(super) fn time(&self) -> Time {
        *self.results.time()
    }

    /// Moves both to a later time.
    pub(super) fn downgrade(&mut self, time: Time) {
        self.results.downgrade(&time);
        if let Some(notices) = &mut self.notices {
            notices.downgrade(&time);
        }
    }
}
