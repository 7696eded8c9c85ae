//! The error inside of a meta.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use serde_core::{Serialize, Serializer};

/// Any error, shared: cloning it copies a pointer.
///
/// It is made with `into()` or `from` out of any `Error + Send + Sync`, a boxed one, `&str` or
/// `String`. `{}` prints the error alone; `{:#}` prints it with its causes, `what: why: why`.
/// Serialised, it is the text of `{:#}`.
///
/// It is not itself an [`Error`], because then it could not be made out of every one; use
/// [`as_error`](Self::as_error) where one is asked for.
///
/// ```
/// use std::io;
/// use keylane::EventError;
///
/// let text: EventError = "no such host".into();
/// assert_eq!(text.to_string(), "no such host");
///
/// let error = EventError::from(io::Error::from(io::ErrorKind::TimedOut));
/// let io = error.as_error().downcast_ref::<io::Error>().expect("it was made from one");
/// assert_eq!(io.kind(), io::ErrorKind::TimedOut);
/// ```
#[derive(Clone)]
pub struct EventError(Arc<dyn Error + Send + Sync>);

/// How many causes `{:#}` prints: an error whose `source` leads back to itself must not hang the
/// thread that logs it.
const MAX_CAUSES: usize = 16;

impl EventError {
    /// The error that this was made from, to look at its `source` or to `downcast_ref` it.
    ///
    /// ```
    /// use keylane::EventError;
    ///
    /// let error = EventError::from("broken".parse::<u16>().unwrap_err());
    /// assert!(error.as_error().is::<std::num::ParseIntError>());
    /// ```
    #[must_use]
    pub fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for EventError {
    fn from(error: E) -> Self {
        EventError(Arc::from(error.into()))
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        if f.alternate() {
            let causes = std::iter::successors(self.0.source(), |&error| error.source());
            for cause in causes.take(MAX_CAUSES) {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

/// The `Debug` of the error that this was made from.
impl fmt::Debug for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A string: the error and its causes, as `{:#}` prints them.
impl Serialize for EventError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:#}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;

    use super::*;

    /// An error with a cause, which `io::Error` is not: it passes on the source of what it holds.
    #[derive(Debug)]
    pub(crate) struct Outer(pub(crate) io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot read the head")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    /// `cannot read the head: peer reset`
    pub(crate) fn two_level_error() -> EventError {
        Outer(io::Error::other("peer reset")).into()
    }

    #[derive(Debug)]
    struct Circle;

    impl fmt::Display for Circle {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("o")
        }
    }

    impl Error for Circle {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }

    #[test]
    fn is_made_from_errors_boxes_and_texts() {
        let boxed: Box<dyn Error + Send + Sync> = Box::new(io::Error::other("boxed"));
        let shared = Arc::new(io::Error::other("shared"));
        assert_eq!(EventError::from(io::Error::other("plain")).to_string(), "plain");
        assert_eq!(EventError::from(boxed).to_string(), "boxed");
        assert_eq!(EventError::from(shared).to_string(), "shared");
        assert_eq!(EventError::from("str").to_string(), "str");
        assert_eq!(EventError::from(String::from("string")).to_string(), "string");
    }

    #[test]
    fn only_the_alternate_form_prints_causes() {
        let error = two_level_error();
        assert_eq!(error.to_string(), "cannot read the head");
        assert_eq!(format!("{error:#}"), "cannot read the head: peer reset");
        assert_eq!(
            serde_json::to_string(&error).expect("a string"),
            r#""cannot read the head: peer reset""#
        );
    }

    #[test]
    fn the_concrete_error_is_found_again_in_every_clone() {
        let error = two_level_error();
        let clone = error.clone();
        drop(error);
        assert!(clone.as_error().is::<Outer>());
        assert!(clone.as_error().source().is_some_and(|source| source.is::<io::Error>()));
        assert!(format!("{clone:?}").starts_with("Outer("));
    }

    #[test]
    fn a_circle_of_causes_ends() {
        assert_eq!(format!("{:#}", EventError::from(Circle)), ["o"; 17].join(": "));
    }

    #[test]
    fn can_travel() {
        fn is_value<T: Send + Sync + fmt::Debug + Serialize + 'static>() {}
        is_value::<EventError>();
    }
}
