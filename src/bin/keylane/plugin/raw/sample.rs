//! Events of every kind, as C structs.

use keylane_plugin_abi::{self as abi, Bytes, event_type as id, value_kind};

use super::pages::Pages;

/// An event that a check sends.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) what: String,
    pub(crate) type_id: u32,
    pub(crate) value: Value,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) hops: u8,
    pub(crate) flags: u16,
}

/// What it carries.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A kind whose value is a number, also of kinds that nobody knows.
    Word(u8, u64),
    /// A kind whose value is bytes.
    Bytes(u8, Vec<u8>),
    /// A kind whose value is bytes, but none, at no address.
    Nowhere(u8),
    /// The meta of the type, with everything in it or with all that may be absent absent.
    Meta { full: bool },
}

const TEXT: &str = "a \u{e4} \u{1f980} \"text\"\n";
const JSON: &str =
    r#"{"type":"order.paid","key":"order-17","data":{"amount":12.5,"n":[1,2,null,true,"\u0000"]}}"#;

impl Sample {
    pub(crate) fn new(what: impl Into<String>, type_id: u32, value: Value) -> Self {
        Self { what: what.into(), type_id, value, key: None, hops: 0, flags: 0 }
    }

    fn user(what: &str, value: Value) -> Self {
        Self::new(what, id::USER_BASE, value)
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.as_bytes().to_vec());
        self
    }

    /// One of every kind of value, with what lies at the edges of each.
    pub(crate) fn values() -> Vec<Self> {
        use value_kind as kind;
        let bytes = |kind, bytes: &[u8]| Value::Bytes(kind, bytes.to_vec());
        let mut all = vec![
            Self::user("no value", Value::Word(kind::NONE, 0)),
            Self::user("BOOL true", Value::Word(kind::BOOL, 1)),
            Self::user("BOOL false", Value::Word(kind::BOOL, 0)),
            Self::user("I64 smallest", Value::Word(kind::I64, i64::MIN as u64)),
            Self::user("I64 largest", Value::Word(kind::I64, i64::MAX as u64)),
            Self::user("U64 0", Value::Word(kind::U64, 0)),
            Self::user("U64 largest", Value::Word(kind::U64, u64::MAX)),
            Self::user("F64 NaN", Value::Word(kind::F64, f64::NAN.to_bits())),
            Self::user("F64 infinite", Value::Word(kind::F64, f64::NEG_INFINITY.to_bits())),
            Self::user("F64 1.5", Value::Word(kind::F64, 1.5_f64.to_bits())),
            Self::user("UTF8 text", bytes(kind::UTF8, TEXT.as_bytes())),
            Self::user("UTF8 with NUL", bytes(kind::UTF8, b"a\0b")),
            Self::user("UTF8 empty", bytes(kind::UTF8, b"")),
            Self::user("UTF8 empty at NULL", Value::Nowhere(kind::UTF8)),
            Self::user("BYTES all 256", bytes(kind::BYTES, &(0..=255).collect::<Vec<u8>>())),
            Self::user("BYTES empty at NULL", Value::Nowhere(kind::BYTES)),
            Self::user("JSON object", bytes(kind::JSON, JSON.as_bytes())),
            Self::user("JSON number", bytes(kind::JSON, b"-1.5e300")),
            Self::user("JSON null", bytes(kind::JSON, b"null")),
            Self::user("JSON nested 200 deep", bytes(kind::JSON, nested(200).as_bytes())),
            Self::user("OPAQUE", Value::Word(kind::OPAQUE, 0xdead)),
        ];
        for full in [true, false] {
            let how = if full { "complete" } else { "with all absent that may be" };
            for (type_id, name) in METAS {
                all.push(Self::new(format!("META {name}, {how}"), type_id, Value::Meta { full }));
            }
        }
        for (place, sample) in all.iter_mut().enumerate().filter(|(place, _)| place % 3 != 0) {
            sample.key = Some(format!("key-{}", place % 5).into_bytes());
        }
        all
    }

    /// What a later minor of the ABI may bring, and what is unusual.
    pub(crate) fn odd() -> Vec<Self> {
        use value_kind as kind;
        let number = |type_id: u32| {
            Self::new(format!("type {type_id}"), type_id, Value::Word(kind::U64, 7)).key("k")
        };
        let mut all: Vec<_> =
            [9, 42, 255, 256, 65_535, 65_536, u32::MAX].into_iter().map(number).collect();
        for unknown in [10_u8, 99, 255] {
            let what = format!("value kind {unknown}, which is unknown");
            all.push(Self::user(&what, Value::Word(unknown, u64::MAX)));
        }
        all.push(
            Self::user("UTF8 of 16 MiB", Value::Bytes(kind::UTF8, vec![b'x'; 16 << 20])).key("k"),
        );
        all.push(Self::user("a key of 64 KiB", Value::Word(kind::U64, 1)).key(&"k".repeat(65_536)));
        all.push(Self::user("an empty key", Value::Word(kind::U64, 1)).key(""));
        all.push(Self { hops: 255, ..Self::user("255 hops", Value::Word(kind::U64, 1)) });
        all.push(Self { flags: !1, ..Self::user("all flags", Value::Word(kind::U64, 1)) });
        all.push(Self::new(
            "START_REQUEST without a meta",
            id::START_REQUEST,
            Value::Word(kind::NONE, 0),
        ));
        all.push(Self::new("TRAFFIC with a number", id::TRAFFIC, Value::Word(kind::U64, u64::MAX)));
        all
    }

    /// The same as an event of another type, which has its meta if it is a predefined one; `None` for one that has a meta of its own.
    pub(super) fn turned_into(&self, type_id: u32) -> Option<Self> {
        if matches!(self.value, Value::Meta { .. }) {
            return None;
        }
        let predefined = METAS.iter().any(|(known, _)| *known == type_id);
        let value = if predefined { Value::Meta { full: true } } else { self.value.clone() };
        Some(Self { type_id, value, ..self.clone() })
    }

    /// How many bytes of pages it takes at most, beside its struct.
    pub(super) fn cost(&self) -> usize {
        let value = match &self.value {
            Value::Bytes(_, bytes) => Pages::cost(bytes.len()),
            Value::Meta { .. } => 4096,
            Value::Word(..) | Value::Nowhere(_) => 0,
        };
        value + self.key.as_ref().map_or(0, |key| Pages::cost(key.len()))
    }

    /// The value as other hosts would render it.
    pub(crate) fn rendered(&self) -> String {
        match &self.value {
            Value::Bytes(kind, bytes) if *kind == value_kind::JSON => {
                String::from_utf8_lossy(bytes).into_owned()
            }
            Value::Bytes(_, bytes) => {
                serde_json::Value::from(String::from_utf8_lossy(bytes)).to_string()
            }
            _ => r#"{"rendered":true}"#.to_owned(),
        }
    }

    /// Writes what the event leads to into the pages, and gives its struct.
    pub(super) fn place(
        &self,
        pages: &mut Pages,
        seq: u64,
        wall_ns: i64,
        mono_ns: u64,
    ) -> abi::Event {
        let (value_kind, value_len, value) = match &self.value {
            Value::Word(kind, word) => (*kind, 0, abi::Value { u64: *word }),
            Value::Nowhere(kind) => (*kind, 0, abi::Value { ptr: std::ptr::null() }),
            Value::Bytes(kind, bytes) => {
                let ptr = pages.put(bytes).cast();
                (*kind, bytes.len() as u32, abi::Value { ptr })
            }
            Value::Meta { full } => {
                let (ptr, size) = meta(self.type_id, *full, pages);
                (value_kind::META, size, abi::Value { ptr })
            }
        };
        let key = self.key.as_deref();
        let keyed = if key.is_some() { abi::event_flag::KEYED } else { 0 };
        abi::Event {
            type_id: self.type_id,
            value_kind,
            hops: self.hops,
            flags: self.flags | keyed,
            key_len: key.map_or(0, |key| key.len() as u32),
            value_len,
            seq,
            wall_ns,
            mono_ns,
            key_hash: key.map_or(seq, hash),
            key: key.map_or(std::ptr::null(), |key| pages.put(key)),
            value,
        }
    }
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// FNV-1a: any hash will do.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

const METAS: [(u32, &str); 8] = [
    (id::COMMON_ERROR, "COMMON_ERROR"),
    (id::NEW_CERTIFICATE, "NEW_CERTIFICATE"),
    (id::DROP_CERTIFICATE, "DROP_CERTIFICATE"),
    (id::FAILED_AUTH, "FAILED_AUTH"),
    (id::START_REQUEST, "START_REQUEST"),
    (id::FAILED_REQUEST, "FAILED_REQUEST"),
    (id::FINISH_REQUEST, "FINISH_REQUEST"),
    (id::TRAFFIC, "TRAFFIC"),
];

/// The meta of a predefined type: its place and its size.
fn meta(type_id: u32, full: bool, pages: &mut Pages) -> (*const std::ffi::c_void, u32) {
    let text =
        |pages: &mut Pages, text: &str| Bytes { ptr: pages.put(text.as_bytes()), len: text.len() };
    let absent = Bytes { ptr: std::ptr::null(), len: 0 };
    let optional = |pages: &mut Pages, text: &str| {
        if full { Bytes { ptr: pages.put(text.as_bytes()), len: text.len() } } else { absent }
    };
    let addr = if full {
        abi::Addr::new(std::net::IpAddr::from([192, 0, 2, 7]), Some(443))
    } else {
        abi::Addr::ABSENT
    };
    let uri = abi::Uri {
        scheme: optional(pages, "https"),
        authority: optional(pages, "example.org"),
        path_and_query: text(pages, "/a?b=%00"),
    };
    macro_rules! put {
        ($type:ident { $($field:ident: $value:expr),* $(,)? }) => {{
            let meta = abi::$type {
                struct_size: size_of::<abi::$type>() as u32,
                meta_id: type_id,
                $($field: $value),*
            };
            (pages.put_value(meta).cast(), size_of::<abi::$type>() as u32)
        }};
    }
    match type_id {
        id::COMMON_ERROR => put!(MetaCommonError {
            method: optional(pages, "GET"),
            uri: uri,
            err: text(pages, "a: reason"),
            addr: addr,
        }),
        id::NEW_CERTIFICATE | id::DROP_CERTIFICATE => put!(MetaCertificate {
            host: text(pages, "example.org"),
            cause: optional(pages, "expired"),
            not_after_ns: if full { i64::MAX } else { 0 },
        }),
        id::FAILED_AUTH => put!(MetaFailedAuth {
            reason: abi::auth_reason::REJECTED,
            reserved: 0,
            request_id: optional(pages, "r-1"),
            scheme: text(pages, "basic"),
            user: optional(pages, "eve"),
            peer: addr,
            client: addr,
        }),
        id::START_REQUEST => put!(MetaRequest {
            request_type: if full { u32::MAX } else { 0 },
            reserved: 0,
            request_id: text(pages, "r-1"),
            method: text(pages, "GET"),
            uri: uri,
            user: optional(pages, "eve"),
            addr: addr,
        }),
        id::FAILED_REQUEST => put!(MetaError {
            request_id: text(pages, "r-1"),
            err: text(pages, "the client has gone"),
        }),
        id::FINISH_REQUEST => put!(MetaResponse {
            status_code: if full { 599 } else { 0 },
            reserved: 0,
            request_id: text(pages, "r-1"),
        }),
        _ => put!(MetaTraffic {
            id: text(pages, "c-1"),
            addr: addr,
            read_bytes: if full { u64::MAX } else { 0 },
            written_bytes: 1,
        }),
    }
}
