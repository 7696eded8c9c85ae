//! Emits an event when a key has too many of them within a sliding window.
//!
//! Times are those of the events, so a replayed stream raises the alarms that it raised, or would have raised, the first time.

mod window;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use keylane_plugin::{
    Counter, Create, Cx, Derived, EmitError, Error, Event, EventType, Gauge, Info, Outcome,
    Processor, Rfc3339, StateWriter, Stop, export_plugin,
};
use serde::{Deserialize, Serialize};

use window::Rate;

/// What the plugin is told; `config.schema.json` explains it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    limit: u32,
    #[serde(default = "default_seconds")]
    window_seconds: f64,
    #[serde(default = "default_emit")]
    emit: String,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default = "default_seconds")]
    quiet_seconds: f64,
    #[serde(default = "default_max_keys")]
    max_keys: usize,
}

fn default_seconds() -> f64 {
    60.0
}

fn default_emit() -> String {
    "USER(0)".into()
}

fn default_max_keys() -> usize {
    100_000
}

/// The processor.
#[derive(Debug)]
pub struct RateAlarm {
    limit: u32,
    window_ns: i64,
    quiet_ns: i64,
    alarm: EventType,
    /// Empty: all.
    types: Vec<EventType>,
    max_keys: usize,
    rates: HashMap<u64, Watched>,
    /// The latest time of an event, by which keys are forgotten.
    latest_ns: i64,
    /// Not before this many events is it worthwhile to look again for keys to forget.
    sweep_in: usize,
    alarms: Counter,
    alarms_lost: Counter,
    untracked: Counter,
    tracked_keys: Gauge,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Watched {
    rate: Rate,
    /// Until then the key raises no other alarm.
    quiet_until: i64,
}

/// The value of an alarm.
#[derive(Debug, Serialize)]
struct Alarm<'a> {
    key_hash: String,
    /// Only when the bytes of the key travelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<std::borrow::Cow<'a, str>>,
    /// An estimate, as the window slides.
    count: u64,
    limit: u32,
    window_seconds: f64,
    /// Of the event that was one too many.
    time: String,
    #[serde(rename = "type")]
    kind: &'a str,
}

/// The form of the saved state.
const STATE_VERSION: u32 = 1;

impl Processor for RateAlarm {
    type Config = Config;
    const INFO: Info = Info::new("io.keylane.rate-alarm", env!("CARGO_PKG_VERSION"))
        .name("Rate alarm")
        .description(
            "Emits an event when a key has more than so many events within a sliding window",
        )
        .license(env!("CARGO_PKG_LICENSE"))
        .config_schema(include_str!("../config.schema.json"))
        .stateful(STATE_VERSION)
        .emits();

    fn check_config(config: &Config) -> Result<(), Error> {
        let seconds = |name: &str, value: f64, least: f64| {
            if value >= least && value <= 86_400.0 {
                Ok(())
            } else {
                Err(Error::from(format!("{name}: {value} is out of range, use {least} to 86400")))
            }
        };
        if !(1..=1_000_000).contains(&config.limit) {
            return Err(format!("limit: {} is out of range, use 1 to 1000000", config.limit).into());
        }
        if !(1..=100_000_000).contains(&config.max_keys) {
            return Err(format!(
                "max_keys: {} is out of range, use 1 to 100000000",
                config.max_keys
            )
            .into());
        }
        seconds("window_seconds", config.window_seconds, 0.001)?;
        seconds("quiet_seconds", config.quiet_seconds, 0.0)
    }

    fn create(config: Config, cx: &Create<'_>) -> Result<Self, Error> {
        let kind = |member: &str, name: &str| {
            cx.event_type(name).ok_or_else(|| {
                Error::from(format!("{member}: there is no type {name:?}; use USER(n), a predefined type, or a name of this program"))
            })
        };
        let alarm = kind("emit", &config.emit)?;
        let types =
            config.types.iter().map(|name| kind("types", name)).collect::<Result<_, _>>()?;
        Ok(Self {
            limit: config.limit,
            window_ns: (config.window_seconds * 1e9) as i64,
            quiet_ns: (config.quiet_seconds * 1e9) as i64,
            alarm,
            types,
            max_keys: config.max_keys,
            rates: HashMap::new(),
            latest_ns: i64::MIN,
            sweep_in: 0,
            alarms: cx.counter("alarms"),
            alarms_lost: cx.counter("alarms_lost"),
            untracked: cx.counter("untracked_events"),
            tracked_keys: cx.gauge("tracked_keys"),
        })
    }

    fn process(&mut self, event: &Event<'_>, cx: &Cx<'_>) -> Outcome {
        let kind = event.kind();
        // An alarm about alarms would be about itself.
        if !event.has_key()
            || kind == self.alarm
            || !self.types.is_empty() && !self.types.contains(&kind)
        {
            return Ok(());
        }
        let now = event.wall_ns();
        self.latest_ns = self.latest_ns.max(now);
        self.make_room();
        let full = self.rates.len() >= self.max_keys;
        let watched = match self.rates.entry(event.key_hash()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if full => {
                self.untracked.inc();
                return Ok(());
            }
            Entry::Vacant(entry) => {
                entry.insert(Watched { rate: Rate::new(now), quiet_until: i64::MIN })
            }
        };
        // On a copy: an event that is not taken must not have been counted.
        let mut after = *watched;
        let count = after.rate.add(now, self.window_ns);
        if count > f64::from(self.limit) && now >= after.quiet_until {
            after.quiet_until = now.saturating_add(self.quiet_ns);
            let alarm = Alarm {
                key_hash: format!("{:016x}", event.key_hash()),
                key: event.key().map(String::from_utf8_lossy),
                count: count.ceil() as u64,
                limit: self.limit,
                window_seconds: self.window_ns as f64 / 1e9,
                time: Rfc3339(now).to_string(),
                kind: cx.type_name(kind),
            };
            let derived =
                Derived::new(self.alarm).key_of(event).json(&alarm).map_err(Stop::bad_event)?;
            match cx.emit(&derived) {
                Ok(()) => self.alarms.inc(),
                Err(error @ EmitError::Full) => return Err(Stop::again(error)),
                Err(error) => {
                    self.alarms_lost.inc();
                    keylane_plugin::warn!(
                        cx,
                        "an alarm about key {} is lost: {error}",
                        alarm.key_hash
                    );
                }
            }
        }
        *watched = after;
        self.tracked_keys.set(self.rates.len() as i64);
        Ok(())
    }

    fn save_state(&mut self, out: &mut StateWriter<'_>) -> Result<(), Error> {
        let rates: Vec<_> = self.rates.iter().collect();
        Ok(serde_json::to_writer(std::io::BufWriter::new(out), &(self.window_ns, rates))?)
    }

    fn load_state(&mut self, state: &[u8], version: u32) -> Result<(), Error> {
        if version != STATE_VERSION {
            return Err(format!(
                "the state has version {version}, this plugin reads {STATE_VERSION}"
            )
            .into());
        }
        let (window_ns, rates): (i64, Vec<(u64, Watched)>) = serde_json::from_slice(state)?;
        // Counts of windows of another length mean nothing here, but who is quiet stays quiet.
        let fits = window_ns == self.window_ns;
        let rates = rates.into_iter().map(|(key, watched)| {
            (
                key,
                if fits {
                    watched
                } else {
                    Watched { rate: Rate::new(watched.rate.latest()), ..watched }
                },
            )
        });
        self.rates = rates.take(self.max_keys).collect();
        self.latest_ns =
            self.rates.values().map(|watched| watched.rate.latest()).max().unwrap_or(i64::MIN);
        Ok(())
    }
}

impl RateAlarm {
    /// Forgets keys that have been silent for two windows when there is no room for another one. Each look at all of them is paid for
    /// by as many events.
    fn make_room(&mut self) {
        self.sweep_in = self.sweep_in.saturating_sub(1);
        if self.rates.len() < self.max_keys || self.sweep_in > 0 {
            return;
        }
        let (latest, window) = (self.latest_ns, self.window_ns);
        self.rates.retain(|_, watched| {
            !watched.rate.is_over(latest, window) || watched.quiet_until > latest
        });
        self.sweep_in = self.max_keys;
    }
}

export_plugin!(RateAlarm);
