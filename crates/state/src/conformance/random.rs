//! Random operations against a plain model. Everything follows from the seed, which a failure names.

use highwater_types::{JavaHash, Result};

use super::Subject;
use super::job::{Action, Job, Model, apply};
use super::subject::{Place, write, write_while};

/// A stream of numbers that follows from its seed (SplitMix64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    /// Small numbers, extreme ones, and some whose bytes hold the list delimiter.
    fn number(&mut self) -> i64 {
        match self.below(6) {
            0 => i64::from_be_bytes([b','; 8]),
            1 => self.next() as i64,
            2 => i64::MIN,
            _ => self.below(10) as i64 - 5,
        }
    }

    fn text(&mut self) -> String {
        let letters = ["a", "b", ",", "", "ä", "\u{0}", "😀"];
        (0..self.below(5)).filter_map(|_| letters.get(self.below(letters.len()))).copied().collect()
    }

    fn some<T>(&mut self, below: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(below)).map(|_| make(self)).collect()
    }

    fn optional(&mut self) -> Option<i64> {
        (!self.chance(3)).then(|| self.number())
    }

    pub(super) fn bytes(&mut self, below: usize) -> Vec<u8> {
        self.some(below, |random| [0, 1, b',', 0x7f, 0xff].get(random.below(8)).copied().unwrap_or(random.next() as u8))
    }

    /// What is done most: additions; what empties a state: rarely enough that it fills.
    pub(super) fn action(&mut self) -> Action {
        match self.below(40) {
            0..=2 => Action::Update(self.number()),
            3..=5 => Action::Modify(self.number()),
            6 => Action::ClearValue,
            7..=9 => Action::Add(self.text()),
            10 => Action::AddAll(self.some(5, Self::text)),
            11 => Action::Replace(self.some(4, Self::text)),
            12 => Action::Retain(self.below(3)),
            13 => Action::ClearList,
            14..=16 => Action::Put(self.text(), self.optional()),
            17 => Action::PutAll(self.some(200, |random| (random.text(), random.optional()))),
            18 => Action::ModifyEntry(self.text(), self.number()),
            19 => Action::Remove(self.text()),
            20 => Action::RetainEntries,
            21 => Action::ClearMap,
            22..=23 => Action::Reduce(self.number()),
            24 => Action::ClearSum,
            25..=26 => Action::Aggregate(self.number()),
            27 => Action::ClearMean,
            28..=29 => Action::AddToWindow(self.below(4), self.number()),
            30 => Action::ClearWindow(self.below(4)),
            31 => Action::MergeWindows(self.below(4), self.some(4, |random| random.below(4))),
            32..=34 => Action::PutName(self.below(4), self.number(), self.text()),
            35 => Action::ClearName(self.below(4)),
            36..=37 => Action::Chain(self.below(4), self.text()),
            38 => Action::MergeChains(self.below(4), self.some(4, |random| random.below(4))),
            _ => Action::ClearAll,
        }
    }

    /// One of the keys that are below this place.
    pub(super) fn key(&mut self, place: Place, keys: usize) -> String {
        loop {
            let key = format!("{}{}", self.below(keys), if self.chance(2) { "," } else { "" });
            if place.range.contains(place.max_parallelism.key_group_of(key.java_hash())) {
                return key;
            }
        }
    }
}

/// Fills job and model with random content for so many keys.
pub(super) fn fill(job: &Job, model: &mut Model, place: Place, keys: usize, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    for _ in 0..keys * 12 {
        let (key, action) = (random.key(place, keys), random.action());
        job.apply(&key, &action)?;
        apply(model, &key, &action);
    }
    Ok(())
}

/// Thousands of random operations on every kind of state agree with a plain model, with freezes in between that are
/// written while operations go on, and restores of them in this and other stores.
pub fn random_operations_agree_with_a_model(subject: &Subject) -> Result<()> {
    (1..=3).try_for_each(|seed| operate(subject, Place::all(128)?, seed, 2500))
}

/// The same with key groups of two bytes, in the middle of the range.
pub fn random_operations_agree_with_a_model_in_many_key_groups(subject: &Subject) -> Result<()> {
    (4..=5).try_for_each(|seed| operate(subject, Place::of(4096, 1, 3)?, seed, 1500))
}

fn operate(subject: &Subject, place: Place, seed: u64, steps: usize) -> Result<()> {
    let mut random = Random::new(seed);
    let mut job = Job::open(subject, place, &[])?;
    let mut model = Model::new();
    for step in 0..steps {
        one(&job, &mut model, place, &mut random, &format!("seed {seed}, step {step}"))?;
        if random.chance(250) {
            job =
                freeze_and_restore(subject, job, &mut model, place, &mut random, &format!("seed {seed}, step {step}"))?;
        }
    }
    job.assert_is(&model, &format!("seed {seed}, at the end"))
}

/// One operation, and a look at its key afterwards.
fn one(job: &Job, model: &mut Model, place: Place, random: &mut Random, what: &str) -> Result<()> {
    let (key, action) = (random.key(place, 20), random.action());
    job.apply(&key, &action)?;
    apply(model, &key, &action);
    let expected = model.get(&key).cloned().unwrap_or_default();
    assert_eq!(job.content(&key)?, expected.observed(), "{what}: key {key:?} after {action:?}");
    Ok(())
}

/// Freezes, goes on while the snapshot is written, compares what it restores to with the model as it was, and by chance
/// goes on from there.
fn freeze_and_restore(
    subject: &Subject,
    job: Job,
    model: &mut Model,
    place: Place,
    random: &mut Random,
    what: &str,
) -> Result<Job> {
    let frozen = model.clone();
    let snapshot = job.backend.snapshot()?;
    let (handles, ()) = if random.chance(4) {
        (write(snapshot)?, ())
    } else {
        write_while(snapshot, || (0..200).try_for_each(|_| one(&job, model, place, random, what)))?
    };
    for other in Subject::others() {
        Job::open(&other, place, &handles)?.assert_is(&frozen, &format!("{what}, restored in {other:?}"))?;
    }
    let restored = Job::open(subject, place, &handles)?;
    restored.assert_is(&frozen, &format!("{what}, restored"))?;
    job.assert_is(model, &format!("{what}, not restored"))?;
    if random.chance(2) {
        return Ok(job);
    }
    *model = frozen;
    Ok(restored)
}
