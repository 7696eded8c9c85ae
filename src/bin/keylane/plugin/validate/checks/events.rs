//! Every kind of value, alone and together; and events that nobody expects.

use super::delivery::{Fate, end, give};
use super::{Subject, Talk};
use crate::plugin::raw::{Desk, Sample};

pub(super) fn run(subject: &Subject, talk: &Talk) {
    let Some(library) = subject.library(talk) else { return };
    let desk = Desk::new(keylane_plugin_abi::log::TRACE);
    let mut instance = match library.create(&desk, &subject.config, (0, 1)) {
        Ok(instance) => instance,
        Err(answer) => return subject.not_created(talk, &answer),
    };
    let (values, odd) = (Sample::values(), Sample::odd());
    for sample in values.iter().chain(&odd) {
        talk.step(format!("process a batch of one event: {}", sample.what));
        if give(&mut instance, &desk, std::slice::from_ref(sample), talk) == Fate::Gone {
            talk.step("destroy an instance that gave itself up");
            drop(instance);
            talk.step("create another one in its place");
            instance = match library.create(&desk, &subject.config, (0, 1)) {
                Ok(instance) => instance,
                Err(answer) => return subject.not_created(talk, &answer),
            };
        }
    }
    talk.step("process one batch of all kinds of values");
    if give(&mut instance, &desk, &values, talk) == Fate::Stays {
        end(instance, talk);
    }
}
