//! What all parts of a job share while it is being built: once to learn which operators there are, then on every worker
//! of every attempt.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use highwater_backends::KeyedStore;
use highwater_state::{ByteStoreContext, KeyedBackend, OperatorStateBackend};
use highwater_types::{DefaultSerializer, Error, Key, MaxParallelism, OperatorId, Result};
use timely::dataflow::Scope;
use timely::dataflow::operators::probe::Handle as Probe;

use crate::progress::Counters;
use crate::restore::{Restored, choose_max_parallelism};
use crate::runtime::enumerators::EnumeratorFactory;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::time::Time;

/// An operator of a job that takes part in checkpoints.
#[derive(Clone)]
pub(crate) struct OperatorPlan {
    pub(crate) uid: Arc<str>,
    pub(crate) id: OperatorId,
    pub(crate) kind: OperatorKind,
    /// Of a source.
    pub(crate) enumerator: Option<EnumeratorFactory>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperatorKind {
    Source,
    Keyed,
    /// Whether its committed results depend on checkpoints.
    Sink {
        exactly_once: bool,
    },
}

/// What an attempt gives to the operators of one worker.
pub(crate) struct Setup {
    pub(crate) job_id: String,
    pub(crate) attempt_id: String,
    pub(crate) store: KeyedStore,
    pub(crate) compression: bool,
    pub(crate) max_parallelism: Option<MaxParallelism>,
    /// How often watermark generators are asked for watermarks; none for never.
    pub(crate) watermark_interval: Option<Duration>,
    pub(crate) remembers_watermarks: bool,
    pub(crate) restored: Option<Restored>,
    pub(crate) counters: Counters,
}

/// Where operators are built.
pub(crate) struct Runtime<'s> {
    pub(crate) scope: Scope<'s, Time>,
    pub(crate) mailbox: Rc<Mailbox>,
    pub(crate) probe: Probe<Time>,
    pub(crate) setup: Setup,
}

/// A job being built.
pub(crate) struct Build<'s> {
    /// None while the job is only planned.
    runtime: Option<Runtime<'s>>,
    pub(crate) parallelism: u32,
    operators: RefCell<Vec<OperatorPlan>>,
    error: RefCell<Option<Error>>,
    is_failed: Cell<bool>,
    /// Where a single operator is built for tests, instead of a dataflow.
    #[cfg(feature = "testing")]
    bench: Option<Rc<dyn std::any::Any>>,
}

impl<'s> Build<'s> {
    pub(crate) fn new(runtime: Option<Runtime<'s>>, parallelism: u32) -> Rc<Self> {
        Rc::new(Self {
            runtime,
            parallelism,
            operators: RefCell::default(),
            error: RefCell::default(),
            is_failed: Cell::default(),
            #[cfg(feature = "testing")]
            bench: None,
        })
    }

    /// For a single keyed operator that is put on a bench.
    #[cfg(feature = "testing")]
    pub(crate) fn on_bench<K: Key>(bench: &Rc<super::Bench<K>>) -> Rc<Self> {
        let build = Self {
            runtime: None,
            parallelism: 1,
            operators: RefCell::default(),
            error: RefCell::default(),
            is_failed: Cell::default(),
            bench: Some(Rc::clone(bench) as Rc<dyn std::any::Any>),
        };
        Rc::new(build)
    }

    /// The bench, if there is one for operators with such keys.
    #[cfg(feature = "testing")]
    pub(crate) fn bench<K: Key>(&self) -> Option<Rc<super::Bench<K>>> {
        self.bench.clone()?.downcast().ok()
    }

    /// The operators in the order they were added, or the first error.
    pub(crate) fn finish(&self) -> Result<Vec<OperatorPlan>> {
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok(self.operators.take()),
        }
    }

    /// Where to build, unless the job is only planned or cannot be built.
    pub(crate) fn runtime(&self) -> Option<&Runtime<'s>> {
        self.runtime.as_ref().filter(|_| !self.is_failed.get())
    }

    pub(crate) fn fail(&self, error: Error) {
        self.is_failed.set(true);
        self.error.borrow_mut().get_or_insert(error);
    }

    /// Adds a source.
    pub(crate) fn register_source(&self, uid: &str, enumerator: EnumeratorFactory) -> OperatorPlan {
        self.add(uid, OperatorKind::Source, Some(enumerator))
    }

    /// Adds an operator that is no source. Its uid must be its own.
    pub(crate) fn register(&self, uid: &str, kind: OperatorKind) -> OperatorPlan {
        self.add(uid, kind, None)
    }

    fn add(&self, uid: &str, kind: OperatorKind, enumerator: Option<EnumeratorFactory>) -> OperatorPlan {
        let plan = OperatorPlan { uid: uid.into(), id: OperatorId::from_uid(uid), kind, enumerator };
        if uid.trim().is_empty() {
            self.fail(Error::program("every source, keyed process and sink needs a uid: its state is found by it"));
        } else if self.operators.borrow().iter().any(|other| other.id == plan.id) {
            self.fail(
                Error::program("two operators have the same uid: give each its own, and never change it later")
                    .with("operator", uid)
                    .with("id", plan.id),
            );
        }
        self.operators.borrow_mut().push(plan.clone());
        plan
    }

    /// Opens an operator, if there is where to build it. An error or a panic fails the job.
    pub(crate) fn open<R>(&self, plan: &OperatorPlan, open: impl FnOnce(&Runtime<'s>) -> Result<R>) -> Option<R> {
        let runtime = self.runtime()?;
        let pace = &runtime.mailbox.pace;
        let turn = pace.begin(pace.register(format!("{} (opening)", plan.uid).into()));
        let opened = crate::runtime::attempt::catch(|| open(runtime));
        drop(turn);
        match opened {
            Ok(built) => Some(built),
            Err(error) => {
                let worker = runtime.mailbox.worker;
                self.fail(error.with("operator", &plan.uid).with("subtask", worker));
                None
            }
        }
    }
}

impl Runtime<'_> {
    /// Number of key groups of an operator.
    pub(crate) fn max_parallelism(&self, plan: &OperatorPlan) -> Result<MaxParallelism> {
        let snapshot = self.setup.restored.as_ref().and_then(|restored| restored.max_parallelism(plan.id));
        choose_max_parallelism(self.setup.max_parallelism, snapshot, self.mailbox.workers)
    }

    /// The operator state of this worker's subtask.
    pub(crate) fn operator_state(&self, plan: &OperatorPlan) -> Result<OperatorStateBackend> {
        let builder = OperatorStateBackend::builder().operator(&*plan.uid).subtask(self.mailbox.worker);
        match &self.setup.restored {
            Some(restored) => {
                let handles = restored.operator_state(plan.id, self.mailbox.worker, self.mailbox.workers)?;
                builder.restore(handles, restored.opener()).build()
            }
            None => builder.build(),
        }
    }

    /// The keyed state of this worker's subtask.
    pub(crate) fn keyed_state<K>(&self, plan: &OperatorPlan, max_parallelism: MaxParallelism) -> Result<KeyedBackend<K>>
    where
        K: Key + DefaultSerializer,
    {
        let range = max_parallelism.range_of(self.mailbox.worker, self.mailbox.workers)?;
        let mut builder = KeyedBackend::<K>::builder(K::default_serializer(), max_parallelism, range)
            .operator(&*plan.uid)
            .snapshot_compression(self.setup.compression);
        if let KeyedStore::Bytes(factory) = &self.setup.store {
            let name = format!("{}-{}-{}", self.setup.attempt_id, plan.id, self.mailbox.worker);
            let context = ByteStoreContext::new(name, range, max_parallelism).with_job(&self.setup.job_id);
            builder = builder.byte_store(&**factory, context);
        }
        let handles;
        if let Some(restored) = &self.setup.restored {
            handles = restored.keyed_state(plan.id, range);
            builder = builder.restore(&handles, restored.opener()).recovery(restored.is_own);
        }
        builder.build()
    }
}
