//! The machine a report was made on, and how much of it was somebody else's.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cpu::process_cpu;

/// Everything about the machine that a figure depends on and that can be read without privileges.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// `None` where the kernel does not tell, as in most virtual machines.
    pub(crate) governor: Option<String>,
    /// keylane stamps with the time stamp counter only if the kernel trusts it as well.
    pub(crate) clock_source: Option<String>,
    pub(crate) rustc: String,
    pub(crate) profile: String,
    /// The revision of the sources, `-dirty` with uncommitted changes; `None` outside a checkout.
    pub(crate) revision: Option<String>,
}

impl Machine {
    pub(crate) fn read() -> Self {
        let model = || {
            let text = fs::read_to_string("/proc/cpuinfo").ok()?;
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        Self {
            cpu: model().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: first_line("/proc/sys/kernel/osrelease").map_or_else(
                || std::env::consts::OS.to_owned(),
                |release| format!("Linux {release}"),
            ),
            governor: first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clock_source: first_line(
                "/sys/devices/system/clocksource/clocksource0/current_clocksource",
            ),
            rustc: env!("BENCH_RUSTC").to_owned(),
            profile: env!("BENCH_PROFILE").to_owned(),
            revision: revision(),
        }
    }
}

fn first_line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.trim().to_owned())
}

fn revision() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// Measures which share of the machine went to other processes or, in a virtual machine, to its
/// neighbours. Above a few per cent, wall times deserve suspicion.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    start: Instant,
    busy: Option<Duration>,
    own: Duration,
}

impl Elsewhere {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), busy: busy(), own: process_cpu() }
    }

    /// The share since the start, from 0 to 1; `None` where the kernel does not tell.
    pub(crate) fn share(&self) -> Option<f64> {
        let busy = busy()?.checked_sub(self.busy?)?;
        let foreign = busy.saturating_sub(process_cpu().saturating_sub(self.own));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let available = self.start.elapsed().as_secs_f64() * cores as f64;
        (available > 0.0).then(|| (foreign.as_secs_f64() / available).min(1.0))
    }
}

/// Time that all cores together have not been idle.
fn busy() -> Option<Duration> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> = text
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .map_while(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is part of user time already.
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else {
        return None;
    };
    // SAFETY: `sysconf` reads no memory of ours.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    let busy = user + nice + system + irq + softirq + steal;
    Some(Duration::from_secs_f64(busy as f64 / per_second.max(1) as f64))
}
