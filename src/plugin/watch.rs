//! Watching a plugin's file, to load it again when its content has changed.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::digest::Sha256;
use super::source_file;

/// How a file is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchOptions {
    interval: Duration,
    debounce: Duration,
    max_file_size: u64,
}

impl WatchOptions {
    /// How often the file's size and time are looked at. Default: 500 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// How long the file must stay as it is before it is read: whoever writes it may not be done. Default: 500 ms.
    pub fn debounce(mut self, debounce: Duration) -> Self {
        self.debounce = debounce;
        self
    }
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(500),
            debounce: Duration::from_millis(500),
            max_file_size: 256 << 20,
        }
    }
}

/// Watches a file by its content, on a thread of its own, until it is dropped.
///
/// Size and time of the file are looked at now and then; when they have changed and stay so for a while, the file is read, and if its digest
/// is another one the callback is called. So a copy that is still being written is not taken, neither is a file that was only
/// touched, and replacing by rename, by overwriting and by a symbolic link are all noticed. What the callback loads may be
/// newer than what it was told; the next look tells.
///
/// ```no_run
/// use keylane::plugin::{FileWatch, PluginHost, TrustPolicy, WatchOptions};
///
/// # let bus = keylane::Bus::builder().build()?;
/// let host = PluginHost::builder().allow_loading(TrustPolicy::owned()).build()?;
/// let path = "/usr/lib/keylane/dedup.so";
/// let plugin = host.load(path)?;
/// let watch = FileWatch::start(path, plugin.sha256(), WatchOptions::default(), move |path, _digest| {
///     let reload = || -> Result<(), Box<dyn std::error::Error>> {
///         Ok(bus.replace_processor("dedup", host.load(path)?.processor("{}")?)?)
///     };
///     if let Err(error) = reload() {
///         eprintln!("{error}");
///     }
/// })?;
/// watch.look_now(); // on SIGHUP, say
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileWatch {
    path: PathBuf,
    signals: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a file looks like from outside; `None` when it cannot be seen.
type Look = Option<(u64, Option<SystemTime>, u64)>;

fn look(path: &Path) -> Look {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok(), metadata.ino()))
}

impl FileWatch {
    /// Watches `path`, whose content had this digest when it was loaded. `changed` gets the path and the new digest; while it runs
    /// nothing is looked at, and a panic in it ends the watch.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        path: impl Into<PathBuf>,
        loaded: Sha256,
        options: WatchOptions,
        changed: impl FnMut(&Path, Sha256) + Send + 'static,
    ) -> std::io::Result<Self> {
        let path = path.into();
        let (signals, signal) = mpsc::channel();
        let watcher = Watcher { path: path.clone(), options, loaded, changed };
        let name = "keylane-watch".to_owned();
        let thread = thread::Builder::new().name(name).spawn(move || watcher.run(&signal))?;
        Ok(Self { path, signals: Some(signals), thread: Some(thread) })
    }

    /// The file that is watched.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has the file read soon, whatever its size and time say. Never blocks.
    pub fn look_now(&self) {
        if let Some(signals) = &self.signals {
            // The watch may have ended by a panic.
            let _ = signals.send(());
        }
    }
}

impl Drop for FileWatch {
    /// Ends the watch; waits for a callback that is running, unless it is the one that drops the watch.
    fn drop(&mut self) {
        drop(self.signals.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

struct Watcher<F> {
    path: PathBuf,
    options: WatchOptions,
    loaded: Sha256,
    changed: F,
}

impl<F: FnMut(&Path, Sha256)> Watcher<F> {
    fn run(mut self, signal: &mpsc::Receiver<()>) {
        // The file may have changed between the load and this: it is read once in any case.
        let mut read: Option<Look> = None;
        let mut seen = look(&self.path);
        let mut since = Instant::now();
        loop {
            let pause =
                self.options.interval.min(self.options.debounce.max(Duration::from_millis(1)));
            match signal.recv_timeout(pause) {
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(()) => read = None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = look(&self.path);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            if seen.is_none() || read == Some(seen) || since.elapsed() < self.options.debounce {
                continue;
            }
            let contents =
                source_file::contents(&self.path, self.options.max_file_size, |_, _| Ok(()));
            // While it was read it may have been written to; then there is another look.
            read = (look(&self.path) == seen).then_some(seen);
            match contents {
                Ok((_, digest)) if digest != self.loaded && read.is_some() => {
                    self.loaded = digest;
                    (self.changed)(&self.path, digest);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(path = %self.path.display(), %error, "a watched plugin cannot be read")
                }
            }
        }
    }
}
