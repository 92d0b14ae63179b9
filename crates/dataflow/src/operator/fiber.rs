//! Where the code of an operator runs: on a stack of its own, so that it can be left in the middle of a record, with a
//! full chunk of results, and be gone on with when there is room for more.
//!
//! One call of a function may have millions of results. It is entered once per batch, not per record, and left when a
//! chunk is full, when its time is up between two records, and when the batch is done.

use std::cell::Cell;
use std::convert::Infallible;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use highwater_types::{Error, Result};

use crate::graph::Collector;
use crate::runtime::attempt::catch;
use crate::runtime::pace::Pace;
use crate::watermark::Mark;

/// Size of a stack, as that of a thread of Rust. Only what is used takes memory.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Why the code was left.
pub(crate) enum Signal<O> {
    Chunk(Chunk<O>),
    /// Its time is up.
    Pause,
    /// The command is carried out.
    Done,
    /// It failed, and is gone.
    Failed(Error),
}

/// Results, with or without a mark behind them.
pub(crate) struct Chunk<O> {
    pub(crate) records: Vec<O>,
    /// As in a batch.
    pub(crate) stamps: Vec<i64>,
    /// About how many bytes of memory the records take.
    pub(crate) weight: usize,
    pub(crate) mark: Option<Mark>,
}

type Outside<O> = Yielder<(), Signal<O>>;

/// The way out, for the collector in the hands of the user's function.
pub(crate) struct Exit<O> {
    outside: Cell<Option<NonNull<Outside<O>>>>,
    /// Whether the code is running at this moment: only then it can be left.
    is_inside: Cell<bool>,
    pace: Arc<Pace>,
}

impl<O> Exit<O> {
    fn new(pace: Arc<Pace>) -> Self {
        Self { outside: Cell::new(None), is_inside: Cell::new(false), pace }
    }

    /// Whether the code should pause.
    #[inline]
    pub(crate) fn is_time_up(&self) -> bool {
        self.pace.is_over()
    }

    /// Leaves, and returns when the code is gone on with. False if there is no way out, because the fiber is being
    /// dropped, or its collector was carried off.
    pub(crate) fn leave(&self, signal: Signal<O>) -> bool {
        let Some(outside) = self.outside.get().filter(|_| self.is_inside.get()) else { return false };
        // SAFETY: the yielder lies at the bottom of the coroutine's stack from before `outside` is set until after it
        // is taken back, and `is_inside` is set only between a resumption and its return, on the one thread that an
        // `Exit` can be on: what calls here runs within the coroutine that the yielder belongs to.
        unsafe { outside.as_ref() }.suspend(signal);
        self.is_inside.get()
    }
}

/// The code of one operator, which carries out commands `C` with results `O`.
pub(super) struct Fiber<C, O: 'static> {
    /// None once it has failed or was closed.
    coroutine: Option<Coroutine<(), Signal<O>, Error>>,
    inbox: Rc<Cell<Option<C>>>,
    exit: Rc<Exit<O>>,
    /// Whether it has a command that is not carried out.
    is_busy: bool,
}

impl<C: 'static, O: 'static> Fiber<C, O> {
    /// Code to be run later. After an error or a panic it is dropped.
    pub(super) fn new(pace: Arc<Pace>, code: impl FnMut(C, &mut Collector<O>) -> Result<()> + 'static) -> Result<Self> {
        let stack = DefaultStack::new(STACK_BYTES)
            .map_err(|error| Error::storage("there is no memory for the stack of an operator").because(error))?;
        let (inbox, exit) = (Rc::new(Cell::new(None)), Rc::new(Exit::new(pace)));
        let (commands, way_out) = (Rc::clone(&inbox), Rc::clone(&exit));
        let coroutine = Coroutine::with_stack(stack, move |outside: &Outside<O>, ()| {
            way_out.outside.set(Some(NonNull::from(outside)));
            let outcome = catch(|| carry_out(&commands, &way_out, code));
            way_out.outside.set(None);
            match outcome {
                Ok(never) => match never {},
                Err(error) => error,
            }
        });
        Ok(Self { coroutine: Some(coroutine), inbox, exit, is_busy: false })
    }

    /// Lets code that has no collector at hand leave, to be gone on with later.
    pub(super) fn way_out(&self) -> Rc<dyn Fn()> {
        let exit = Rc::clone(&self.exit);
        Rc::new(move || {
            exit.leave(Signal::Pause);
        })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Gives it a command, to be carried out by [`resume`](Self::resume).
    pub(super) fn begin(&mut self, command: C) {
        self.inbox.set(Some(command));
        self.is_busy = true;
    }

    /// Goes on until there is something to be told.
    pub(super) fn resume(&mut self) -> Signal<O> {
        let Some(coroutine) = &mut self.coroutine else { return Signal::Done };
        self.exit.is_inside.set(true);
        let result = coroutine.resume(());
        self.exit.is_inside.set(false);
        match result {
            CoroutineResult::Yield(signal) => {
                self.is_busy = !matches!(signal, Signal::Done);
                signal
            }
            CoroutineResult::Return(error) => {
                self.close();
                Signal::Failed(error)
            }
        }
    }

    /// Drops the code, and with it whatever lies on its stack: a function that is in the middle of a record is unwound.
    pub(super) fn close(&mut self) {
        (self.coroutine, self.is_busy) = (None, false);
        self.inbox.set(None);
    }
}

/// The bottom of the stack.
fn carry_out<C, O>(
    inbox: &Cell<Option<C>>,
    exit: &Rc<Exit<O>>,
    mut code: impl FnMut(C, &mut Collector<O>) -> Result<()>,
) -> Result<Infallible> {
    let mut out = Collector::with_exit(exit);
    loop {
        if let Some(command) = inbox.take() {
            code(command, &mut out)?;
        }
        // A function may have taken the collector and left another.
        out.restore(exit);
        out.flush();
        if !exit.leave(Signal::Done) {
            return Err(cancelled());
        }
    }
}

/// The error with which code ends that is dropped in the middle. Nobody sees it.
pub(crate) fn cancelled() -> Error {
    Error::cancelled("the attempt is over")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    type Code = Box<dyn FnMut(u32, &mut Collector<String>) -> Result<()>>;

    fn fiber(code: impl FnMut(u32, &mut Collector<String>) -> Result<()> + 'static) -> Fiber<u32, String> {
        let code: Code = Box::new(code);
        Fiber::new(Arc::default(), code).unwrap()
    }

    /// Goes on until the fiber has nothing to say but that it is done; how many results came in each chunk.
    fn run(fiber: &mut Fiber<u32, String>, command: u32) -> Vec<usize> {
        fiber.begin(command);
        let mut chunks = Vec::new();
        loop {
            match fiber.resume() {
                Signal::Chunk(chunk) => {
                    assert!(chunk.weight > 0);
                    chunks.push(chunk.records.len());
                }
                Signal::Pause => {}
                Signal::Done => return chunks,
                Signal::Failed(error) => panic!("{error}"),
            }
        }
    }

    fn emit(records: u32, out: &mut Collector<String>) {
        (0..records).for_each(|_| out.collect("x".to_owned()));
    }

    /// Notes when it is dropped.
    struct Guard(Rc<Cell<u32>>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn results_leave_in_chunks_in_the_middle_of_a_command() {
        let mut fiber = fiber(|records, out| {
            emit(records, out);
            Ok(())
        });
        assert_eq!(run(&mut fiber, 1), [1]);
        let chunks = run(&mut fiber, 5_000);
        assert!(chunks.len() > 4 && chunks.iter().sum::<usize>() == 5_000, "{chunks:?}");
        assert!(run(&mut fiber, 0).is_empty());
    }

    #[test]
    fn a_large_result_goes_alone() {
        let mut fiber = fiber(|_, out| {
            emit(3, out);
            out.collect("x".repeat(1 << 20));
            emit(2, out);
            Ok(())
        });
        assert_eq!(run(&mut fiber, 0), [3, 1, 2]);
    }

    #[test]
    fn what_is_dropped_in_the_middle_is_unwound() {
        let dropped = Rc::new(Cell::new(0));
        let of_code = Guard(Rc::clone(&dropped));
        let of_call = Rc::clone(&dropped);
        let mut fiber = fiber(move |_, out| {
            let _held = (&of_code, Guard(Rc::clone(&of_call)));
            emit(100_000, out);
            Ok(())
        });
        fiber.begin(0);
        assert!(matches!(fiber.resume(), Signal::Chunk(..)));
        assert_eq!(dropped.get(), 0);
        drop(fiber);
        assert_eq!(dropped.get(), 2, "what the function and its call held");
    }

    #[test]
    fn a_function_that_catches_its_unwinding_is_not_called_again() {
        let calls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&calls);
        let mut fiber = fiber(move |_, out| {
            for _ in 0..10 {
                out.breathe()?;
                counted.set(counted.get() + 1);
                let _ = catch_unwind(AssertUnwindSafe(|| emit(10_000, out)));
            }
            Ok(())
        });
        fiber.exit.pace.end_turn();
        fiber.begin(0);
        assert!(matches!(fiber.resume(), Signal::Pause));
        assert!(matches!(fiber.resume(), Signal::Chunk(..)));
        fiber.close();
        assert_eq!(calls.get(), 1);
        assert!(matches!(fiber.resume(), Signal::Done), "nothing is left to be run");
    }

    #[test]
    fn after_an_error_or_a_panic_the_code_is_gone() {
        for panics in [false, true] {
            let dropped = Rc::new(Cell::new(0));
            let guard = Guard(Rc::clone(&dropped));
            let mut fiber = fiber(move |_, _| {
                let _held = &guard;
                assert!(!panics, "injected");
                Err(Error::program("injected"))
            });
            fiber.begin(0);
            let Signal::Failed(error) = fiber.resume() else { panic!("it has not failed") };
            assert!(error.to_string().contains("injected"), "{error}");
            assert_eq!(dropped.get(), 1);
            fiber.begin(0);
            assert!(matches!(fiber.resume(), Signal::Done));
        }
    }

    /// A collector knows the way out of the fiber it belongs to, and no other one.
    #[test]
    fn a_collector_that_was_carried_off_leads_nowhere() {
        let carried = Rc::new(RefCell::new(None));
        let (to, from) = (Rc::clone(&carried), Rc::clone(&carried));
        let mut first = fiber(move |_, out| {
            emit(1, out);
            *to.borrow_mut() = Some(std::mem::take(out));
            emit(2, out);
            Ok(())
        });
        assert_eq!(run(&mut first, 0), [2], "what came later has not been lost");
        let mut second = fiber(move |_, out| {
            if let Some(foreign) = &mut *from.borrow_mut() {
                emit(10_000, foreign);
            }
            emit(3, out);
            Ok(())
        });
        assert_eq!(run(&mut second, 0), [3]);
        drop(first);
        assert_eq!(run(&mut second, 0), [3], "its fiber is gone");
    }
}
