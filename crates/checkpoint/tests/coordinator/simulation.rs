//! A small world around the coordinator: subtasks, messages that are lost, repeated and reordered, storage that fails,
//! attempts that end and a process that is killed. One seed, one history. Every command is held against what must never
//! happen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater_checkpoint::{
    AbortReason, AttemptStart, CheckpointKind, Command, Coordinator, CoordinatorSettings, DiscardExtent, Event,
};

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// One piece of state, written by a subtask for a checkpoint.
#[derive(Clone, Debug)]
struct Piece {
    attempt: u64,
    checkpoint: u64,
    subtask: u32,
    /// Whether its acknowledgement reached the coordinator.
    delivered: bool,
    discarded: bool,
}

/// What the model knows about a checkpoint begun in the life of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    UnderWay,
    Complete,
    Aborted,
    /// Given up, but perhaps durable: its state has to stay.
    Unclear,
}

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) trace: Vec<String>,
    pub(crate) completed: usize,
    pub(crate) aborted: usize,
    pub(crate) late_discards: usize,
    pub(crate) job_failures: usize,
    pub(crate) finals: usize,
    pub(crate) savepoints: usize,
    pub(crate) final_savepoints: usize,
    pub(crate) unclear_but_durable: usize,
}

pub(crate) struct World {
    random: Random,
    settings: CoordinatorSettings,
    coordinator: Coordinator<u64>,
    now: Duration,
    subtasks: u32,
    /// Number of the newest attempt, and whether it runs.
    attempt: u64,
    runs: bool,
    /// The running attempt was told to end, or one of its subtasks failed.
    is_failing: bool,
    final_complete: bool,
    failures_in_a_row: u32,
    /// On the way to the coordinator.
    messages: Vec<Event<u64>>,
    /// The metadata write under way.
    writes: BTreeMap<u64, BTreeMap<u32, u64>>,
    fates: BTreeMap<u64, Fate>,
    kinds: BTreeMap<u64, CheckpointKind>,
    /// Requests for savepoints that have not begun.
    wanted: [usize; 2],
    /// Durable savepoints: nothing is ever taken from them, and no attempt begins with one unless it was the end.
    savepoints: BTreeMap<u64, BTreeMap<u32, u64>>,
    pieces: BTreeMap<u64, Piece>,
    next_piece: u64,
    /// Durable metadata: what survives the process.
    durable: BTreeMap<u64, BTreeMap<u32, u64>>,
    /// Greatest id storage has ever seen.
    greatest_id: u64,
    /// What sinks have published.
    committed: u64,
    has_faults: bool,
    outcome: Outcome,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let settings = CoordinatorSettings {
            interval: random.percent(80).then(|| Duration::from_millis(10 + random.below(50))),
            min_pause: Duration::from_millis(random.below(3) * random.below(40)),
            timeout: Duration::from_millis(10 + random.below(200)),
            max_concurrent: 1 + random.below(3) as usize,
            tolerable_failures: random.below(4) as u32,
        };
        let mut world = Self {
            coordinator: Coordinator::new(settings.clone()).unwrap(),
            subtasks: 1 + random.below(4) as u32,
            settings,
            random,
            now: Duration::ZERO,
            attempt: 0,
            runs: false,
            is_failing: false,
            final_complete: false,
            failures_in_a_row: 0,
            messages: Vec::new(),
            writes: BTreeMap::new(),
            fates: BTreeMap::new(),
            kinds: BTreeMap::new(),
            wanted: [0; 2],
            savepoints: BTreeMap::new(),
            pieces: BTreeMap::new(),
            next_piece: 0,
            durable: BTreeMap::new(),
            greatest_id: 0,
            committed: 0,
            has_faults: true,
            outcome: Outcome::default(),
        };
        world.start_attempt();
        world
    }

    /// Runs so many steps, kills the process after one of them if so told, and then lets everything come to rest.
    pub(crate) fn run(mut self, steps: usize, kill_after: Option<usize>) -> Outcome {
        for step in 0..steps {
            self.step();
            if kill_after == Some(step) {
                self.kill();
            }
        }
        self.come_to_rest();
        self.outcome
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..45 => self.deliver(),
            45..65 => self.pass_time(),
            65..80 => self.finish_write(),
            80..86 => self.feed(Event::Trigger { kind: CheckpointKind::Manual }),
            86 => self.feed(Event::Trigger { kind: CheckpointKind::Final }),
            87 => self.request_savepoint(CheckpointKind::FinalSavepoint),
            88 => self.request_savepoint(CheckpointKind::Savepoint),
            89 => self.fail_subtask(),
            90..94 if self.is_failing || self.final_complete => self.end_attempt(),
            94..98 => self.start_attempt(),
            98 if self.random.percent(30) => self.end_attempt(),
            99 if self.random.percent(30) => self.kill(),
            _ => {}
        }
    }

    // What happens.

    /// Delivers a message, any of them; sometimes it gets lost, sometimes it comes again later.
    fn deliver(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        let index = self.random.below(self.messages.len() as u64) as usize;
        let message = self.messages.swap_remove(index);
        if self.has_faults && self.random.percent(5) {
            return;
        }
        if self.has_faults && self.random.percent(10) {
            self.messages.push(message.clone());
        }
        if let Event::Acknowledge { payload, .. } = &message {
            self.pieces.get_mut(payload).unwrap().delivered = true;
        }
        self.feed(message);
    }

    fn pass_time(&mut self) {
        let wakeup = self.coordinator.next_wakeup();
        self.now = match wakeup {
            Some(wakeup) if self.random.percent(70) => wakeup.max(self.now),
            _ => self.now + Duration::from_millis(self.random.below(30)),
        };
        self.feed(Event::Tick);
    }

    fn finish_write(&mut self) {
        let any = if self.random.percent(50) { self.writes.pop_first() } else { self.writes.pop_last() };
        let Some((checkpoint, acknowledgements)) = any else { return };
        let roll = if self.has_faults { self.random.below(100) } else { 0 };
        match roll {
            0..75 => {
                self.make_durable(checkpoint, acknowledgements);
                self.feed(Event::MetadataWritten { checkpoint });
            }
            75..88 => {
                self.feed(Event::MetadataFailed { checkpoint, reason: "no space left".into(), unclear: false });
            }
            _ => {
                if self.random.percent(50) {
                    self.make_durable(checkpoint, acknowledgements);
                    self.outcome.unclear_but_durable += 1;
                }
                self.feed(Event::MetadataFailed { checkpoint, reason: "sync failed".into(), unclear: true });
            }
        }
    }

    fn request_savepoint(&mut self, kind: CheckpointKind) {
        if self.runs {
            self.wanted[usize::from(kind.is_final())] += 1;
        }
        self.feed(Event::Trigger { kind });
    }

    /// What is durable from now on. A savepoint is beside the checkpoints, and only the last one is restored.
    fn make_durable(&mut self, checkpoint: u64, acknowledgements: BTreeMap<u32, u64>) {
        if self.kinds[&checkpoint].is_savepoint() {
            self.savepoints.insert(checkpoint, acknowledgements.clone());
        }
        if self.kinds[&checkpoint] != CheckpointKind::Savepoint {
            self.durable.insert(checkpoint, acknowledgements);
        }
    }

    fn fail_subtask(&mut self) {
        if self.runs {
            let subtask = self.random.below(u64::from(self.subtasks)) as u32;
            self.is_failing = true;
            self.feed(Event::SubtaskFailed { attempt: self.attempt, subtask });
        }
    }

    fn end_attempt(&mut self) {
        if self.runs {
            self.runs = false;
            self.feed(Event::AttemptEnded { attempt: self.attempt });
            assert_eq!(self.coordinator.pending().collect::<Vec<_>>(), self.writes.keys().copied().collect::<Vec<_>>());
        }
    }

    fn start_attempt(&mut self) {
        if self.runs || !self.writes.is_empty() {
            return;
        }
        self.attempt += 1;
        // Restore the newest: sinks publish what it lists.
        let restored = self.durable.last_key_value().map_or(0, |(id, _)| *id);
        assert!(restored >= self.committed, "published {}, restored {restored}", self.committed);
        self.committed = restored;
        self.subtasks = 1 + self.random.below(4) as u32;
        (self.runs, self.is_failing, self.final_complete) = (true, false, false);
        self.wanted = [0; 2];
        let start = AttemptStart {
            attempt: self.attempt,
            subtasks: self.subtasks,
            next_checkpoint: self.greatest_id + 1,
            jitter: self.random.next(),
        };
        self.outcome.trace.push(format!("{:?} restored {restored}, {start:?}", self.now));
        self.coordinator.start(self.now, start).unwrap();
    }

    /// Kills the process: only what is durable is left. A write under way may have made it or not.
    fn kill(&mut self) {
        self.outcome.trace.push("killed".into());
        while let Some((checkpoint, acknowledgements)) = self.writes.pop_first() {
            if self.random.percent(50) {
                self.make_durable(checkpoint, acknowledgements);
            }
        }
        self.messages.clear();
        self.fates.clear();
        let durable = self.durable.values().chain(self.savepoints.values());
        let kept: BTreeSet<u64> = durable.flat_map(|pieces| pieces.values().copied()).collect();
        // The rest is what the clean-up at the next start removes.
        self.pieces.retain(|piece, _| kept.contains(piece));
        self.coordinator = Coordinator::new(self.settings.clone()).unwrap();
        self.runs = false;
        self.failures_in_a_row = 0;
        self.start_attempt();
    }

    /// No more faults: what is under way ends, one more checkpoint and the final one complete.
    fn come_to_rest(&mut self) {
        self.has_faults = false;
        self.outcome.trace.push("no more faults".into());
        self.drain();
        self.end_attempt();
        self.drain();
        assert_eq!(self.coordinator.pending().len(), 0, "nothing is under way without an attempt");
        self.check_nothing_leaks();
        self.start_attempt();
        let before = self.outcome.completed;
        self.feed(Event::Trigger { kind: CheckpointKind::Manual });
        self.drain();
        assert!(self.outcome.completed > before, "without faults a checkpoint completes");
        let savepoints = self.outcome.savepoints;
        self.request_savepoint(CheckpointKind::Savepoint);
        self.request_savepoint(CheckpointKind::Savepoint);
        self.drain();
        assert_eq!(self.outcome.savepoints, savepoints + 2, "each request has its own savepoint");
        let (finals, kind) = match self.random.percent(50) {
            true => (self.outcome.final_savepoints, CheckpointKind::FinalSavepoint),
            false => (self.outcome.finals, CheckpointKind::Final),
        };
        match kind.is_savepoint() {
            true => self.request_savepoint(kind),
            false => self.feed(Event::Trigger { kind }),
        }
        self.drain();
        let completed = if kind.is_savepoint() { self.outcome.final_savepoints } else { self.outcome.finals };
        assert!(completed > finals, "without faults the final checkpoint completes");
        assert_eq!(self.coordinator.next_wakeup(), None);
        assert!(self.fates.values().all(|fate| *fate != Fate::UnderWay));
    }

    fn drain(&mut self) {
        while !self.messages.is_empty() || !self.writes.is_empty() {
            self.deliver();
            self.finish_write();
        }
    }

    // What the coordinator wants.

    fn feed(&mut self, event: Event<u64>) {
        self.outcome.trace.push(format!("{:?} {event:?}", self.now));
        let commands = self.coordinator.handle(self.now, event);
        let mut expected_failures = 0;
        let mut failures = 0;
        for command in commands {
            self.outcome.trace.push(format!("  {command:?}"));
            match command {
                Command::Begin { attempt, checkpoint, kind } => self.begin(attempt, checkpoint, kind),
                Command::WriteMetadata { checkpoint, acknowledgements } => {
                    self.write_metadata(checkpoint, acknowledgements);
                }
                Command::Complete { attempt, checkpoint, kind } => self.complete(attempt, checkpoint, kind),
                Command::Abort { checkpoint, reason, .. } => {
                    expected_failures += usize::from(self.abort(checkpoint, &reason));
                }
                Command::Discard { checkpoint, payloads, extent } => self.discard(checkpoint, &payloads, extent),
                Command::FailJob { .. } => failures += 1,
            }
        }
        assert_eq!(failures, expected_failures, "the job fails when too many checkpoints failed in a row");
        self.outcome.job_failures += failures;
        let under_way = self.fates.iter().filter(|(_, fate)| **fate == Fate::UnderWay).map(|(id, _)| *id);
        assert_eq!(self.coordinator.pending().collect::<Vec<_>>(), under_way.collect::<Vec<_>>());
        let checkpoints = self.coordinator.pending().filter(|id| !self.kinds[id].is_savepoint()).count();
        assert!(checkpoints <= self.settings.max_concurrent);
        let is_leaving = self.coordinator.pending().any(|id| self.kinds[&id].is_final()) || self.final_complete;
        assert!(self.wanted[0] == 0 || !self.runs || self.is_failing || is_leaving, "a savepoint waits for nothing");
        assert!(self.coordinator.next_wakeup().is_none_or(|wakeup| wakeup > self.now), "it would spin");
    }

    fn begin(&mut self, attempt: u64, checkpoint: u64, kind: CheckpointKind) {
        assert!(self.runs && !self.is_failing && !self.final_complete, "nobody to take {checkpoint}");
        assert_eq!(attempt, self.attempt);
        assert!(checkpoint > self.greatest_id, "id {checkpoint} was there before");
        let finals = self
            .coordinator
            .pending()
            .filter(|id| *id != checkpoint && self.begun_as(*id).is_some_and(|kind| kind.is_final()));
        assert_eq!(finals.count(), 0, "{checkpoint} begins after what is to be the last");
        if kind.is_savepoint() {
            let wanted = &mut self.wanted[usize::from(kind.is_final())];
            *wanted = wanted.checked_sub(1).expect("nobody asked for a savepoint");
        }
        self.kinds.insert(checkpoint, kind);
        self.greatest_id = checkpoint;
        self.fates.insert(checkpoint, Fate::UnderWay);
        if self.has_faults && kind != CheckpointKind::Final && self.random.percent(4) {
            self.messages.push(Event::BeginFailed { checkpoint, reason: "read-only".into() });
            return;
        }
        for subtask in 0..self.subtasks {
            match if self.has_faults { self.random.below(100) } else { 0 } {
                0..88 => self.acknowledge(attempt, checkpoint, subtask),
                88..95 => {
                    let reason = "asynchronous part failed".into();
                    self.messages.push(Event::Decline { attempt, checkpoint, subtask, reason });
                }
                _ => {}
            }
        }
    }

    fn begun_as(&self, checkpoint: u64) -> Option<CheckpointKind> {
        self.kinds.get(&checkpoint).copied()
    }

    fn acknowledge(&mut self, attempt: u64, checkpoint: u64, subtask: u32) {
        let payload = self.next_piece;
        self.next_piece += 1;
        let piece = Piece { attempt, checkpoint, subtask, delivered: false, discarded: false };
        self.pieces.insert(payload, piece);
        self.messages.push(Event::Acknowledge { attempt, checkpoint, subtask, payload });
    }

    fn write_metadata(&mut self, checkpoint: u64, acknowledgements: BTreeMap<u32, u64>) {
        let is_beside = |id: &u64| self.kinds[id] == CheckpointKind::Savepoint;
        let mut others = self.writes.keys().map(is_beside);
        assert!(others.all(|other| other != is_beside(&checkpoint)), "two writes of a kind at once");
        assert_eq!(self.fates[&checkpoint], Fate::UnderWay);
        let subtasks: Vec<_> = acknowledgements.keys().copied().collect();
        assert_eq!(subtasks, (0..self.subtasks).collect::<Vec<_>>(), "not all have acknowledged");
        for (subtask, piece) in &acknowledgements {
            let piece = &self.pieces[piece];
            assert_eq!((piece.attempt, piece.checkpoint, piece.subtask), (self.attempt, checkpoint, *subtask));
            assert!(!piece.discarded);
        }
        self.writes.insert(checkpoint, acknowledgements);
    }

    fn complete(&mut self, attempt: u64, checkpoint: u64, kind: CheckpointKind) {
        assert_eq!(attempt, self.attempt);
        assert_eq!(kind, self.kinds[&checkpoint]);
        self.end(checkpoint, Fate::Complete);
        if kind == CheckpointKind::Savepoint {
            assert!(self.savepoints.contains_key(&checkpoint), "{checkpoint} is not durable");
            self.outcome.savepoints += 1;
            return;
        }
        assert!(self.durable.contains_key(&checkpoint), "{checkpoint} is not durable");
        if kind == CheckpointKind::FinalSavepoint {
            self.final_complete = true;
            self.outcome.final_savepoints += 1;
            if self.runs {
                self.committed = self.committed.max(checkpoint);
            }
            return;
        }
        let is_checkpoint = |id: &u64| self.kinds[id] != CheckpointKind::Savepoint;
        let newest = self.fates.iter().rfind(|(id, fate)| **fate == Fate::Complete && is_checkpoint(id));
        assert_eq!(newest.map(|(id, _)| *id), Some(checkpoint), "completed after a newer one");
        // Retention of one: the older ones go, and with them what they wrote.
        let retained = self.durable.split_off(&checkpoint);
        self.durable = retained;
        self.failures_in_a_row = 0;
        self.outcome.completed += 1;
        if kind == CheckpointKind::Final {
            self.final_complete = true;
            self.outcome.finals += 1;
        }
        if self.runs {
            self.committed = self.committed.max(checkpoint);
        }
        assert!(self.durable.contains_key(&self.committed) || self.committed < checkpoint);
    }

    /// Whether this is the failure that is too much.
    fn abort(&mut self, checkpoint: u64, reason: &AbortReason) -> bool {
        let unclear = matches!(reason, AbortReason::MetadataUnclear(_));
        self.end(checkpoint, if unclear { Fate::Unclear } else { Fate::Aborted });
        self.outcome.aborted += 1;
        if let AbortReason::Subsumed { by } = reason {
            assert!(checkpoint < *by && !self.kinds[&checkpoint].is_savepoint());
            assert_eq!(self.fates[by], Fate::Complete);
        }
        if !reason.is_failure() || self.kinds[&checkpoint].is_savepoint() {
            return false;
        }
        self.failures_in_a_row += 1;
        let too_many = self.failures_in_a_row > self.settings.tolerable_failures;
        if too_many && self.runs && !self.is_failing {
            self.is_failing = true;
            self.failures_in_a_row = 0;
            return true;
        }
        false
    }

    fn end(&mut self, checkpoint: u64, fate: Fate) {
        assert_eq!(self.fates.insert(checkpoint, fate), Some(Fate::UnderWay), "{checkpoint} ended before");
    }

    fn discard(&mut self, checkpoint: u64, payloads: &[u64], extent: DiscardExtent) {
        assert_ne!(self.fates.get(&checkpoint), Some(&Fate::Complete));
        assert_ne!(self.fates.get(&checkpoint), Some(&Fate::Unclear));
        let is_durable = self.durable.contains_key(&checkpoint) || self.savepoints.contains_key(&checkpoint);
        assert!(!is_durable, "{checkpoint} is durable");
        self.outcome.late_discards += usize::from(extent == DiscardExtent::Late);
        for payload in payloads {
            let durable = self.durable.values().chain(self.savepoints.values());
            let referenced = durable.into_iter().any(|pieces| pieces.values().any(|piece| piece == payload));
            assert!(!referenced, "a complete checkpoint refers to {payload}");
            let piece = self.pieces.get_mut(payload).unwrap();
            assert_eq!(piece.checkpoint, checkpoint);
            assert!(!piece.discarded, "{payload} was discarded before");
            piece.discarded = true;
        }
    }

    /// State that reached the coordinator and belongs to no complete or unclear checkpoint was discarded.
    fn check_nothing_leaks(&self) {
        for (payload, piece) in self.pieces.iter().filter(|(_, piece)| piece.delivered) {
            if let Some(fate) = self.fates.get(&piece.checkpoint) {
                assert_eq!(piece.discarded, *fate == Fate::Aborted, "{payload}: {piece:?} of {fate:?}");
            }
        }
    }
}
