//! Requests that are wrong in one way each, and some that are right: `tests/corpus/cloudevents`.
//!
//! A file has the expected answer (`expect: STATUS TEXT`), header lines, a blank line, and the body as it is.

use std::fs;
use std::path::PathBuf;

use crate::client::{exchange, request};
use crate::server::Server;

struct Case {
    name: String,
    status: u16,
    text: String,
    headers: Vec<Vec<u8>>,
    body: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/cloudevents");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let bytes = fs::read(&path).expect("a file");
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let end = bytes.windows(2).position(|two| two == b"\n\n").expect("a blank line");
            let (head, body) = (&bytes[..end], &bytes[end + 2..]);
            let mut lines = head.split(|&byte| byte == b'\n');
            let expected =
                String::from_utf8(lines.next().expect("a line").to_vec()).expect("UTF-8");
            let expected = expected.strip_prefix("expect: ").expect("expect: first");
            let (status, text) = expected.split_once(' ').expect("a status and a text");
            Case {
                name,
                status: status.parse().expect("a status"),
                text: text.to_owned(),
                headers: lines.map(<[u8]>::to_vec).collect(),
                body: body.to_vec(),
            }
        })
        .collect()
}

#[test]
fn each_is_answered_as_it_deserves() {
    let server = Server::start(&["-p", "noop"]);
    let (mut accepted, mut wrong) = (0, Vec::new());
    let cases = cases();
    assert!(cases.len() > 100, "only {} cases", cases.len());
    for Case { name, status, text, headers, body } in &cases {
        let headers: Vec<_> = headers.iter().map(Vec::as_slice).collect();
        let answer = exchange(server.address, &request("POST", "/events", &headers, body));
        let (detail, content_type) = match answer.status {
            202 => {
                accepted += answer.json()["accepted"].as_u64().expect("a count");
                (answer.body.clone(), "application/json")
            }
            _ => {
                assert_eq!(answer.json()["accepted"], 0, "{name}");
                assert_eq!(answer.json()["status"], answer.status, "{name}");
                let json = answer.json();
                (json["detail"].as_str().expect("a text").to_owned(), "application/problem+json")
            }
        };
        let harmless = !answer.body.trim_end().chars().any(char::is_control);
        if answer.status != *status || !detail.contains(text.as_str()) || !harmless {
            wrong.push(format!("{name}: {} {detail}\n  not {status} {text}", answer.status));
        }
        assert_eq!(answer.header("content-type"), Some(content_type), "{name}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{name}");
        assert_eq!(answer.header("accept").is_some(), *status == 415, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let ended = server.stop().expect(0);
    ended.says(&format!("events {accepted} accepted, 0 refused because the bus was full"));
    ended.says("lost nothing");
}
