//! The predefined metas as C structs.

use keylane_plugin_abi::{self as abi, Addr, Bytes, event_type, value_kind};

use super::{Arena, Convert, meta_event};
use crate::event::{CommonErrorMeta, ErrorMeta, RequestMeta, ResponseMeta, TrafficMeta};
use crate::event::{RequestType, Value};

/// A URI in the pieces that it is stored in.
fn uri(uri: &http::Uri) -> abi::Uri {
    abi::Uri {
        scheme: Bytes::optional(uri.scheme_str()),
        authority: Bytes::optional(uri.authority().map(|authority| authority.as_str())),
        path_and_query: Bytes::optional(uri.path_and_query().map(|path| path.as_str())),
    }
}

/// Defines a conversion of a meta: the struct's fields, from the meta and an arena for texts.
macro_rules! meta {
    ($name:ident, $from:ty, $to:ident, $id:ident, |$meta:ident, $arena:ident| { $($field:ident: $value:expr),* $(,)? }) => {
        fn $name(value: &Value, event: &mut abi::Event, $arena: &mut Arena) {
            let Some($meta) = value.get::<$from>() else { return };
            let meta = abi::$to {
                struct_size: size_of::<abi::$to>() as u32,
                meta_id: event_type::$id,
                $($field: $value,)*
            };
            meta_event(event, $arena.store(meta));
        }
    };
}

/// `KEYLANE_REQUEST_*` are the bits of `RequestType`.
pub(super) const _BITS: () = {
    assert!(RequestType::TUNNELED.bits() as u32 == abi::request_type::TUNNELED);
    assert!(RequestType::TLS.bits() as u32 == abi::request_type::TLS);
    assert!(RequestType::UPGRADED.bits() as u32 == abi::request_type::UPGRADED);
    assert!(value_kind::META == 8);
};

meta!(common_error, CommonErrorMeta, MetaCommonError, COMMON_ERROR, |meta, arena| {
    method: Bytes::optional(meta.method.as_ref().map(|method| method.as_str())),
    uri: meta.uri.as_ref().map_or(abi::Uri::default(), uri),
    err: arena.text(format_args!("{:#}", meta.err)),
    addr: Addr::from(meta.addr),
});

meta!(request, RequestMeta, MetaRequest, START_REQUEST, |meta, _arena| {
    request_type: meta.request_type.bits().into(),
    reserved: 0,
    request_id: Bytes::text(&meta.request_id),
    method: Bytes::text(meta.method.as_str()),
    uri: uri(&meta.uri),
    user: Bytes::optional(meta.user.as_deref()),
    addr: Addr::from(meta.addr),
});

meta!(error, ErrorMeta, MetaError, FAILED_REQUEST, |meta, arena| {
    request_id: Bytes::text(&meta.request_id),
    err: arena.text(format_args!("{:#}", meta.err)),
});

meta!(response, ResponseMeta, MetaResponse, FINISH_REQUEST, |meta, _arena| {
    status_code: meta.status_code.as_u16().into(),
    reserved: 0,
    request_id: Bytes::text(&meta.request_id),
});

meta!(traffic, TrafficMeta, MetaTraffic, TRAFFIC, |meta, _arena| {
    id: Bytes::text(&meta.id),
    addr: Addr::from(meta.addr),
    read_bytes: meta.read_bytes,
    written_bytes: meta.written_bytes,
});

/// What the HTTP layer sends with the same types.
#[cfg(feature = "http")]
mod layer {
    use super::*;
    use crate::http::{AuthFailed, AuthFailure, Failed, Finished, Started, Traffic};

    meta!(started, Started, MetaRequest, START_REQUEST, |meta, arena| {
        request_type: meta.request.request_type().bits().into(),
        reserved: 0,
        request_id: arena.text(meta.request.id()),
        method: Bytes::text(meta.request.method().as_str()),
        uri: uri(meta.request.uri()),
        user: meta.request.user().map_or(Bytes::ABSENT, |user| arena.bytes(user.as_bytes())),
        addr: Addr::from(meta.request.peer()),
    });

    meta!(failed, Failed, MetaError, FAILED_REQUEST, |meta, arena| {
        request_id: arena.text(meta.request.id()),
        err: arena.text(meta.text()),
    });

    meta!(finished, Finished, MetaResponse, FINISH_REQUEST, |meta, arena| {
        status_code: meta.status.as_u16().into(),
        reserved: 0,
        request_id: arena.text(meta.request.id()),
    });

    meta!(traffic, Traffic, MetaTraffic, TRAFFIC, |meta, arena| {
        id: arena.text(meta.id),
        addr: Addr::from(meta.addr),
        read_bytes: meta.read_bytes,
        written_bytes: meta.written_bytes,
    });

    meta!(auth_failed, AuthFailed, MetaFailedAuth, FAILED_AUTH, |meta, arena| {
        reason: match meta.reason {
            AuthFailure::Missing => abi::auth_reason::MISSING,
            AuthFailure::OtherScheme => abi::auth_reason::OTHER_SCHEME,
            AuthFailure::Malformed => abi::auth_reason::MALFORMED,
            AuthFailure::Rejected { .. } => abi::auth_reason::REJECTED,
        },
        reserved: 0,
        request_id: meta.request_id.map_or(Bytes::ABSENT, |id| arena.text(id)),
        scheme: Bytes::text(meta.scheme),
        user: Bytes::optional(meta.user()),
        peer: Addr::from(meta.peer),
        client: meta.client.map_or(Addr::ABSENT, |client| Addr::new(client.ip, client.port)),
    });

    pub(super) fn all() -> Vec<(std::any::TypeId, Convert)> {
        use std::any::TypeId;
        vec![
            (TypeId::of::<Started>(), Convert::Native(started)),
            (TypeId::of::<Failed>(), Convert::Native(failed)),
            (TypeId::of::<Finished>(), Convert::Native(finished)),
            (TypeId::of::<Traffic>(), Convert::Native(traffic)),
            (TypeId::of::<AuthFailed>(), Convert::Native(auth_failed)),
        ]
    }
}

/// The conversions of all metas.
pub(super) fn all() -> Vec<(std::any::TypeId, Convert)> {
    use std::any::TypeId;
    let core = [
        (TypeId::of::<CommonErrorMeta>(), Convert::Native(common_error)),
        (TypeId::of::<RequestMeta>(), Convert::Native(request)),
        (TypeId::of::<ErrorMeta>(), Convert::Native(error)),
        (TypeId::of::<ResponseMeta>(), Convert::Native(response)),
        (TypeId::of::<TrafficMeta>(), Convert::Native(traffic)),
    ];
    #[cfg(feature = "http")]
    return core.into_iter().chain(layer::all()).collect();
    #[cfg(not(feature = "http"))]
    core.into()
}
