//! Libraries whose interface is not what the ABI demands: each wrong field and each missing pointer is named, with both values.

use keylane::plugin::{LoadErrorKind, PluginError};

use crate::plugin_support::{Folder, KIND, builder, count, host, idle_bus, refused, works};
use crate::support::within;

/// Builds the fixture with each of these definitions, and expects the kind and the parts of the text.
#[track_caller]
fn all_refused(cases: &[(&[&str], &str, &[&str])]) {
    let (host, folder) = (host(), Folder::new());
    for (number, (defines, kind, parts)) in cases.iter().enumerate() {
        let path = folder.build(&format!("case-{number}.so"), defines);
        let text = refused(&host, &path, kind);
        for part in *parts {
            assert!(text.contains(part), "{defines:?}: {text:?} lacks {part:?}");
        }
    }
}

#[test]
fn each_field_of_the_entry_is_checked() {
    within(120, || {
        all_refused(&[
            (
                &["MAGIC=0x1234"],
                "abi",
                &["entry.magic is 0x0000000000001234", "expected is 0x31454e414c59454b"],
            ),
            (&["ENTRY_SIZE=40"], "abi", &["entry.struct_size is 40", "expected is 48 or more"]),
            (&["ENTRY_SIZE=0"], "abi", &["entry.struct_size is 0"]),
            (&["ABI_VERSION=0x20003"], "abi", &["entry.abi_version is 2.3", "expected is 1.x"]),
            (&["ABI_VERSION=0"], "abi", &["entry.abi_version is 0.0"]),
            (&["LAYOUT=0x42"], "abi", &["entry.layout is 0x0000000000000042", "expected is 0x"]),
        ]);
    });
}

#[test]
fn each_required_pointer_is_checked() {
    within(120, || {
        all_refused(&[
            (&["NULL_GET_FACTORY"], "null_pointer", &["entry.get_factory is null"]),
            (
                &["FACTORY_NULL"],
                "null_pointer",
                &["get_factory(\"keylane.processor-factory/1\") is null"],
            ),
            (&["NULL_COUNT"], "null_pointer", &["factory.count is null"]),
            (&["NULL_DESCRIPTOR"], "null_pointer", &["factory.descriptor is null"]),
            (&["NULL_CREATE"], "null_pointer", &["factory.create is null"]),
        ]);
    });
}

#[test]
fn factory_and_descriptors_are_checked() {
    within(120, || {
        all_refused(&[
            (&["FACTORY_SIZE=16"], "abi", &["factory.struct_size is 16", "expected is 40 or more"]),
            (&["COUNT=0", "NO_MANIFEST"], "abi", &["factory.count() is 0", "expected is 1 to 256"]),
            (&["COUNT=257", "NO_MANIFEST"], "abi", &["factory.count() is 257"]),
            (
                &["COUNT=2"],
                "abi",
                &["descriptor(1).id is \"org.example.fixture\"", "than that of descriptor(0)"],
            ),
            (&["DESCRIPTOR_NULL"], "abi", &["descriptor(0) is null"]),
            (
                &["DESCRIPTOR_SIZE=80"],
                "abi",
                &["descriptor(0).struct_size is 80", "expected is 88 or more"],
            ),
            (&["DESCRIPTOR_ID=0"], "abi", &["descriptor(0).id is null", "1 to 63 of a-z"]),
            (&["DESCRIPTOR_ID=\"Not An Id\""], "abi", &["descriptor(0).id is \"Not An Id\""]),
            (&["DESCRIPTOR_ID=\"\\x1b[2J\""], "abi", &["descriptor(0).id is \"\\u{1b}[2J\""]),
            (&["DESCRIPTOR_ID=\"\\xff\""], "abi", &["descriptor(0).id is \"\\xff\"", "UTF-8"]),
            (
                &["DESCRIPTOR_VERSION=0"],
                "abi",
                &["descriptor(0).version is null", "1 to 31 characters"],
            ),
            (&["DESCRIPTOR_VERSION=\"\""], "abi", &["descriptor(0).version is \"\""]),
        ]);
    });
}

#[test]
fn what_fails_while_it_is_loaded_is_named() {
    within(120, || {
        all_refused(&[
            (&["UNRESOLVED"], "dlopen", &["the dynamic loader refuses it", "nobody_defines_this"]),
            (
                &["INIT_FAILS=KEYLANE_E_NOMEM"],
                "init",
                &["its init returned E_NOMEM: no such database"],
            ),
            (&["INIT_FAILS=KEYLANE_E_ABI"], "init", &["E_ABI: no such database"]),
            (&["INIT_FAILS=55"], "init", &["unknown status (55): no such database"]),
        ]);
    });
}

#[test]
fn an_init_that_hangs_does_not_hang_the_host() {
    within(60, || {
        let folder = Folder::new();
        let hangs = folder.build("hangs.so", &["INIT_HANGS"]);
        let host =
            builder().patience(std::time::Duration::from_millis(300)).build().expect("a thread");
        let error = host.load(&hangs).expect_err("it hangs");
        assert!(matches!(error.kind(), LoadErrorKind::Timeout { .. }), "{error}");
        assert!(error.to_string().contains("was not loaded within 300ms"), "{error}");
    });
}

#[test]
fn each_failure_to_create_an_instance_is_named_and_changes_nothing() {
    within(120, || {
        let (host, folder) = (host(), Folder::new());
        let bus = idle_bus(2, "it");
        for (number, (defines, parts)) in [
            (
                ["CREATE_FAILS=KEYLANE_E_FATAL"],
                ["create returned E_FATAL: no licence", "org.example.fixture"],
            ),
            (
                ["CREATE_FAILS=KEYLANE_E_PANIC"],
                ["create returned E_PANIC: no licence", "org.example.fixture"],
            ),
            (
                ["CREATE_FAILS=KEYLANE_E_CONFIG"],
                ["refuses its configuration: no licence", "org.example.fixture"],
            ),
            (
                ["CREATE_FAILS=77"],
                ["create returned unknown status (77): no licence", "nothing was changed"],
            ),
            (["CREATE_NULL"], ["the instance that create returned is null", "nothing was changed"]),
            (
                ["CREATE_SAME"],
                ["which is that of another instance", "expected is an instance of its own"],
            ),
            (["CREATE_FAILS_ON_SHARD=1"], ["create returned E_NOMEM", "nothing was changed"]),
            (["PROCESSOR_SIZE=64"], ["processor.struct_size is 64", "expected is 72 or more"]),
            (["NULL_PROCESS"], ["processor.process is null", "the ABI requires it"]),
            (["NULL_DESTROY"], ["processor.destroy is null", "the ABI requires it"]),
            (
                ["NULL_SAVE"],
                ["processor.save_state (of a stateful plugin) is null", "nothing was changed"],
            ),
            (
                ["NULL_LOAD"],
                ["processor.load_state (of a stateful plugin) is null", "nothing was changed"],
            ),
        ]
        .iter()
        .enumerate()
        {
            let plugin =
                host.load(folder.build(&format!("case-{number}.so"), defines)).expect("it loads");
            let factory = plugin.processor("{}").expect("a factory");
            let text = bus.replace_processor("it", factory).expect_err("no instance").to_string();
            for part in parts {
                assert!(text.contains(part), "{defines:?}: {text:?} lacks {part:?}");
            }
            let bus = keylane::Bus::builder().shards(2);
            let error = bus.processor("new", plugin.processor("{}").expect("a factory")).build();
            assert!(error.is_err(), "{defines:?}");
        }
        bus.emitter().emit_blocking(KIND, 1_u64, "key").expect("open");
        assert_eq!(bus.shutdown(std::time::Duration::from_secs(60)).processed, 1);
        works(&host);
        assert!(host.settle(std::time::Duration::from_secs(60)));
        let stats = host.stats();
        let left = stats.created - stats.destroyed;
        assert_eq!(
            left, 2,
            "only those without a destroy stay, even what was created for other shards goes"
        );
    });
}

#[test]
fn a_create_that_hangs_is_left_behind() {
    within(60, || {
        let folder = Folder::new();
        let host =
            builder().patience(std::time::Duration::from_millis(300)).build().expect("a thread");
        let plugin = host.load(folder.build("hangs.so", &["CREATE_HANGS"])).expect("it loads");
        let bus = idle_bus(1, "it");
        let error = bus
            .replace_processor("it", plugin.processor("{}").expect("a factory"))
            .expect_err("it hangs");
        assert!(error.to_string().contains("did not return within 300ms"), "{error}");
        assert!(bus.shutdown(std::time::Duration::from_secs(60)).is_clean());
        // Another thread does the work now.
        let good = host.load(crate::plugin_support::good_library()).expect("it loads");
        good.processor("{}").expect("a factory");
    });
}

#[test]
fn configurations_are_checked_before_anything_is_created() {
    let host = host();
    let plugin = host.load(crate::plugin_support::good_library()).expect("it loads");
    for (config, part) in [
        ("", "EOF while parsing"),
        ("{", "EOF while parsing"),
        ("[1]", "it is `[1]`"),
        ("\"text\"", "it is `\"text\"`"),
        ("{} trailing", "trailing characters"),
    ] {
        let error = plugin.processor(config).expect_err("no object");
        assert!(matches!(error, PluginError::ConfigJson { .. }), "{error}");
        assert!(error.to_string().contains(part), "{config:?}: {error}");
    }
    let error = plugin.processor(" {\"bad\":true} ").expect_err("refused");
    assert_eq!(
        error.to_string(),
        "plugin \"org.example.fixture\" refuses its configuration: bad must not be true"
    );
    let error = plugin.processor_with_id("org.example.other", "{}").expect_err("no such id");
    assert!(
        error
            .to_string()
            .contains("no processor \"org.example.other\"; it makes \"org.example.fixture\"")
    );
    plugin.processor_with_id("org.example.fixture", "{\"bad\":false}").expect("a factory");
}

#[test]
fn other_minor_versions_load() {
    within(60, || {
        let (host, folder) = (host(), Folder::new());
        for (name, defines) in [
            ("newer.so", ["NEWER"].as_slice()),
            ("optional.so", &["NULL_OPTIONAL", "NULL_INIT", "NULL_CHECK_CONFIG"]),
        ] {
            let plugin = host.load(folder.build(name, defines)).expect("it loads");
            let bus = keylane::Bus::builder()
                .shards(1)
                .processor(name, plugin.processor("{}").expect("a factory"))
                .build()
                .expect("a bus");
            for number in 0..10_u64 {
                bus.emitter().emit_blocking(KIND, number, "key").expect("open");
            }
            assert!(bus.shutdown(std::time::Duration::from_secs(60)).is_clean());
            assert_eq!(count(&host, name, "sum"), 45);
        }
    });
}
