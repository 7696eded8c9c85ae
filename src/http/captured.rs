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
    /// `None` when nobody has asked for any.
    names: Option<Arc<[HeaderName]>>,
    /// One for each name.
    values: Box<[Option<HeaderValue>]>,
}

impl Captured {
    /// Those of `names` that a request has, in the memory of this one.
    pub(crate) fn renewed(mut self, names: &Arc<[HeaderName]>, headers: &HeaderMap) -> Self {
        if names.is_empty() {
            return Self::default();
        }
        if !self.names.as_ref().is_some_and(|before| Arc::ptr_eq(before, names)) {
            self =
                Self { names: Some(names.clone()), values: names.iter().map(|_| None).collect() };
        }
        for (value, name) in self.values.iter_mut().zip(&**names) {
            *value = headers.get(name).cloned();
        }
        self
    }

    fn names(&self) -> &[HeaderName] {
        self.names.as_deref().unwrap_or_default()
    }

    /// The value of a header; `None` when the request did not have it or nobody asked for it.
    #[must_use]
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        let place = self.names().iter().position(|known| known == name)?;
        self.values.get(place)?.as_ref()
    }

    /// The headers that the request has.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let pairs = self.names().iter().zip(&self.values);
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
        let captured = Captured::default().renewed(&names, &headers);
        assert_eq!(captured.get(&names[0]).map(HeaderValue::as_bytes), Some(b"one".as_slice()));
        assert_eq!(captured.get(&names[1]), None);
        assert_eq!(captured.get(&HeaderName::from_static("cookie")), None);
        assert_eq!(serde_json::to_string(&captured).expect("a map"), r#"{"user-agent":"one"}"#);
        let nothing = captured.renewed(&Arc::default(), &headers);
        assert_eq!(nothing.iter().count(), 0);
    }
}
