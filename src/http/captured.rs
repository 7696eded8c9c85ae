//! The request headers that somebody has asked for.

use std::sync::Arc;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use serde_core::ser::SerializeMap;
use serde_core::{Serialize, Serializer};

/// The headers of a request that [`EventLayer::capture`](crate::http::EventLayer::capture) named, and only those.
///
/// Of a header that is repeated it holds the first value.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    names: Arc<[HeaderName]>,
    /// One for each name; empty when the request has none of the headers.
    values: Box<[Option<HeaderValue>]>,
}

impl Captured {
    pub(crate) fn new(names: &Arc<[HeaderName]>, headers: &HeaderMap) -> Self {
        if names.is_empty() {
            return Self::default();
        }
        let values = names.iter().map(|name| headers.get(name).cloned()).collect();
        Self { names: names.clone(), values }
    }

    /// The value of a header; `None` when the request did not have it or nobody asked for it.
    #[must_use]
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        let place = self.names.iter().position(|known| known == name)?;
        self.values.get(place)?.as_ref()
    }

    /// The headers that the request has.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let pairs = self.names.iter().zip(&self.values);
        pairs.filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }
}

/// A map of strings; what is not UTF-8 in a value is replaced.
impl Serialize for Captured {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.iter() {
            map.serialize_entry(name.as_str(), &String::from_utf8_lossy(value.as_bytes()))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_first_value_of_what_was_asked_for() {
        let names: Arc<[HeaderName]> =
            [HeaderName::from_static("user-agent"), HeaderName::from_static("referer")].into();
        let mut headers = HeaderMap::new();
        headers.append("user-agent", HeaderValue::from_static("one"));
        headers.append("user-agent", HeaderValue::from_static("two"));
        headers.append("cookie", HeaderValue::from_static("secret"));
        let captured = Captured::new(&names, &headers);
        assert_eq!(captured.get(&names[0]).map(HeaderValue::as_bytes), Some(b"one".as_slice()));
        assert_eq!(captured.get(&names[1]), None);
        assert_eq!(captured.get(&HeaderName::from_static("cookie")), None);
        assert_eq!(serde_json::to_string(&captured).expect("a map"), r#"{"user-agent":"one"}"#);
        let nothing = Captured::new(&Arc::default(), &headers);
        assert_eq!(nothing.iter().count(), 0);
    }
}
