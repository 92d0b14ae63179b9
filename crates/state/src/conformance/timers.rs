//! Timers.

use std::collections::BTreeSet;

use highwater_types::{DefaultSerializer, ErrorKind, JavaHash, Result, TimeWindow, VoidNamespace};

use super::Subject;
use super::random::Random;
use super::subject::{Place, assert_fails, take, write_while};
use crate::{KeyedBackend, TimerService, Timers};

type Service = TimerService<String, TimeWindow>;
/// Time, key and start of the window.
type Model = BTreeSet<(i64, String, i64)>;

fn window(start: i64) -> TimeWindow {
    TimeWindow { start, end: start + 10 }
}

fn service(backend: &KeyedBackend<String>) -> Result<Service> {
    backend.timer_service("window-timers", TimeWindow::default_serializer())
}

/// Takes all that is due; those of equal time sorted.
fn due(timers: &Timers<String, TimeWindow>, until: i64) -> Result<Vec<(i64, String, i64)>> {
    let mut taken = Vec::new();
    while let Some(timer) = timers.pop(until)? {
        taken.push((timer.timestamp, timer.key, timer.namespace.start));
    }
    assert!(taken.is_sorted_by_key(|(time, ..)| *time), "not in the order of their time: {taken:?}");
    taken.sort();
    Ok(taken)
}

fn timer(time: i64, key: &str, start: i64) -> (i64, String, i64) {
    (time, key.to_owned(), start)
}

/// Timers come in the order of their time, whatever their key, at both ends of time too; each once.
pub fn timers_come_in_the_order_of_their_time(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let timers = service(&backend)?.event_time().clone();
    assert_eq!(timers.next()?, None);
    for (time, key, start) in [
        (10, "a", 0),
        (10, "a", 0),
        (10, "b", 0),
        (10, "a", 5),
        (11, "a", 0),
        (i64::MIN, "c", 0),
        (i64::MAX, "d", 0),
        (-5, "e", 0),
    ] {
        backend.set_current_key(key.to_owned())?;
        timers.register(time, &window(start))?;
    }
    assert_eq!((timers.count()?, timers.next()?), (7, Some(i64::MIN)));
    assert_eq!(due(&timers, i64::MIN)?, [timer(i64::MIN, "c", 0)]);
    assert_eq!(due(&timers, 9)?, [timer(-5, "e", 0)]);
    assert_eq!(due(&timers, 10)?, [timer(10, "a", 0), timer(10, "a", 5), timer(10, "b", 0)]);
    assert_eq!(due(&timers, i64::MAX - 1)?, [timer(11, "a", 0)]);
    assert_eq!(due(&timers, i64::MAX)?, [timer(i64::MAX, "d", 0)]);
    assert_eq!((timers.count()?, timers.next()?), (0, None));
    Ok(())
}

/// A timer is deleted with its key, time and namespace; whatever is not there is nothing.
pub fn timers_are_deleted(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let timers = service(&backend)?.event_time().clone();
    for key in ["a", "b", "c"] {
        backend.set_current_key(key.to_owned())?;
        timers.register(10, &window(0))?;
        timers.register(20, &window(0))?;
    }
    backend.set_current_key("a".to_owned())?;
    timers.delete(10, &window(0))?;
    timers.delete(10, &window(0))?;
    timers.delete(20, &window(1))?;
    timers.delete(15, &window(0))?;
    backend.set_current_key("z".to_owned())?;
    timers.delete(20, &window(0))?;
    assert_eq!(due(&timers, 10)?, [timer(10, "b", 0), timer(10, "c", 0)]);
    assert_eq!(due(&timers, 20)?, [timer(20, "a", 0), timer(20, "b", 0), timer(20, "c", 0)]);
    Ok(())
}

/// What is registered between two timers comes in its turn, what is deleted does not come.
pub fn timers_may_change_while_they_are_taken(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let timers = service(&backend)?.event_time().clone();
    backend.set_current_key("a".to_owned())?;
    timers.register(10, &window(0))?;
    timers.register(11, &window(0))?;
    assert_eq!(timers.pop(15)?.map(|timer| timer.timestamp), Some(10));
    timers.register(5, &window(0))?;
    timers.register(12, &window(0))?;
    timers.register(20, &window(0))?;
    timers.register(10, &window(0))?;
    timers.delete(11, &window(0))?;
    assert_eq!(due(&timers, 15)?, [timer(5, "a", 0), timer(10, "a", 0), timer(12, "a", 0)]);
    assert_eq!(due(&timers, 20)?, [timer(20, "a", 0)]);
    Ok(())
}

/// Services, and the two kinds of time of one service, have nothing to do with each other.
pub fn timers_of_services_and_kinds_of_time_are_apart(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let windows = service(&backend)?;
    let plain = backend.timer_service("user-timers", VoidNamespace::default_serializer())?;
    backend.set_current_key("a".to_owned())?;
    windows.event_time().register(1, &window(0))?;
    windows.processing_time().register(2, &window(0))?;
    plain.event_time().register(3, &VoidNamespace)?;
    assert_eq!(due(windows.processing_time(), i64::MAX)?, [timer(2, "a", 0)]);
    assert_eq!(due(windows.event_time(), i64::MAX)?, [timer(1, "a", 0)]);
    assert_eq!(plain.event_time().pop(3)?.map(|timer| (timer.timestamp, timer.key)), Some((3, "a".to_owned())));
    assert!(plain.processing_time().next()?.is_none());
    assert_fails(ErrorKind::Program, "a service of the same name", service(&backend));
    Ok(())
}

/// Timers need a key to belong to.
pub fn timers_need_a_current_key(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    let timers = service(&backend)?.event_time().clone();
    assert_fails(ErrorKind::Program, "registering without a key", timers.register(1, &window(0)));
    assert_fails(ErrorKind::Program, "deleting without a key", timers.delete(1, &window(0)));
    Ok(())
}

/// A snapshot has the timers of its moment, and they go with their key when it is restored at another parallelism, in
/// this or another store.
pub fn timers_go_with_their_key(subject: &Subject) -> Result<()> {
    let place = Place::all(128)?;
    let backend = subject.backend::<String>(place, &[])?;
    let timers = service(&backend)?;
    let mut model = Model::new();
    for number in 0..500 {
        let key = format!("key {number}");
        backend.set_current_key(key.clone())?;
        timers.event_time().register(number % 7, &window(number))?;
        timers.processing_time().register(number, &window(0))?;
        model.insert((number % 7, key, number));
    }
    let (handles, _) = write_while(backend.snapshot()?, || due(timers.event_time(), 3))?;
    let [heap, bytes] = Subject::others();
    for store in [subject, &heap, &bytes] {
        let mut restored = Model::new();
        for subtask in 0..3 {
            let place = Place::of(128, subtask, 3)?;
            let backend = store.backend::<String>(place, &handles)?;
            let timers = service(&backend)?;
            let of_subtask = due(timers.event_time(), i64::MAX)?;
            let is_here = |key: &String| place.range.contains(place.max_parallelism.key_group_of(key.java_hash()));
            assert!(of_subtask.iter().all(|(_, key, _)| is_here(key)));
            assert_eq!(timers.processing_time().count()?, of_subtask.len());
            restored.extend(of_subtask);
        }
        assert_eq!(restored, model, "restored in {store:?}");
    }
    Ok(())
}

/// Timers of a service that nobody asks for are in the next snapshot too, and found by who asks later.
pub fn timers_nobody_asks_for_are_carried_along(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    backend.set_current_key("a".to_owned())?;
    service(&backend)?.event_time().register(7, &window(0))?;
    let handles = take(&backend)?;
    let handles = take(&subject.backend::<String>(Place::all(128)?, &handles)?)?;
    let backend = subject.backend::<String>(Place::all(128)?, &handles)?;
    assert_eq!(due(service(&backend)?.event_time(), 7)?, [timer(7, "a", 0)]);
    Ok(())
}

/// Restored timers are not taken for those of another namespace.
pub fn timers_of_another_namespace_are_refused_on_restore(subject: &Subject) -> Result<()> {
    let backend = subject.empty::<String>()?;
    service(&backend)?;
    let restored = subject.backend::<String>(Place::all(128)?, &take(&backend)?)?;
    let other = restored.timer_service("window-timers", VoidNamespace::default_serializer());
    assert_fails(ErrorKind::Incompatible, "another namespace", other);
    Ok(())
}

/// Thousands of random changes agree with a plain model: many timers of one key group, few of many, many of one time,
/// with snapshots that are written meanwhile, and restores.
pub fn random_timers_agree_with_a_model(subject: &Subject) -> Result<()> {
    for (seed, keys, times) in [(1, 1, 2_000), (2, 300, 5), (3, 40, 400), (4, 3, i64::MAX)] {
        operate(subject, &mut Random::new(seed), keys, times)?;
    }
    Ok(())
}

fn operate(subject: &Subject, random: &mut Random, keys: usize, times: i64) -> Result<()> {
    let place = Place::all(128)?;
    let mut backend = subject.backend::<String>(place, &[])?;
    let mut timers = service(&backend)?.event_time().clone();
    let mut model = Model::new();
    for step in 0..4_000 {
        let (key, start) = (random.below(keys).to_string(), random.below(2) as i64);
        let time = (random.next() as i64) % times;
        backend.set_current_key(key.clone())?;
        // More are added than taken, so that queues grow, and then are emptied.
        match random.below(if step % 2_000 < 1_200 { 9 } else { 40 }) {
            0 => {
                timers.delete(time, &window(start))?;
                model.remove(&(time, key, start));
            }
            1..9 => {
                timers.register(time, &window(start))?;
                model.insert((time, key, start));
            }
            _ => assert_eq!(pop(&timers, i64::MAX, &mut model)?, model_next(&model), "step {step}"),
        }
        assert_eq!(timers.next()?, model.first().map(|(time, ..)| *time), "step {step}");
        if random.below(500) == 0 {
            let frozen = model.clone();
            let snapshot = backend.snapshot()?;
            let (handles, ()) =
                write_while(snapshot, || (0..50).try_for_each(|_| pop(&timers, times / 2, &mut model).map(drop)))?;
            backend = subject.backend(place, &handles)?;
            timers = service(&backend)?.event_time().clone();
            model = frozen;
            assert_eq!(timers.count()?, model.len(), "step {step}, restored");
        }
    }
    assert_eq!(due(&timers, i64::MAX)?, model.into_iter().collect::<Vec<_>>());
    Ok(())
}

/// Takes one timer from both; what comes next from the queue.
fn pop(timers: &Timers<String, TimeWindow>, until: i64, model: &mut Model) -> Result<Option<i64>> {
    let earliest = model_next(model).filter(|time| *time <= until);
    let taken = timers.pop(until)?.map(|timer| (timer.timestamp, timer.key, timer.namespace.start));
    assert_eq!(taken.as_ref().map(|(time, ..)| *time), earliest);
    if let Some(taken) = taken {
        assert!(model.remove(&taken), "{taken:?} was not registered");
    }
    timers.next()
}

fn model_next(model: &Model) -> Option<i64> {
    model.first().map(|(time, ..)| *time)
}
