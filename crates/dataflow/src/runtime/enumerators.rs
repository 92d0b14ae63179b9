//! The thread of the enumerators: one for each attempt, in the process of the coordinator. What they decide goes to the
//! coordinator, in order; a snapshot is one more decision between those before and those after it.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use highwater_checkpoint::CancelToken;
use highwater_types::{DefaultSerializer, Error, OperatorId, Result, SerializerRef};

use super::attempt::{Attempt, catch};
use super::message::Assignment;
use super::pace::Pace;
use crate::{Source, SplitAssignment, SplitEnumerator, SplitEnumeratorContext};

/// How the state of an enumerator begins in `_metadata`, which tells it from that of Flink's coordinators.
const MAGIC: &[u8] = b"HWE1";

/// What an enumerator is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EnumeratorEvent {
    /// All readers of a worker are open.
    Ready { worker: u32 },
    /// A reader has nothing left to read.
    Request { operator: u32, worker: u32 },
    /// A checkpoint begins.
    Snapshot { checkpoint: u64 },
}

/// What the enumerators have decided.
#[derive(Debug)]
pub(crate) enum Decision {
    Assign {
        worker: u32,
        operator: u32,
        assignment: Assignment,
    },
    /// What was assigned up to here is in the readers' states of this checkpoint, all else in these.
    Snapshot {
        checkpoint: u64,
        result: Result<EnumeratorStates>,
    },
}

/// The states of all enumerators at one checkpoint.
pub(crate) type EnumeratorStates = Vec<(OperatorId, Vec<u8>)>;

/// The enumerator of a source whose type is forgotten: splits are bytes.
pub(crate) trait Enumerator {
    fn discover(&mut self) -> Result<Option<Duration>>;
    fn add_reader(&mut self, worker: u32) -> Result<()>;
    fn request(&mut self, worker: u32) -> Result<()>;
    fn snapshot(&mut self) -> Result<Vec<u8>>;
    /// What was decided since the last call, and for whom.
    fn take(&mut self) -> Result<Vec<(u32, Assignment)>>;
}

/// Makes the enumerator of one source.
pub(crate) type EnumeratorFactory =
    Arc<dyn Fn(Option<&[u8]>, u32, CancelToken) -> Result<Box<dyn Enumerator>> + Send + Sync>;

/// A factory for the enumerators of this source.
pub(crate) fn factory<S: Source>(source: Arc<S>) -> EnumeratorFactory {
    Arc::new(move |restored, parallelism, cancel| {
        Ok(Box::new(Typed {
            enumerator: source.create_enumerator(restored)?,
            context: SplitEnumeratorContext::cancelled_by(parallelism, cancel),
            serializer: S::Split::default_serializer(),
        }))
    })
}

struct Typed<S> {
    enumerator: Box<dyn SplitEnumerator<S>>,
    context: SplitEnumeratorContext<S>,
    serializer: SerializerRef<S>,
}

impl<S: 'static> Enumerator for Typed<S> {
    fn discover(&mut self) -> Result<Option<Duration>> {
        self.enumerator.discover(&mut self.context)
    }

    fn add_reader(&mut self, worker: u32) -> Result<()> {
        self.enumerator.add_reader(worker, &mut self.context)
    }

    fn request(&mut self, worker: u32) -> Result<()> {
        self.enumerator.handle_split_request(worker, &mut self.context)
    }

    fn snapshot(&mut self) -> Result<Vec<u8>> {
        let mut sealed = MAGIC.to_vec();
        sealed.append(&mut self.enumerator.snapshot_state()?);
        Ok(sealed)
    }

    fn take(&mut self) -> Result<Vec<(u32, Assignment)>> {
        let encode = |split: &S| {
            let mut bytes = Vec::new();
            self.serializer.serialize(split, &mut bytes).map(|()| bytes)
        };
        let assignments = self.context.take_assignments().into_iter().map(|assignment| match assignment {
            SplitAssignment::Splits { subtask, splits } => {
                Ok((subtask, Assignment::Splits(splits.iter().map(encode).collect::<Result<_>>()?)))
            }
            SplitAssignment::NoMore { subtask } => Ok((subtask, Assignment::NoMore)),
        });
        assignments.collect()
    }
}

/// The enumerator's part of a coordinator's state in `_metadata`.
///
/// # Errors
/// `Unsupported` if it is not the state of an enumerator of ours.
pub(crate) fn unseal(state: &[u8]) -> Result<&[u8]> {
    state.strip_prefix(MAGIC).ok_or_else(|| {
        Error::unsupported("only Flink can restore this snapshot: it holds the state of an operator coordinator")
    })
}

/// One source of the job.
pub(crate) struct EnumeratorPlan {
    /// Index of the operator in the plan of the job.
    pub(crate) operator: u32,
    pub(crate) id: OperatorId,
    pub(crate) uid: Arc<str>,
    pub(crate) factory: EnumeratorFactory,
    pub(crate) restored: Option<Vec<u8>>,
}

/// All enumerators of an attempt. Knows nothing of threads.
struct Enumerators {
    parallelism: u32,
    members: Vec<Member>,
}

struct Member {
    operator: u32,
    id: OperatorId,
    uid: Arc<str>,
    enumerator: Box<dyn Enumerator>,
    pace: Arc<Pace>,
    /// When it looks for splits next.
    due: Option<Instant>,
}

impl Member {
    /// Runs code of the user.
    fn call<T>(&mut self, code: impl FnOnce(&mut dyn Enumerator) -> Result<T>) -> Result<T> {
        let _turn = self.pace.begin_named(&self.uid);
        catch(|| code(&mut *self.enumerator)).map_err(|error| error.with("operator", &self.uid))
    }
}

impl Enumerators {
    fn create(
        plans: Vec<EnumeratorPlan>,
        parallelism: u32,
        cancel: &CancelToken,
        pace: &Arc<Pace>,
        now: Instant,
    ) -> Result<Self> {
        let create = |plan: EnumeratorPlan| {
            let EnumeratorPlan { operator, id, uid, factory, restored } = plan;
            let _turn = pace.begin_named(&uid);
            let restored = restored.as_deref().map(unseal).transpose();
            let enumerator = catch(|| factory(restored?, parallelism, cancel.clone()))
                .map_err(|error| error.with("operator", &uid))?;
            Ok(Member { operator, id, uid, enumerator, pace: Arc::clone(pace), due: Some(now) })
        };
        Ok(Self { parallelism, members: plans.into_iter().map(create).collect::<Result<_>>()? })
    }

    fn next_discovery(&self) -> Option<Instant> {
        self.members.iter().filter_map(|member| member.due).min()
    }

    /// Lets those look for splits whose time has come.
    fn discover(&mut self, now: Instant, decide: &mut dyn FnMut(Decision)) -> Result<()> {
        for member in self.members.iter_mut().filter(|member| member.due.is_some_and(|due| due <= now)) {
            let pause = member.call(|enumerator| enumerator.discover())?;
            // From its end: a listing that takes longer than the interval must not be all that is done.
            member.due = pause.and_then(|pause| Instant::now().checked_add(pause));
        }
        self.send_assignments(decide)
    }

    fn handle(&mut self, event: EnumeratorEvent, decide: &mut dyn FnMut(Decision)) -> Result<()> {
        match event {
            EnumeratorEvent::Ready { worker } => {
                self.members.iter_mut().try_for_each(|member| member.call(|e| e.add_reader(worker)))?;
            }
            EnumeratorEvent::Request { operator, worker } => {
                let mut of_operator = self.members.iter_mut().filter(|member| member.operator == operator);
                of_operator.try_for_each(|member| member.call(|e| e.request(worker)))?;
            }
            EnumeratorEvent::Snapshot { checkpoint } => {
                let states = self.members.iter_mut().map(|m| Ok((m.id, m.call(|e| e.snapshot())?)));
                decide(Decision::Snapshot { checkpoint, result: states.collect() });
            }
        }
        self.send_assignments(decide)
    }

    fn send_assignments(&mut self, decide: &mut dyn FnMut(Decision)) -> Result<()> {
        for member in &mut self.members {
            let operator = member.operator;
            for (worker, assignment) in member.call(|enumerator| enumerator.take())? {
                if worker >= self.parallelism {
                    return Err(Error::program("an enumerator assigned splits to a subtask that does not exist")
                        .with("operator", &member.uid)
                        .with("subtask", worker));
                }
                decide(Decision::Assign { worker, operator, assignment });
            }
        }
        Ok(())
    }
}

/// The thread of one attempt. Dropping it ends and joins the thread.
pub(crate) struct EnumeratorThread {
    events: Option<Sender<EnumeratorEvent>>,
    decisions: Receiver<Decision>,
    thread: Option<JoinHandle<()>>,
}

impl EnumeratorThread {
    /// Creates the enumerators on a new thread. Their failures are failures of the attempt.
    pub(crate) fn start(
        plans: Vec<EnumeratorPlan>,
        parallelism: u32,
        attempt: Arc<Attempt>,
        pace: Arc<Pace>,
    ) -> Result<Self> {
        let (events, receiver) = unbounded();
        let (sender, decisions) = unbounded();
        let run = move || {
            let decide = &mut |decision| {
                // A coordinator that has gone needs none.
                let _ = sender.send(decision);
                attempt.wake();
            };
            let create = || Enumerators::create(plans, parallelism, attempt.cancel_token(), &pace, Instant::now());
            let ran = catch(create).and_then(|mut enumerators| {
                let ran = catch(|| run(&mut enumerators, &attempt, &receiver, decide));
                // Theirs to drop may take long, too.
                let _turn = pace.begin_named("all sources, being closed");
                let closed = catch(|| {
                    drop(enumerators);
                    Ok(())
                });
                ran.and(closed)
            });
            if let Err(error) = ran {
                attempt.fail(error);
            }
        };
        let thread = thread::Builder::new()
            .name("enumerators".to_owned())
            .spawn(run)
            .map_err(|error| Error::storage("the thread of the enumerators could not be started").because(error))?;
        Ok(Self { events: Some(events), decisions, thread: Some(thread) })
    }

    pub(crate) fn tell(&self, event: EnumeratorEvent) {
        if let Some(events) = &self.events {
            // An enumerator that has gone has failed the attempt.
            let _ = events.send(event);
        }
    }

    /// The next decision since the last call.
    pub(crate) fn poll(&self) -> Option<Decision> {
        self.decisions.try_recv().ok()
    }
}

impl Drop for EnumeratorThread {
    fn drop(&mut self) {
        self.events = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the enumerators panicked");
        }
    }
}

fn run(
    enumerators: &mut Enumerators,
    attempt: &Attempt,
    events: &Receiver<EnumeratorEvent>,
    decide: &mut dyn FnMut(Decision),
) -> Result<()> {
    while !attempt.is_cancelled() {
        enumerators.discover(Instant::now(), decide)?;
        let event = match enumerators.next_discovery() {
            Some(due) => events.recv_deadline(due),
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(event) => enumerators.handle(event, decide)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FixedSplits, GeneratorSource, SourceContext, SourceReader};

    /// Splits that are given to whoever asks.
    #[derive(Debug)]
    struct Numbers(&'static [i64]);

    impl Source for Numbers {
        type Record = i64;
        type Split = i64;

        fn create_enumerator(&self, restored: Option<&[u8]>) -> Result<Box<dyn SplitEnumerator<i64>>> {
            FixedSplits::on_request(self.0.iter().copied(), restored)
        }

        fn create_reader(&self, _: &SourceContext<'_>) -> Result<Box<dyn SourceReader<Record = i64, Split = i64>>> {
            Err(Error::program("nobody reads"))
        }
    }

    fn plan(operator: u32, source: impl Source, restored: Option<Vec<u8>>) -> EnumeratorPlan {
        let uid = format!("source {operator}");
        let id = OperatorId::from_uid(&uid);
        EnumeratorPlan { operator, id, uid: uid.into(), factory: factory(Arc::new(source)), restored }
    }

    fn create(plans: Vec<EnumeratorPlan>) -> Result<Enumerators> {
        Enumerators::create(plans, 2, &CancelToken::new(), &Arc::default(), Instant::now())
    }

    fn decisions(enumerators: &mut Enumerators, events: &[EnumeratorEvent]) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for event in events {
            enumerators.handle(*event, &mut |decision| decisions.push(decision)).unwrap();
        }
        decisions
    }

    #[test]
    fn a_split_is_assigned_before_a_snapshot_or_in_its_state() {
        let mut enumerators = create(vec![plan(3, Numbers(&[7, 8, 9]), None)]).unwrap();
        let request = EnumeratorEvent::Request { operator: 3, worker: 1 };
        let decided = decisions(&mut enumerators, &[request, EnumeratorEvent::Snapshot { checkpoint: 5 }, request]);
        let [
            Decision::Assign { worker: 1, operator: 3, assignment },
            Decision::Snapshot { checkpoint: 5, result },
            after,
        ] = &decided[..]
        else {
            panic!("{decided:?}");
        };
        assert_eq!(*assignment, Assignment::Splits(vec![7_i64.to_be_bytes().to_vec()]));
        let eight = |decision: &Decision| match decision {
            Decision::Assign { assignment: Assignment::Splits(splits), .. } => {
                splits == &[8_i64.to_be_bytes().to_vec()]
            }
            _ => false,
        };
        assert!(eight(after));

        let [(_, state)] = &result.as_ref().unwrap()[..] else { panic!("one state for one source") };
        let mut restored = create(vec![plan(3, Numbers(&[]), Some(state.clone()))]).unwrap();
        assert!(decisions(&mut restored, &[request]).iter().all(eight), "it was unassigned at the snapshot");
    }

    #[test]
    fn every_source_has_an_enumerator_of_its_own() {
        let mut enumerators =
            create(vec![plan(0, GeneratorSource::new(|n| n), None), plan(2, Numbers(&[7]), None)]).unwrap();
        let ready = decisions(&mut enumerators, &[EnumeratorEvent::Ready { worker: 0 }]);
        assert!(matches!(
            &ready[..],
            [
                Decision::Assign { worker: 0, operator: 0, assignment: Assignment::Splits(splits) },
                Decision::Assign { worker: 0, operator: 0, assignment: Assignment::NoMore },
            ] if splits.len() == 64
        ));
    }

    #[test]
    fn state_of_others_is_refused_and_the_operator_named() {
        let error = create(vec![plan(4, Numbers(&[]), Some(vec![0; 20]))]).err().unwrap();
        assert_eq!(error.kind(), highwater_types::ErrorKind::Unsupported);
        assert_eq!(error.value("operator"), Some("source 4"));
    }
}
