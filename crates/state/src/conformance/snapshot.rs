//! Snapshots, restores and rescaling.

use highwater_types::{DefaultSerializer, Result, TimeWindow, VoidNamespace};

use super::Subject;
use super::job::{Action, Job, Model, apply};
use super::random::{Random, fill};
use super::subject::{Place, take, write, write_while};
use crate::{ListStateDescriptor, MapStateDescriptor, ValueStateDescriptor};

fn filled(subject: &Subject, place: Place, keys: usize, seed: u64) -> Result<(Job, Model)> {
    let (job, mut model) = (Job::open(subject, place, &[])?, Model::new());
    fill(&job, &mut model, place, keys, seed)?;
    Ok((job, model))
}

/// A snapshot holds what was there when it was frozen, though everything changes while it is being written.
pub fn snapshot_does_not_see_later_writes(subject: &Subject) -> Result<()> {
    let place = Place::all(128)?;
    let (job, model) = filled(subject, place, 100, 1)?;
    let snapshot = job.backend.snapshot()?;
    let mut later = model.clone();
    // Some of it changes before the asynchronous part begins, the rest while it goes on.
    let mut change = |keys: &[&String], seed| {
        let mut random = Random::new(seed);
        for key in keys {
            for action in [Action::ClearAll, random.action(), random.action(), Action::Add("later".to_owned())] {
                job.apply(key, &action)?;
                apply(&mut later, key, &action);
            }
        }
        Ok(())
    };
    let keys: Vec<&String> = model.keys().collect();
    let (before, during) = keys.split_at(keys.len() / 2);
    change(before, 2)?;
    let (handles, ()) = write_while(snapshot, || change(during, 3))?;
    job.assert_is(&later, "what was changed")?;
    Job::open(subject, place, &handles)?.assert_is(&model, "what was frozen")
}

/// Several frozen views live side by side, are written in any order or not at all, and outlive their backend.
pub fn snapshots_of_one_backend_are_independent(subject: &Subject) -> Result<()> {
    let place = Place::all(128)?;
    let (job, mut model) = filled(subject, place, 30, 1)?;
    let mut frozen = Vec::new();
    for seed in 2..6 {
        frozen.push((job.backend.snapshot()?, model.clone()));
        fill(&job, &mut model, place, 10, seed)?;
    }
    let (dropped, _) = frozen.remove(1);
    drop(dropped);
    let (last, expected) = frozen.remove(2);
    Job::open(subject, place, &write(last)?)?.assert_is(&expected, "the last one, written first")?;
    job.assert_is(&model, "the job itself")?;
    drop(job);
    for (snapshot, expected) in frozen {
        let (handles, ()) = write_while(snapshot, || Ok(()))?;
        Job::open(subject, place, &handles)?.assert_is(&expected, "written after the backend is gone")?;
    }
    Ok(())
}

/// Every kind of state comes back from a snapshot, at both sizes of the key-group prefix.
pub fn snapshot_restores_everything(subject: &Subject) -> Result<()> {
    for max_parallelism in [1, 128, 129, 4096] {
        let place = Place::all(max_parallelism)?;
        let (job, model) = filled(subject, place, 100, u64::from(max_parallelism))?;
        let handles = job.take()?;
        let restored = Job::open(subject, place, &handles)?;
        restored.assert_is(&model, &format!("max parallelism {max_parallelism}"))?;
        let again = Job::open(subject, place, &restored.take()?)?;
        again.assert_is(&model, &format!("max parallelism {max_parallelism}, second time"))?;
    }
    Ok(())
}

/// State moves between this store and others in both directions.
pub fn snapshot_crosses_to_other_stores_and_back(subject: &Subject) -> Result<()> {
    for (max_parallelism, other) in [128, 4096].into_iter().flat_map(|max| Subject::others().map(|other| (max, other)))
    {
        let place = Place::all(max_parallelism)?;
        let (job, model) = filled(subject, place, 60, 7)?;
        let there = Job::open(&other, place, &job.take()?)?;
        there.assert_is(&model, &format!("crossed to {other:?}"))?;
        let back = Job::open(subject, place, &there.take()?)?;
        back.assert_is(&model, &format!("back from {other:?}"))?;
    }
    Ok(())
}

/// States without entries, and a backend without states, restore too.
pub fn empty_state_restores_as_empty(subject: &Subject) -> Result<()> {
    let place = Place::all(128)?;
    let nothing = subject.backend::<String>(place, &[])?;
    assert_eq!(take(&nothing)?, [], "without states there is nothing to write");
    let empty = Job::open(subject, place, &[])?;
    let handles = empty.take()?;
    assert_eq!(handles.len(), 1, "states without entries are described");
    let restored = Job::open(subject, place, &handles)?;
    restored.assert_is(&Model::new(), "empty states")?;
    let mut model = Model::new();
    fill(&restored, &mut model, place, 10, 1)?;
    restored.assert_is(&model, "filled after the restore")
}

/// 1 → 3 → 2 → 1 subtasks, each of which is given all handles, with changes in between: every key is in exactly one
/// subtask, with everything it had.
pub fn rescaling_loses_nothing_and_doubles_nothing(subject: &Subject) -> Result<()> {
    for max_parallelism in [128, 4096] {
        let (job, mut model) = filled(subject, Place::all(max_parallelism)?, 300, 11)?;
        let mut handles = job.take()?;
        for (parallelism, seed) in [(3, 12), (2, 13), (1, 14)] {
            let (mut merged, mut next) = (Model::new(), Vec::new());
            for subtask in 0..parallelism {
                let place = Place::of(max_parallelism, subtask, parallelism)?;
                let what = format!("subtask {subtask} of {parallelism}");
                let job = Job::open(subject, place, &handles)?;
                let mut own = Model::new();
                for key in job.keys()? {
                    let expected = model.remove(&key);
                    assert!(expected.is_some(), "{what}: key {key:?} is doubled or comes from nowhere");
                    own.extend(expected.map(|content| (key, content)));
                }
                job.assert_is(&own, &what)?;
                fill(&job, &mut own, place, 20, seed)?;
                next.extend(job.take()?);
                merged.append(&mut own);
            }
            assert!(model.is_empty(), "lost with {parallelism} subtasks: {:?}", model.keys());
            (model, handles) = (merged, next);
        }
    }
    Ok(())
}

/// State that is restored but not registered goes into the next snapshot unchanged, beside state that changes, and can
/// still be registered after other work was done.
pub fn restored_state_nobody_asks_for_is_carried_along(subject: &Subject) -> Result<()> {
    let place = Place::all(128)?;
    let (job, mut model) = filled(subject, place, 60, 21)?;
    let mut handles = job.take()?;
    for round in 0..3 {
        let backend = subject.backend::<String>(place, &handles)?;
        let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
        for key in model.clone().keys() {
            backend.set_current_key(key.clone())?;
            value.update(round)?;
            apply(&mut model, key, &Action::Update(round));
        }
        handles = take(&backend)?;
    }
    let (first, second) = (Place::of(128, 0, 2)?, Place::of(128, 1, 2)?);
    let parts = [first, second].map(|part| take(&subject.backend::<String>(part, &handles)?));
    let mut handles = Vec::new();
    for part in parts {
        handles.extend(part?);
    }
    Job::open(subject, place, &handles)?.assert_is(&model, "after rounds without most of the states")?;

    let backend = subject.backend::<String>(place, &handles)?;
    let value = backend.value_state(&ValueStateDescriptor::<i64>::new("value"))?;
    drop(backend.snapshot()?);
    for key in model.keys() {
        backend.set_current_key(key.clone())?;
        assert_eq!(value.value()?, Some(2));
    }
    let list = backend.list_state(&ListStateDescriptor::<String>::new("list"))?;
    for (key, content) in &model {
        backend.set_current_key(key.clone())?;
        assert_eq!(list.get()?, content.list(), "registered late");
    }
    Ok(())
}

/// Restored values, lists and maps are appended to, changed, listed and removed as if they had been written here.
pub fn restored_state_goes_on_changing(subject: &Subject) -> Result<()> {
    let place = Place::all(128)?;
    let open = |handles: &[_]| {
        let backend = subject.backend::<i64>(place, handles)?;
        let list = backend.list_state(&ListStateDescriptor::<String>::new("list"))?;
        let map = backend.map_state(&MapStateDescriptor::<i64, i64>::new("map"))?;
        let windows = TimeWindow::default_serializer();
        let value = backend.value_state_in(windows, &ValueStateDescriptor::<String>::new("value"))?;
        value.set_namespace(TimeWindow { start: 0, end: 10 })?;
        Ok((backend, list, map, value))
    };
    let (backend, list, map, value) = open(&[])?;
    for key in 0..50 {
        backend.set_current_key(key)?;
        list.add_all(vec![format!("{key}"), ",".to_owned()])?;
        map.put_all((0..key).map(|number| (number, number)).collect())?;
        value.update("old".to_owned())?;
    }
    let (backend, list, map, value) = open(&take(&backend)?)?;
    for key in 0..50 {
        backend.set_current_key(key)?;
        list.add("new".to_owned())?;
        map.remove(&0)?;
        map.put(100, key)?;
        if key % 2 == 0 {
            value.clear()?;
        } else {
            value.modify(String::new, |value| value.push_str(" and new"))?;
        }
    }
    let (backend, list, map, value) = open(&take(&backend)?)?;
    for key in 0..50 {
        backend.set_current_key(key)?;
        assert_eq!(list.get()?, [key.to_string(), ",".to_owned(), "new".to_owned()]);
        let mut entries = map.entries()?;
        entries.sort_unstable();
        assert!(entries.into_iter().eq((1..key).map(|number| (number, number)).chain([(100, key)])));
        assert_eq!(value.value()?.as_deref(), (key % 2 == 1).then_some("old and new"));
    }
    assert_eq!(backend.keys("value", &TimeWindow { start: 0, end: 10 })?.len(), 25);
    assert_eq!(backend.keys("value", &TimeWindow { start: 0, end: 11 })?.len(), 0);
    assert_eq!(backend.keys("list", &VoidNamespace)?.len(), 50);
    Ok(())
}
