//! What the benchmarks share: the random numbers of the workloads, thread time, medians and tables.
#![allow(dead_code, reason = "every benchmark uses its part")]

use std::time::Instant;

/// SplitMix64, the generator of all workloads.
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 1) % n
    }
}

/// Time on the wall and on the processor of this thread, in nanoseconds.
#[derive(Clone, Copy)]
pub struct Spent {
    pub wall: f64,
    pub cpu: f64,
}

/// Measures one call.
pub fn measure(work: impl FnOnce()) -> Spent {
    let (start, cpu) = (Instant::now(), thread_nanos());
    work();
    Spent { wall: start.elapsed().as_nanos() as f64, cpu: thread_nanos() - cpu }
}

/// Processor time of this thread.
pub fn thread_nanos() -> f64 {
    clock_nanos(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Processor time of the process.
pub fn process_nanos() -> f64 {
    clock_nanos(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock_nanos(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "the clock exists");
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Bytes of memory the process holds now, and the most it ever held.
pub fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|number| number.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// A number with thin groups: `12,345`.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
