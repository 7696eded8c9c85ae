//! The same path with other contents behind it, and what watches it.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use keylane::Bus;
use keylane::plugin::{FileWatch, PluginHost, Sha256, WatchOptions};

use crate::plugin_support::{Folder, KIND, builder, count, eventually, good_library, host};
use crate::support::within;

/// Runs a bus over what the path leads to now. Returns the version that the plugin says.
#[track_caller]
fn version_at(host: &PluginHost, path: &Path) -> String {
    let plugin = host.load(path).expect("it loads");
    let bus = Bus::builder()
        .shards(1)
        .processor("it", plugin.processor("{}").expect("a factory"))
        .build()
        .expect("a bus");
    bus.emitter().emit_blocking(KIND, 1_u64, "key").expect("open");
    assert_eq!(bus.shutdown(Duration::from_secs(60)).processed, 1);
    // The number that its code has, not only its descriptor.
    assert_eq!(plugin.version(), format!("{}.0.0", count(host, "it", "version")));
    plugin.version().to_owned()
}

#[test]
fn a_new_file_at_the_same_path_is_the_new_code() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        let first = folder.build("1.so", &["VERSION=\"1.0.0\""]);
        let second = folder.build("2.so", &["VERSION=\"2.0.0\""]);
        let third = folder.build("3.so", &["VERSION=\"3.0.0\""]);
        let path = folder.path("plugin.so");

        std::fs::copy(&first, &path).expect("a copy");
        let bus = {
            let plugin = host.load(&path).expect("it loads");
            Bus::builder()
                .shards(1)
                .processor("old", plugin.processor("{}").expect("a factory"))
                .build()
                .expect("a bus")
        };
        assert_eq!(version_at(&host, &path), "1.0.0");
        // By rename.
        let fresh = folder.path("fresh.so");
        std::fs::copy(&second, &fresh).expect("a copy");
        std::fs::rename(&fresh, &path).expect("a rename");
        assert_eq!(version_at(&host, &path), "2.0.0");
        // In place, under the feet of whoever had mapped it.
        std::fs::write(&path, std::fs::read(&third).expect("built")).expect("in place");
        assert_eq!(version_at(&host, &path), "3.0.0");
        // By a link.
        let link = folder.path("link.so");
        std::os::unix::fs::symlink(&first, &link).expect("a link");
        assert_eq!(version_at(&host, &link), "1.0.0");
        std::fs::remove_file(&link).expect("a link");
        std::os::unix::fs::symlink(&second, &link).expect("a link");
        assert_eq!(version_at(&host, &link), "2.0.0");
        // Truncated under a running instance, and gone.
        std::fs::write(&path, "").expect("in place");
        std::fs::remove_file(&path).expect("a file");
        for number in 0..100_u64 {
            bus.emitter().emit_blocking(KIND, number, "key").expect("open");
        }
        assert!(bus.shutdown(Duration::from_secs(60)).is_clean(), "the first one runs on");
        assert_eq!(count(&host, "old", "events"), 100);
        assert_eq!(host.stats().resident_libraries, 3, "the same bytes are one library");
        assert_eq!(host.stats().loaded, 6);
    });
}

#[test]
fn what_is_swapped_in_after_the_check_is_not_loaded() {
    within(60, || {
        // The host reads a file once. Whatever is at the path afterwards, what was listed is what runs.
        let folder = Folder::new();
        let good = folder.build("good.so", &["VERSION=\"1.0.0\""]);
        let evil = folder.build("evil.so", &["VERSION=\"6.0.0\""]);
        let digest = Sha256::of(&std::fs::read(&good).expect("built"));
        let policy = keylane::plugin::TrustPolicy::owned().allow(digest);
        let host = PluginHost::builder().allow_loading(policy).build().expect("a thread");
        let path = folder.path("plugin.so");
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut turn = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let fresh = folder.path("fresh.so");
                    std::fs::copy(if turn % 2 == 0 { &good } else { &evil }, &fresh)
                        .expect("a copy");
                    std::fs::rename(&fresh, &path).expect("a rename");
                    turn += 1;
                }
            });
            let (mut loaded, mut refused) = (0, 0);
            while loaded < 50 || refused < 50 {
                match host.load(&path) {
                    Ok(plugin) => {
                        assert_eq!((plugin.version(), plugin.sha256()), ("1.0.0", digest));
                        loaded += 1;
                    }
                    Err(error) => {
                        assert!(
                            ["digest_not_allowed", "open"].contains(&error.kind().name()),
                            "{error}"
                        );
                        refused += 1;
                    }
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(host.stats().resident_libraries, 1);
    });
}

#[test]
fn the_number_of_libraries_has_a_limit_of_its_own() {
    within(60, || {
        let folder = Folder::new();
        let host = builder().max_libraries(2).build().expect("a thread");
        for version in 1..=2 {
            let define = format!("VERSION=\"{version}.0.0\"");
            host.load(folder.build(&format!("{version}.so"), &[&define])).expect("it loads");
        }
        let error =
            host.load(folder.build("3.so", &["VERSION=\"3.0.0\""])).expect_err("one too many");
        assert_eq!(error.kind().name(), "too_many_generations");
        let text = error.to_string();
        assert!(text.contains("2 libraries are loaded and 2 may be"), "{text}");
        assert!(text.contains("restart the program"), "{text}");
        host.load(folder.path("1.so")).expect("those that are loaded can be had again");
        let stats = host.stats();
        assert_eq!((stats.resident_libraries, stats.max_libraries), (2, 2));
        let size = |name: &str| std::fs::metadata(folder.path(name)).expect("built").len();
        assert_eq!(stats.resident_bytes, size("1.so") + size("2.so"));
    });
}

#[test]
fn a_plugin_that_must_not_be_reloaded_is_not() {
    within(60, || {
        for note in [None, Some("NO_MANIFEST")] {
            let (host, folder) = (host(), Folder::new());
            let mut defines = vec!["FLAGS=KEYLANE_F_NO_RELOAD"];
            defines.extend(note);
            host.load(folder.build("1.so", &defines)).expect("it loads");
            host.load(folder.path("1.so")).expect("the same is not loaded again");
            defines.push("VERSION=\"2.0.0\"");
            let error = host.load(folder.build("2.so", &defines)).expect_err("another one");
            assert_eq!(error.kind().name(), "no_reload");
            assert!(
                error.to_string().contains("\"org.example.fixture\" is loaded already"),
                "{error}"
            );
        }
    });
}

#[test]
fn two_instances_of_the_same_bytes_are_apart() {
    within(60, || {
        let host = host();
        let plugin = host.load(good_library()).expect("it loads");
        let bus = Bus::builder()
            .shards(2)
            .processor("a", plugin.processor("{}").expect("a factory"))
            .processor("b", plugin.processor("{}").expect("a factory"))
            .build()
            .expect("a bus");
        for number in 0..100_u64 {
            bus.emitter().emit_blocking(KIND, number, number).expect("open");
        }
        assert!(bus.shutdown(Duration::from_secs(60)).is_clean());
        assert_eq!((count(&host, "a", "sum"), count(&host, "b", "sum")), (4950, 4950));
    });
}

#[test]
fn a_watch_tells_of_other_contents_once_they_are_complete() {
    within(60, || {
        let folder = Folder::new();
        let path = folder.path("watched");
        std::fs::write(&path, "one").expect("a file");
        // Writing a file anew empties it first. On a loaded machine the test may be held up right there, and a content that stays
        // for as long as this is told.
        let debounce = Duration::from_millis(400);
        let options = WatchOptions::default().interval(Duration::from_millis(5)).debounce(debounce);
        let (sender, told) = mpsc::channel();
        let watch = FileWatch::start(&path, Sha256::of(b"one"), options, move |_, digest| {
            sender.send(digest).expect("the test listens");
        })
        .expect("a thread");
        // Touched, and written anew with the same content: nothing to tell.
        std::fs::write(&path, "one").expect("a file");
        // In pieces: only the whole is told.
        std::fs::write(&path, "t").expect("a file");
        std::fs::write(&path, "tw").expect("a file");
        std::fs::write(&path, "two").expect("a file");
        assert_eq!(told.recv(), Ok(Sha256::of(b"two")));
        // Written anew with the same content, and given the time to be told by mistake.
        std::fs::write(&path, "two").expect("a file");
        watch.look_now();
        std::thread::sleep(2 * debounce);
        assert!(told.try_recv().is_err(), "it is no other content");
        // By rename, and by a link.
        std::fs::write(folder.path("fresh"), "three").expect("a file");
        std::fs::rename(folder.path("fresh"), &path).expect("a rename");
        assert_eq!(told.recv(), Ok(Sha256::of(b"three")));
        std::fs::write(folder.path("four"), "four").expect("a file");
        std::fs::remove_file(&path).expect("a file");
        std::os::unix::fs::symlink(folder.path("four"), &path).expect("a link");
        assert_eq!(told.recv(), Ok(Sha256::of(b"four")));
        watch.look_now();
        std::fs::write(folder.path("four"), "five").expect("a file");
        assert_eq!(told.recv(), Ok(Sha256::of(b"five")));
        drop(watch);
        assert!(told.try_recv().is_err(), "each content was told once");
    });
}

#[test]
fn copies_of_processes_that_crashed_are_removed() {
    within(60, || {
        let folder = Folder::new();
        // No process has this number: it is above what the kernel gives.
        let (dead, alive) =
            (folder.path("keylane-plugins-4194305-0-0"), folder.path("keylane-plugins-1-0-0"));
        let other = folder.path("keylane-plugins-mine");
        for path in [&dead, &alive, &other] {
            std::fs::create_dir(path).expect("a folder");
            std::fs::write(path.join("x.so"), "x").expect("a file");
        }
        let host = builder().copy_folder(&folder.0).build().expect("a thread");
        host.load(good_library()).expect("it loads");
        assert!(!dead.exists() && alive.exists() && other.exists());
        let own = |entry: &std::fs::DirEntry| {
            entry.file_name().to_string_lossy().contains(&std::process::id().to_string())
        };
        let copies =
            || std::fs::read_dir(&folder.0).expect("a folder").flatten().filter(own).count();
        assert_eq!(copies(), 1);
        drop(host);
        eventually("its own are removed", || copies() == 0);
    });
}
