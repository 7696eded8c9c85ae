//! The values of the predefined types.

use crate::{Addr, Bytes};

/// What every meta begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// The code of the type that the meta belongs to.
    pub meta_id: u32,
}

/// A URI in pieces: scheme, `://`, authority, path and query, each only if it is there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Uri {
    /// `https`.
    pub scheme: Bytes,
    /// `user:password@host:port`.
    pub authority: Bytes,
    /// `/path?query`.
    pub path_and_query: Bytes,
}

/// `KEYLANE_REQUEST_*`.
pub mod request_type {
    /// Through a tunnel opened with CONNECT.
    pub const TUNNELED: u32 = 1;
    /// Over TLS.
    pub const TLS: u32 = 2;
    /// The connection left HTTP.
    pub const UPGRADED: u32 = 4;
}

/// `KEYLANE_AUTH_*`.
pub mod auth_reason {
    /// There were no credentials.
    pub const MISSING: u32 = 1;
    /// The credentials are of another scheme.
    pub const OTHER_SCHEME: u32 = 2;
    /// The credentials cannot be read.
    pub const MALFORMED: u32 = 3;
    /// The credentials are wrong.
    pub const REJECTED: u32 = 4;
}

/// Of `COMMON_ERROR`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MetaCommonError {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// `COMMON_ERROR`.
    pub meta_id: u32,
    /// May be absent.
    pub method: Bytes,
    /// May be absent.
    pub uri: Uri,
    /// The error with its causes.
    pub err: Bytes,
    /// The peer.
    pub addr: Addr,
}

/// Of `NEW_CERTIFICATE` and `DROP_CERTIFICATE`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MetaCertificate {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// One of the two types.
    pub meta_id: u32,
    /// What the certificate is for.
    pub host: Bytes,
    /// Why it was dropped.
    pub cause: Bytes,
    /// The end of its validity, or 0.
    pub not_after_ns: i64,
}

/// Of `FAILED_AUTH`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MetaFailedAuth {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// `FAILED_AUTH`.
    pub meta_id: u32,
    /// `auth_reason`.
    pub reason: u32,
    /// 0.
    pub reserved: u32,
    /// May be absent.
    pub request_id: Bytes,
    /// The scheme that was asked for.
    pub scheme: Bytes,
    /// Who the client claims to be.
    pub user: Bytes,
    /// The other end of the connection.
    pub peer: Addr,
    /// The client that trusted proxies name, or the peer.
    pub client: Addr,
}

/// Of `START_REQUEST`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MetaRequest {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// `START_REQUEST`.
    pub meta_id: u32,
    /// `request_type`.
    pub request_type: u32,
    /// 0.
    pub reserved: u32,
    /// The request's id.
    pub request_id: Bytes,
    /// The method.
    pub method: Bytes,
    /// What was asked for.
    pub uri: Uri,
    /// Absent when nobody was authenticated.
    pub user: Bytes,
    /// The peer.
    pub addr: Addr,
}

/// Of `FAILED_REQUEST`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MetaError {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// `FAILED_REQUEST`.
    pub meta_id: u32,
    /// The request's id.
    pub request_id: Bytes,
    /// The error with its causes.
    pub err: Bytes,
}

/// Of `FINISH_REQUEST`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MetaResponse {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// `FINISH_REQUEST`.
    pub meta_id: u32,
    /// The status of the response.
    pub status_code: u32,
    /// 0.
    pub reserved: u32,
    /// The request's id.
    pub request_id: Bytes,
}

/// Of `TRAFFIC`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MetaTraffic {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// `TRAFFIC`.
    pub meta_id: u32,
    /// Of the request or of the connection.
    pub id: Bytes,
    /// The peer.
    pub addr: Addr,
    /// Bytes read from the peer.
    pub read_bytes: u64,
    /// Bytes written to the peer.
    pub written_bytes: u64,
}
