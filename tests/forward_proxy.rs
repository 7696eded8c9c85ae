//! The example `forward_proxy`, driven by the real curl: every predefined type of event arrives.

// What only the example's own `main` uses.
#[allow(dead_code)]
#[path = "../examples/forward_proxy.rs"]
mod example;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use keylane::http::{CertificateAuthority, CertificateStore, Secrets};
use keylane::{Bus, EventType, NoopProcessorFactory};
use tokio::net::TcpListener;

/// Runs curl behind the proxy.
async fn curl(arguments: Vec<String>) -> Output {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--noproxy", ""]).args(arguments);
    tokio::task::spawn_blocking(move || command.output().expect("curl runs"))
        .await
        .expect("no panic")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

struct TempFile(PathBuf);

impl TempFile {
    fn with(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keylane-{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("a temporary file can be written");
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_meets_every_predefined_event() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("skipped: curl is not installed");
        return;
    }
    let tally = example::Tally::default();
    let bus = Bus::builder().shards(2).processor("tally", tally.factory()).build().expect("valid");
    // The servers' own events are not those of the proxy.
    let elsewhere = Bus::builder().shards(1).processor("noop", NoopProcessorFactory).build();
    let elsewhere = elsewhere.expect("valid");
    let servers = CertificateAuthority::generate("servers").expect("an authority");
    let server_store = CertificateStore::new(&elsewhere, servers);
    let roots = example::trusted(server_store.authority().certificate_pem()).expect("valid");
    let (plain, _plain) = example::upstream(&elsewhere, None).await.expect("it starts");
    let (secure, _secure) =
        example::upstream(&elsewhere, Some(&server_store)).await.expect("it starts");

    let authority = CertificateAuthority::generate("proxy").expect("an authority");
    let ca = TempFile::with("ca.pem", authority.certificate_pem());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let users = Secrets::new([("alice", "sesame")]);
    let proxy = example::start(listener, &bus, users, authority, roots).expect("it starts");
    let through =
        |password: &str| vec!["-x".into(), format!("http://alice:{password}@{}", proxy.addr)];
    let with = |more: &[&str]| {
        let mut arguments = through("sesame");
        arguments.extend(more.iter().map(|argument| argument.to_string()));
        arguments
    };
    let ca_path = ca.0.to_str().expect("UTF-8");
    let status = ["-o", "-", "-w", "\n%{http_code} %{http_connect}"];

    // Plain HTTP, with a body.
    let url = format!("http://{plain}/hello?x=1");
    let output = curl(with(&["--data", "some body", &url])).await;
    assert_eq!(text(&output), "POST /hello\nsome body");

    // A wrong password, for HTTP and for a tunnel.
    let mut wrong = through("guess");
    wrong.extend(status.map(String::from));
    let output = curl([wrong.clone(), vec![url.clone()]].concat()).await;
    assert!(text(&output).ends_with("407 000"), "{}", text(&output));
    assert!(text(&output).contains("the credentials are wrong"), "{}", text(&output));
    let secure_url = format!("https://{secure}/secret");
    let output = curl([wrong, vec![secure_url.clone()]].concat()).await;
    assert!(text(&output).contains("407"), "{}", text(&output));

    // Through a tunnel, with a certificate that the proxy has made: by address, without a name in the hello, and twice.
    for _ in 0..2 {
        let output = curl(with(&["--cacert", ca_path, &secure_url])).await;
        assert_eq!(text(&output), "GET /secret\n");
    }
    // By name.
    let by_name = format!("https://localhost:{}/by-name", secure.port());
    let output = curl(with(&["--cacert", ca_path, &by_name])).await;
    assert_eq!(text(&output), "GET /by-name\n");

    // A client that does not trust the proxy.
    let output = curl(with(&[&secure_url])).await;
    assert!(!output.status.success() && text(&output).contains("certificate"), "{}", text(&output));

    // A server that is not there.
    let output = curl(with(&[&status[..], &["http://127.0.0.1:1/"]].concat())).await;
    assert!(text(&output).contains("the server cannot be reached"), "{}", text(&output));
    assert!(text(&output).ends_with("502 000"), "{}", text(&output));

    // The proxy asked as if it were a server.
    let direct = format!("http://{}/", proxy.addr);
    let output = curl(vec!["--proxy-user".into(), "alice:sesame".into(), direct]).await;
    assert!(text(&output).contains("send credentials of the scheme Basic"), "{}", text(&output));

    proxy.end(Duration::from_secs(60)).await;
    let report = bus.shutdown_async(Duration::from_secs(60)).await;
    assert!(report.is_clean() && report.faulted == 0, "{report}");
    let counts = tally.counts();
    for kind in example::PREDEFINED {
        assert!(counts.contains_key(&kind), "no {kind}: {counts:?}");
    }
    let count = |kind| counts.get(&kind).copied().unwrap_or(0);
    // 127.0.0.1 once, although three came for it, and localhost.
    assert_eq!(count(EventType::NEW_CERTIFICATE), 2, "{counts:?}");
    assert_eq!(count(EventType::DROP_CERTIFICATE), 2, "{counts:?}");
    assert_eq!(count(EventType::FAILED_AUTH), 3, "{counts:?}");
    let ends = count(EventType::FINISH_REQUEST) + count(EventType::FAILED_REQUEST);
    assert_eq!(count(EventType::START_REQUEST), ends, "{counts:?}");
}
