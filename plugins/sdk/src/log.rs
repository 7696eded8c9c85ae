//! Lines for the host's log.

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
    Trace = 5,
}

/// Writes a line of a level to the host's log: `log!(cx, Level::Info, "{} keys", n)`. Nothing is formatted when nobody listens.
#[macro_export]
macro_rules! log {
    ($cx:expr, $level:expr, $($message:tt)+) => {{
        let (cx, level): (&$crate::Cx<'_>, $crate::Level) = (&$cx, $level);
        if cx.log_enabled(level) {
            cx.log(level, module_path!(), file!(), line!(), format_args!($($message)+));
        }
    }};
}

/// Writes an error to the host's log: `error!(cx, "cannot write {path}: {error}")`.
#[macro_export]
macro_rules! error {
    ($cx:expr, $($message:tt)+) => { $crate::log!($cx, $crate::Level::Error, $($message)+) };
}

/// Writes a warning to the host's log.
#[macro_export]
macro_rules! warn {
    ($cx:expr, $($message:tt)+) => { $crate::log!($cx, $crate::Level::Warn, $($message)+) };
}

/// Writes a line to the host's log.
#[macro_export]
macro_rules! info {
    ($cx:expr, $($message:tt)+) => { $crate::log!($cx, $crate::Level::Info, $($message)+) };
}

/// Writes a line for debugging to the host's log.
#[macro_export]
macro_rules! debug {
    ($cx:expr, $($message:tt)+) => { $crate::log!($cx, $crate::Level::Debug, $($message)+) };
}

/// Writes a line for tracing to the host's log.
#[macro_export]
macro_rules! trace {
    ($cx:expr, $($message:tt)+) => { $crate::log!($cx, $crate::Level::Trace, $($message)+) };
}
