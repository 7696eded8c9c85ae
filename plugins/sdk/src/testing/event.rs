//! Events of a test, and their way into C structs.

use std::net::SocketAddr;

use keylane_plugin_abi as abi;
use serde_json::{Value as Json, json};

use crate::{EventType, Payload};

/// An event for a test.
#[derive(Debug, Clone)]
pub struct TestEvent {
    pub(super) kind: EventType,
    pub(super) key: Option<Vec<u8>>,
    pub(super) key_hash: Option<u64>,
    pub(super) value: TestValue,
    pub(super) wall_ns: Option<i64>,
    pub(super) hops: u8,
    pub(super) flags: u16,
}

/// What an event of a test carries.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TestValue {
    /// Something plain.
    Plain(Payload<'static>),
    /// The value of a predefined type.
    Meta(TestMeta),
    /// A value of the program's own type, which renders as this JSON.
    Opaque(Json),
}

/// The value of a predefined type, in the pieces that tests mostly want.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum TestMeta {
    CommonError {
        method: Option<String>,
        uri: Option<String>,
        err: String,
        addr: Option<SocketAddr>,
    },
    Certificate {
        host: String,
        cause: Option<String>,
        not_after_ns: i64,
    },
    FailedAuth {
        reason: u32,
        request_id: Option<String>,
        scheme: String,
        user: Option<String>,
        peer: Option<SocketAddr>,
    },
    Request {
        request_id: String,
        method: String,
        uri: String,
        user: Option<String>,
        addr: Option<SocketAddr>,
        request_type: u32,
    },
    FailedRequest {
        request_id: String,
        err: String,
    },
    Response {
        request_id: String,
        status_code: u32,
    },
    Traffic {
        id: String,
        addr: Option<SocketAddr>,
        read_bytes: u64,
        written_bytes: u64,
    },
}

impl TestEvent {
    /// An event without a key and without a value.
    #[must_use]
    pub fn new(kind: EventType) -> Self {
        let value = TestValue::Plain(Payload::None);
        Self { kind, key: None, key_hash: None, value, wall_ns: None, hops: 0, flags: 0 }
    }

    /// An event of the program's type `number`.
    #[must_use]
    pub fn user(number: u16) -> Self {
        Self::new(EventType::user(number))
    }

    /// A `START_REQUEST`.
    #[must_use]
    pub fn request(request_id: &str, method: &str, uri: &str) -> Self {
        Self::new(EventType::START_REQUEST).key(request_id).meta(TestMeta::Request {
            request_id: request_id.into(),
            method: method.into(),
            uri: uri.into(),
            user: None,
            addr: None,
            request_type: 0,
        })
    }

    /// A `FINISH_REQUEST`.
    #[must_use]
    pub fn response(request_id: &str, status_code: u32) -> Self {
        let meta = TestMeta::Response { request_id: request_id.into(), status_code };
        Self::new(EventType::FINISH_REQUEST).key(request_id).meta(meta)
    }

    /// A `FAILED_REQUEST`.
    #[must_use]
    pub fn failed_request(request_id: &str, err: &str) -> Self {
        let meta = TestMeta::FailedRequest { request_id: request_id.into(), err: err.into() };
        Self::new(EventType::FAILED_REQUEST).key(request_id).meta(meta)
    }

    /// A `TRAFFIC`.
    #[must_use]
    pub fn traffic(id: &str, read_bytes: u64, written_bytes: u64) -> Self {
        let meta = TestMeta::Traffic { id: id.into(), addr: None, read_bytes, written_bytes };
        Self::new(EventType::TRAFFIC).key(id).meta(meta)
    }

    /// With this key. The bytes do not travel, as on a real bus; their hash does.
    #[must_use]
    pub fn key(self, key: impl AsRef<[u8]>) -> Self {
        Self { key_hash: Some(seahash::hash(key.as_ref())), ..self }
    }

    /// With this key, whose bytes travel as well.
    #[must_use]
    pub fn key_with_bytes(self, key: impl AsRef<[u8]>) -> Self {
        Self { key: Some(key.as_ref().to_vec()), ..self.key(key) }
    }

    /// With this value.
    #[must_use]
    pub fn value(self, value: impl Into<Payload<'static>>) -> Self {
        Self { value: TestValue::Plain(value.into()), ..self }
    }

    /// With this JSON text as its value.
    #[must_use]
    pub fn json(self, json: Json) -> Self {
        Self { value: TestValue::Plain(Payload::Json(json.to_string().into())), ..self }
    }

    /// With a value that only the host can render.
    #[must_use]
    pub fn opaque(self, json: Json) -> Self {
        Self { value: TestValue::Opaque(json), ..self }
    }

    /// With this meta.
    #[must_use]
    pub fn meta(self, meta: TestMeta) -> Self {
        Self { value: TestValue::Meta(meta), ..self }
    }

    /// Emitted at this time, in nanoseconds since 1970. Without it, at the host's now.
    #[must_use]
    pub fn at(self, wall_ns: i64) -> Self {
        Self { wall_ns: Some(wall_ns), ..self }
    }

    /// With so many ancestors.
    #[must_use]
    pub fn hops(self, hops: u8) -> Self {
        Self { hops, ..self }
    }

    /// Given to an instance that failed before.
    #[must_use]
    pub fn redelivered(self) -> Self {
        Self { flags: self.flags | abi::event_flag::REDELIVERED, ..self }
    }

    /// The value as a real host renders it.
    pub(super) fn render(&self) -> Option<String> {
        Some(match &self.value {
            TestValue::Plain(payload) => match payload {
                Payload::None => "null".into(),
                Payload::Bool(value) => value.to_string(),
                Payload::I64(value) => value.to_string(),
                Payload::U64(value) => value.to_string(),
                Payload::F64(value) => Json::from(*value).to_string(),
                Payload::Str(value) => Json::from(value.as_ref()).to_string(),
                Payload::Bytes(value) => Json::from(value.as_ref()).to_string(),
                Payload::Json(value) => value.to_string(),
            },
            TestValue::Meta(meta) => meta.to_json().to_string(),
            TestValue::Opaque(json) => json.to_string(),
        })
    }
}

impl TestMeta {
    fn to_json(&self) -> Json {
        let text = |addr: &Option<SocketAddr>| addr.map(|addr| addr.to_string());
        match self {
            Self::CommonError { method, uri, err, addr } => {
                json!({"uri": uri, "method": method, "addr": text(addr), "err": err})
            }
            Self::Certificate { host, cause, .. } => json!({"host": host, "cause": cause}),
            Self::FailedAuth { request_id, scheme, user, peer, .. } => {
                json!({"request_id": request_id, "addr": text(peer), "scheme": scheme, "user": user})
            }
            Self::Request { request_id, method, uri, user, addr, request_type } => {
                let names = [(1, "tunneled"), (2, "tls"), (4, "upgraded")];
                let set: Vec<_> = names
                    .iter()
                    .filter(|(bit, _)| request_type & bit != 0)
                    .map(|(_, name)| name)
                    .collect();
                json!({"request_id": request_id, "method": method, "uri": uri, "user": user, "addr": text(addr),
                       "request_type": set})
            }
            Self::FailedRequest { request_id, err } => {
                json!({"request_id": request_id, "err": err})
            }
            Self::Response { request_id, status_code } => {
                json!({"request_id": request_id, "status_code": status_code})
            }
            Self::Traffic { id, addr, read_bytes, written_bytes } => {
                json!({"id": id, "addr": text(addr), "read_bytes": read_bytes, "written_bytes": written_bytes})
            }
        }
    }

    /// The meta as a C struct that borrows the texts of this one.
    pub(super) fn to_raw(&self, kind: EventType) -> RawMeta {
        use abi::event_type as id;

        let text = |text: &String| abi::Bytes::text(text);
        let optional = |text: &Option<String>| abi::Bytes::optional(text.as_deref());
        match self {
            Self::CommonError { method, uri, err, addr } => {
                RawMeta::CommonError(abi::MetaCommonError {
                    struct_size: size_of::<abi::MetaCommonError>() as u32,
                    meta_id: id::COMMON_ERROR,
                    method: optional(method),
                    uri: uri.as_deref().map(split).unwrap_or_default(),
                    err: text(err),
                    addr: (*addr).into(),
                })
            }
            Self::Certificate { host, cause, not_after_ns } => {
                RawMeta::Certificate(abi::MetaCertificate {
                    struct_size: size_of::<abi::MetaCertificate>() as u32,
                    meta_id: if kind == EventType::DROP_CERTIFICATE {
                        id::DROP_CERTIFICATE
                    } else {
                        id::NEW_CERTIFICATE
                    },
                    host: text(host),
                    cause: optional(cause),
                    not_after_ns: *not_after_ns,
                })
            }
            Self::FailedAuth { reason, request_id, scheme, user, peer } => {
                RawMeta::FailedAuth(abi::MetaFailedAuth {
                    struct_size: size_of::<abi::MetaFailedAuth>() as u32,
                    meta_id: id::FAILED_AUTH,
                    reason: *reason,
                    reserved: 0,
                    request_id: optional(request_id),
                    scheme: text(scheme),
                    user: optional(user),
                    peer: (*peer).into(),
                    client: (*peer).into(),
                })
            }
            Self::Request { request_id, method, uri, user, addr, request_type } => {
                RawMeta::Request(abi::MetaRequest {
                    struct_size: size_of::<abi::MetaRequest>() as u32,
                    meta_id: id::START_REQUEST,
                    request_type: *request_type,
                    reserved: 0,
                    request_id: text(request_id),
                    method: text(method),
                    uri: split(uri),
                    user: optional(user),
                    addr: (*addr).into(),
                })
            }
            Self::FailedRequest { request_id, err } => RawMeta::Error(abi::MetaError {
                struct_size: size_of::<abi::MetaError>() as u32,
                meta_id: id::FAILED_REQUEST,
                request_id: text(request_id),
                err: text(err),
            }),
            Self::Response { request_id, status_code } => RawMeta::Response(abi::MetaResponse {
                struct_size: size_of::<abi::MetaResponse>() as u32,
                meta_id: id::FINISH_REQUEST,
                status_code: *status_code,
                reserved: 0,
                request_id: text(request_id),
            }),
            Self::Traffic { id, addr, read_bytes, written_bytes } => {
                RawMeta::Traffic(abi::MetaTraffic {
                    struct_size: size_of::<abi::MetaTraffic>() as u32,
                    meta_id: abi::event_type::TRAFFIC,
                    id: text(id),
                    addr: (*addr).into(),
                    read_bytes: *read_bytes,
                    written_bytes: *written_bytes,
                })
            }
        }
    }
}

/// A meta as a C struct, somewhere to point to.
#[derive(Debug)]
pub(super) enum RawMeta {
    CommonError(abi::MetaCommonError),
    Certificate(abi::MetaCertificate),
    FailedAuth(abi::MetaFailedAuth),
    Request(abi::MetaRequest),
    Error(abi::MetaError),
    Response(abi::MetaResponse),
    Traffic(abi::MetaTraffic),
}

impl RawMeta {
    /// Where the struct is, and its size.
    pub(super) fn place(&self) -> (*const std::ffi::c_void, u32) {
        fn of<T>(meta: &T) -> (*const std::ffi::c_void, u32) {
            (std::ptr::from_ref(meta).cast(), size_of::<T>() as u32)
        }
        match self {
            Self::CommonError(meta) => of(meta),
            Self::Certificate(meta) => of(meta),
            Self::FailedAuth(meta) => of(meta),
            Self::Request(meta) => of(meta),
            Self::Error(meta) => of(meta),
            Self::Response(meta) => of(meta),
            Self::Traffic(meta) => of(meta),
        }
    }
}

/// A URI in pieces, good enough for tests.
fn split(uri: &str) -> abi::Uri {
    let (scheme, rest) = match uri.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, uri),
    };
    let path = if scheme.is_some() { rest.find(['/', '?']).unwrap_or(rest.len()) } else { 0 };
    let (authority, path) = rest.split_at(path);
    let present = |text| abi::Bytes::optional(Some(text).filter(|text: &&str| !text.is_empty()));
    abi::Uri {
        scheme: abi::Bytes::optional(scheme),
        authority: present(authority),
        path_and_query: present(path),
    }
}
