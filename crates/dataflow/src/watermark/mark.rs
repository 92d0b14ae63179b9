//! What travels behind the records of a batch.

/// Whether a channel counts, where the minimum over channels is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Status {
    #[default]
    Unchanged,
    Active,
    Idle,
}

/// A watermark, a status, or both. A channel becomes active before the watermark, and idle after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// `MIN` says nothing.
    pub(crate) watermark: i64,
    pub(crate) status: Status,
}

impl Mark {
    /// No more records.
    pub(crate) const END: Self = Self::watermark(i64::MAX);

    pub(crate) const fn watermark(watermark: i64) -> Self {
        Self { watermark, status: Status::Unchanged }
    }

    pub(crate) const fn status(status: Status) -> Self {
        Self { watermark: i64::MIN, status }
    }

    pub(crate) fn says_nothing(self) -> bool {
        self == Self::status(Status::Unchanged)
    }

    /// This mark and then another one, as one.
    pub(crate) fn then(self, later: Self) -> Self {
        let status = match later.status {
            Status::Unchanged => self.status,
            status => status,
        };
        Self { watermark: self.watermark.max(later.watermark), status }
    }
}

/// What a mark means to the operator that got it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advance {
    /// How far its event time has come, if it has.
    pub(crate) event_time: Option<i64>,
    /// What it says to those behind it, after that.
    pub(crate) forward: Option<Mark>,
}

impl Advance {
    pub(crate) fn of(mark: Mark) -> Self {
        Self {
            event_time: (mark.watermark > i64::MIN).then_some(mark.watermark),
            forward: (!mark.says_nothing()).then_some(mark),
        }
    }
}
