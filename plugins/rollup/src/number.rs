//! The number in an event's value.

use keylane_plugin::meta::Meta;
use keylane_plugin::{Event, Value};

/// The number to sum up: the value itself, what the pointer finds in a JSON value, or the bytes of a `TRAFFIC`. `None` when there is none,
/// or none that is finite.
pub(crate) fn of(event: &Event<'_>, pointer: &str) -> Option<f64> {
    let number = match event.value() {
        Value::Json(json) => {
            let value: serde_json::Value = serde_json::from_str(json).ok()?;
            value.pointer(pointer)?.as_f64()
        }
        Value::Meta(Meta::Traffic(traffic)) => {
            Some(traffic.read_bytes as f64 + traffic.written_bytes as f64)
        }
        _ => event.as_f64(),
    };
    number.filter(|number| number.is_finite())
}
