//! Replacing plugins whose files have got another content, or when SIGHUP asks for it.
//!
//! One thread does all of it, one plugin after the other: it loads the file, checks the configuration, and has the bus replace the
//! processor, one shard first. Whatever is refused on the way leaves the old one running.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use keylane::ingest::printable::plain;
use keylane::plugin::{FileWatch, PluginHost, WatchOptions};
use keylane::{Bus, Rollout, SwapError};

use super::{Loaded, Plugins, load};
use crate::diagnostics::Diagnostics;
use crate::source;

/// What the first shard's new instance has to process before the others follow, and how long to wait for it.
const CANARY: (u64, Duration) = (256, Duration::from_secs(1));

/// How often a file is looked at, and how long it has to stay as it is.
const WATCH: Duration = Duration::from_millis(500);

/// Asks for a look at files.
enum Look {
    /// At the one of this plugin: its content has changed.
    Changed(usize),
    /// At all of them.
    All,
    End,
}

/// The thread that replaces plugins, and the watches over their files. When it is dropped, it begins nothing more; nobody waits for what it is
/// doing, because a plugin that is stuck would hold up the shutdown.
#[derive(Debug)]
pub(crate) struct Reload {
    asks: Sender<Look>,
    watches: Vec<FileWatch>,
}

impl Reload {
    /// Watches the files of all plugins, if that is wanted.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn start(
        plugins: &Plugins,
        bus: &Arc<Bus>,
        diagnostics: &Diagnostics,
    ) -> Result<Self, String> {
        let no_thread =
            |error: std::io::Error| format!("cannot start the threads that watch plugins: {error}");
        let (asks, asked) = mpsc::channel();
        let watched = if plugins.reload { plugins.all.as_slice() } else { &[] };
        let options = WatchOptions::default().interval(WATCH).debounce(WATCH);
        let watch = |(index, loaded): (usize, &Loaded)| {
            let asks = asks.clone();
            let changed = move |_: &std::path::Path, _| drop(asks.send(Look::Changed(index)));
            FileWatch::start(&loaded.wanted.path, loaded.running, options, changed)
        };
        let watches: Result<Vec<_>, _> = watched.iter().enumerate().map(watch).collect();
        let worker = Worker {
            host: plugins.host.clone(),
            bus: Arc::clone(bus),
            all: plugins.all.clone(),
            diagnostics: diagnostics.clone(),
        };
        let thread = thread::Builder::new().name("reload".into());
        thread.spawn(move || worker.work(&asked)).map_err(no_thread)?;
        Ok(Self { asks, watches: watches.map_err(no_thread)? })
    }

    /// Has all files looked at. Waits for nobody.
    pub(crate) fn now(&self) {
        let _ = self.asks.send(Look::All);
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.watches.clear();
        let _ = self.asks.send(Look::End);
    }
}

struct Worker {
    host: PluginHost,
    bus: Arc<Bus>,
    all: Vec<Loaded>,
    diagnostics: Diagnostics,
}

impl Worker {
    fn work(mut self, asked: &Receiver<Look>) {
        for look in asked {
            match look {
                Look::Changed(index) => self.look_at(index, false),
                Look::All => (0..self.all.len()).for_each(|index| self.look_at(index, true)),
                Look::End => return,
            }
        }
    }

    /// Loads a plugin's file again and puts it in the place of what runs, if it is another one.
    fn look_at(&mut self, index: usize, asked_for: bool) {
        let Loaded { name, wanted, running, .. } = &self.all[index];
        let path = source::name(&wanted.path);
        let old = &running.to_string()[..12];
        let name = plain(name, 100);
        let stays = |why: &dyn std::fmt::Display| {
            self.diagnostics
                .say(format_args!("plugin {name} is not replaced, {old} goes on: {why}"));
        };
        let (plugin, factory) = match load(&self.host, wanted) {
            Ok(loaded) => loaded,
            Err(why) => return stays(&why),
        };
        let new = plugin.sha256();
        if new == *running {
            if asked_for {
                self.diagnostics.say(format_args!(
                    "plugin {name} is as it was: {path} has not changed since {old}"
                ));
            }
            return;
        }
        let (events, within) = CANARY;
        let rollout = Rollout::canary(0).events(events).within(within);
        match self.bus.replace_processor_gradually(&self.all[index].name, factory, rollout) {
            Ok(()) => {
                self.diagnostics.say(format_args!(
                    "plugin {name} is replaced: {} {} ({}) in place of {old}",
                    plain(plugin.id(), 100),
                    plain(plugin.version(), 100),
                    &new.to_string()[..12],
                ));
                self.all[index].running = new;
            }
            // The shutdown has come first.
            Err(SwapError::Closed) => {}
            Err(error) => stays(&plain(&error.to_string(), 2000)),
        }
    }
}
