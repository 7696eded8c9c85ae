use super::*;

fn mistakes(text: &str) -> String {
    parse("keylane.toml", text).expect_err("something is wrong").to_string()
}

#[test]
fn an_empty_file_says_nothing() {
    let config = parse("keylane.toml", "").expect("nothing is wrong");
    assert!(config.bus.shards.is_none() && config.serve.listen.is_none());
    parse("keylane.toml", "[bus]\n[serve]\n[access_log]\n[events]\n[run]\n")
        .expect("nothing is wrong");
}

#[test]
fn the_example_names_every_key_with_its_default() {
    let text = include_str!("../../../../keylane.example.toml");
    let config = parse("keylane.example.toml", text).expect("the example is right");
    assert!(config.bus.shards.is_none(), "what is commented out is not read");
    // With the comment signs taken from its settings it is right too, and says everything.
    let settings: String = text
        .lines()
        .map(|line| line.strip_prefix("#:").unwrap_or(line).to_owned() + "\n")
        .collect();
    let Config { bus, events, run, serve, access_log, plugins } =
        parse("keylane.example.toml", &settings).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(bus.shards.is_some() && bus.capacity.is_some() && bus.wait.is_some());
    assert!(bus.processors.is_some() && bus.drain_timeout.is_some());
    assert!(events.max_event.is_some() && events.max_types.is_some() && events.in_flight.is_some());
    assert!(run.producers.is_some() && run.top.is_some() && run.strict.is_some());
    assert!(serve.listen.is_some() && serve.max_body.is_some() && serve.patience.is_some());
    assert!(serve.header_timeout.is_some() && serve.body_timeout.is_some());
    assert!(serve.drain_delay.is_some() && serve.trusted_proxies.is_some());
    assert!(serve.trust_request_id.is_some());
    assert!(access_log.to.is_some() && access_log.format.is_some() && access_log.mask.is_some());
    assert!(plugins.trust.is_some() && plugins.reload.is_some() && !plugins.sha256.is_empty());
    assert!(plugins.max_libraries.is_some() && plugins.log.is_some());
    let [plugin] = plugins.all.as_slice() else { panic!("one, not {plugins:?}") };
    assert!(plugin.name.is_some() && plugin.id.is_some() && plugin.config.is_some());
    assert!(plugin.events.is_some() && plugin.sha256.is_some());
}

#[test]
fn plugins_are_read() {
    let config = parse(
        "keylane.toml",
        r#"
        [plugins]
        trust = "any"
        [[plugin]]
        path = "a.so"
        config = { limit = 10, deep = [{ x = 1.5, y = true }], at = 2026-01-01 }
        [[plugin]]
        path = "b.so"
        config = ' {"limit": 18446744073709551615} '
        events = ["order.paid"]
        "#,
    )
    .expect("nothing is wrong");
    assert_eq!(config.plugins.trust, Some(Trust::Any));
    let [a, b] = config.plugins.all.as_slice() else { panic!("two") };
    assert_eq!(
        a.config.as_deref(),
        Some(r#"{"at":"2026-01-01","deep":[{"x":1.5,"y":true}],"limit":10}"#)
    );
    assert_eq!(b.config.as_deref(), Some(r#"{"limit": 18446744073709551615}"#));
    assert_eq!(b.events, Some(vec!["order.paid".to_owned()]));
}

#[test]
fn what_is_wrong_with_a_plugin_is_said_at_its_place() {
    for (text, said) in [
        ("[[plugin]]\nname = \"a\"", "keylane.toml:2:1: plugin.path is missing: write path ="),
        ("[[plugin]]", "plugin.path is missing"),
        ("[[plugin]]\npath = \"\"", "plugin.path = \"\": empty; write the path of a library"),
        (
            "[plugin]\npath = \"a\"",
            "plugin = a table: not a list of tables; write each as [[plugin]]",
        ),
        ("plugin = [1]", "plugin = 1: not a table; write each as [[plugin]]"),
        ("[[plugin]]\npath = \"a\"\nconfig = \"[]\"", "JSON, but no object"),
        ("[[plugin]]\npath = \"a\"\nconfig = \"{\"", "no JSON object such as"),
        ("[[plugin]]\npath = \"a\"\nconfig = 3", "plugin.config = 3: write a table"),
        ("[[plugin]]\npath = \"a\"\nconfig = { x = nan }", "JSON has no such number"),
        ("[[plugin]]\npath = \"a\"\nsha256 = \"ab\"", "64 hexadecimal digits, this has 2"),
        ("[[plugin]]\npath = \"a\"\nevent = []", "did you mean events?"),
        ("[plugins]\ntrust = \"all\"", "write owned (files of root and of this user) or any"),
        ("[plugins]\nlog = \"loud\"", "no such level; write off, error"),
        ("[plugins]\nmax_libraries = 0", "write an integer from 1 to 100000"),
    ] {
        let all = mistakes(text);
        assert!(all.contains(said), "{text}: {all}");
    }
}

#[test]
fn values_are_read() {
    let config = parse(
        "keylane.toml",
        r#"
        [bus]
        shards = 3
        capacity = 0x100
        processors = ["count", "ndjson=out.ndjson"]
        drain_timeout = "1.5s"
        [events]
        max_event = 4_096
        in_flight = "1 GiB"
        [serve]
        listen = "[::1]:0"
        trusted_proxies = ["10.0.0.0/8", "::1"]
        [access_log]
        to = "access.log"
        mask = ["4xx", "5xx"]
        "#,
    )
    .expect("nothing is wrong");
    assert_eq!((config.bus.shards, config.bus.capacity), (Some(3), Some(256)));
    assert_eq!(config.bus.processors, Some(vec![Spec::Count, Spec::Ndjson("out.ndjson".into())]));
    assert_eq!(config.bus.drain_timeout, Some(Duration::from_millis(1500)));
    assert_eq!((config.events.max_event, config.events.in_flight), (Some(4096), Some(1 << 30)));
    assert_eq!(config.serve.listen, Some("[::1]:0".parse().unwrap()));
    let proxies = config.serve.trusted_proxies.expect("two");
    assert!(proxies.contains([10, 1, 1, 1].into()) && proxies.contains("::1".parse().unwrap()));
    assert_eq!(config.access_log.to, Some(LogTarget::File("access.log".into())));
    assert_eq!(config.access_log.mask, Some(StatusMask::ERRORS));
}

#[test]
fn unknown_keys_are_refused_with_the_line_and_a_suggestion() {
    assert_eq!(
        mistakes("[bus]\nshard = 2\n\n[serv]\nlisten = 1\n"),
        "keylane.toml:2:1: bus.shard: there is no such key; did you mean shards?\n\
         keylane.toml:4:2: serv: there is no such section; did you mean serve?"
    );
    assert_eq!(
        mistakes("[run]\nxyz = 2\n"),
        "keylane.toml:2:1: run.xyz: there is no such key; [run] has producers, top, strict"
    );
    assert_eq!(
        mistakes("shards = 2\n"),
        "keylane.toml:1:1: shards: there is no such section; there are [bus], [events], [run], [serve], [access_log], [plugins], [plugin]"
    );
}

#[test]
fn every_value_is_checked() {
    for (line, said) in [
        ("shards = 0", "bus.shards = 0: write an integer from 1 to 1024"),
        ("shards = -1", "bus.shards = -1: write an integer from 1 to 1024"),
        ("shards = \"2\"", "bus.shards = \"2\": write an integer from 1 to 1024"),
        ("shards = 99999999999999999999", "bus.shards = 99999999999999999999: write an integer"),
        ("capacity = 1000", "bus.capacity = 1000: not a power of two; write 1024"),
        ("capacity = 0", "bus.capacity = 0: not a power of two; write 1"),
        ("capacity = 2097152", "bus.capacity = 2097152: write a power of two up to 1048576"),
        (
            "wait = \"spin\"",
            "bus.wait = \"spin\": no such strategy; write busy-spin, adaptive, park or sleeping",
        ),
        ("processors = \"count\"", "bus.processors = \"count\": write an array of texts"),
        ("processors = [\"ndjson=\"]", "bus.processors = \"ndjson=\": ndjson= needs a path"),
        ("processors = [1]", "bus.processors = 1: write a text in quotes"),
        ("drain_timeout = 10", "bus.drain_timeout = 10: write a time with its unit"),
        (
            "drain_timeout = \"10\"",
            "bus.drain_timeout = \"10\": without a unit; write it as \"10s\"",
        ),
    ] {
        let all = mistakes(&format!("[bus]\n{line}\n"));
        assert!(all.starts_with("keylane.toml:2:") && all.contains(said), "{line}: {all}");
    }
    for (text, said) in [
        ("[events]\nmax_event = \"2 GiB\"", "write a size up to 1 GiB"),
        ("[events]\nmax_types = 70000", "write an integer from 1 to 65280"),
        ("[serve]\nlisten = \"localhost\"", "not an address; write it as 127.0.0.1:8080"),
        ("[serve]\ntrusted_proxies = [\"10.0.0.0/33\"]", "not a network"),
        ("[serve]\ntrusted_proxies = [\"\"]", "not a network"),
        ("[serve]\ntrust_request_id = 1", "write true or false"),
        ("[access_log]\nformat = \"comon\"", "no preset and without a directive"),
        ("[access_log]\nformat = \"{uri}\\n{uri}\"", "cannot have a line end"),
        ("[access_log]\nmask = [\"6xx\"]", "write all, errors, none, or 1xx to 5xx"),
        ("[access_log]\nmask = []", "write a text in quotes"),
        ("[access_log]\nto = \"\"", "write stdout, stderr, none, or the path of a file"),
        ("bus = 1", "bus = 1: not a table; write it as [bus]"),
        ("[[bus]]", "not a table"),
    ] {
        let all = mistakes(text);
        assert!(all.contains(said), "{text}: {all}");
    }
}

#[test]
fn what_is_not_toml_is_refused_at_its_place() {
    assert!(mistakes("[bus]\nshards = \n").starts_with("keylane.toml:2:"));
    assert!(
        mistakes("[bus]\nshards = 1\nshards = 2\n")
            .starts_with("keylane.toml:3:1: not TOML: duplicate key")
    );
    assert!(mistakes("[bus").starts_with("keylane.toml:1:"));
    assert!(mistakes(&"[".repeat(100_000)).starts_with("keylane.toml:1:"));
    let nested = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(mistakes(&nested).starts_with("keylane.toml:1:"));
}

#[test]
fn what_a_message_shows_cannot_act_on_a_terminal() {
    let all = mistakes("[bus]\n\"\\u001b[2J\" = 1\nwait = \"\\u001b]0;x\\u0007\"\n");
    assert!(!all.contains('\x1b') && all.contains("\\u{1b}[2J"), "{all}");
}
