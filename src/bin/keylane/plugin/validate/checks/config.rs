//! Configurations: the right one, and others.

use keylane_plugin_abi::Status;
use serde_json::{Map, Value, json};

use super::{Subject, Talk};
use crate::plugin::raw::{Answer, Desk, Library};

pub(super) fn run(subject: &Subject, talk: &Talk) {
    let Some(library) = subject.library(talk) else { return };
    talk.step("check_config with the configuration");
    match library.check_config(&subject.config) {
        Some(answer) if answer.status != Status::OK => {
            return talk.fail(format!("check_config refuses {}: {answer}", subject.config));
        }
        Some(_) => {}
        None => talk.warn(
            "it has no check_config: a wrong configuration shows only when an instance is created",
        ),
    }
    let right: Map<String, Value> = serde_json::from_str(&subject.config).unwrap_or_default();
    if !try_one(&library, &subject.config, "the configuration", talk) {
        return talk.fail(format!("create refuses the configuration {}", subject.config));
    }
    let mut unknown = right.clone();
    unknown.insert("keylane-validate: no such member".into(), json!(1));
    if try_one(&library, &Value::Object(unknown).to_string(), "one member too many", talk) {
        talk.warn("it takes a configuration with a member that it cannot know; a misspelt one would be ignored");
    }
    // Each member in turn with a value that it cannot mean.
    let odd = [
        json!(null),
        json!(-1),
        json!(1e308),
        json!("x".repeat(100_000)),
        json!({"a": [1]}),
        json!([[[]]]),
        json!(true),
        json!(""),
    ];
    for name in right.keys().take(20) {
        for value in &odd {
            let mut wrong = right.clone();
            wrong.insert(name.clone(), value.clone());
            // Paths that are odd are not to be made.
            if value.is_string() && right[name].is_string() {
                check_only(
                    &library,
                    &Value::Object(wrong).to_string(),
                    &format!("an odd text for {name}"),
                    talk,
                );
            } else {
                try_one(
                    &library,
                    &Value::Object(wrong).to_string(),
                    &format!("{} for {name}", short(value)),
                    talk,
                );
            }
        }
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    check_only(&library, &deep, "a configuration that is nested 5,000 deep", talk);
    check_only(&library, "{\"a\":1,\"a\":2}", "a member that is there twice", talk);
    check_only(&library, " { } ", "an empty configuration", talk);
    check_only(&library, "{\"\\u0000\":\"\\ud83e\\udd80\"}", "a member called NUL", talk);
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.len() > 40 { format!("{} bytes of text", text.len()) } else { text }
}

/// Whether the plugin takes it, as far as it says before it creates anything.
fn check_only(library: &Library, config: &str, what: &str, talk: &Talk) -> Option<Answer> {
    talk.step(format!("check_config with {what}"));
    let answer = library.check_config(config)?;
    if answer.status == Status::E_PANIC {
        talk.fail(format!("check_config panics at {what}: {answer}"));
    } else if answer.status != Status::OK && answer.message.is_empty() {
        talk.warn(format!("check_config refuses {what} without a word"));
    }
    Some(answer)
}

/// Whether it takes it and creates an instance.
fn try_one(library: &Library, config: &str, what: &str, talk: &Talk) -> bool {
    let checked = check_only(library, config, what, talk);
    let desk = Desk::new(0);
    talk.step(format!("create with {what}"));
    let created = match library.create(&desk, config, (0, 1)) {
        Ok(instance) => {
            talk.step(format!("destroy what was created with {what}"));
            drop(instance);
            true
        }
        Err(answer) => {
            if answer.status == Status::E_PANIC {
                talk.fail(format!("create panics at {what}: {answer}"));
            }
            if answer.status == Status::E_ABI {
                talk.fail(format!("create with {what}: {answer}"));
            }
            false
        }
    };
    match checked {
        Some(answer) if answer.status == Status::OK && !created => {
            talk.warn(format!("check_config takes {what}, and create refuses it"));
        }
        Some(answer) if answer.status != Status::OK && created => {
            talk.warn(format!("check_config refuses {what}, and create takes it"));
        }
        _ => {}
    }
    created
}
