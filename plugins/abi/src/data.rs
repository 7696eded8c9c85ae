//! Plain data that the calls are made of.

use core::ffi::{c_char, c_void};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ptr;

use crate::Status;

/// Borrowed bytes; `ptr` is null when the thing is absent.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes {
    /// Null when absent.
    pub ptr: *const u8,
    /// 0 when absent.
    pub len: usize,
}

impl Bytes {
    /// Nothing at all, as opposed to something empty.
    pub const ABSENT: Self = Self { ptr: ptr::null(), len: 0 };

    /// The bytes of a slice, which the caller keeps alive.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes of a text, which the caller keeps alive.
    #[inline]
    #[must_use]
    pub const fn text(text: &str) -> Self {
        Self::new(text.as_bytes())
    }

    /// The bytes of a text, or nothing.
    #[inline]
    #[must_use]
    pub const fn optional(text: Option<&str>) -> Self {
        match text {
            Some(text) => Self::text(text),
            None => Self::ABSENT,
        }
    }

    /// Whether the thing is absent.
    #[inline]
    #[must_use]
    pub const fn is_absent(self) -> bool {
        self.ptr.is_null()
    }

    /// The bytes; `None` when absent.
    ///
    /// # Safety
    /// `ptr` is null or leads to `len` bytes that live, and do not change, as long as `'a`.
    #[inline]
    #[must_use]
    pub const unsafe fn get<'a>(self) -> Option<&'a [u8]> {
        if self.ptr.is_null() {
            return None;
        }
        // SAFETY: the caller vouches for the bytes.
        Some(unsafe { core::slice::from_raw_parts(self.ptr, self.len) })
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self::ABSENT
    }
}

/// Prints address and length: the bytes may be gone.
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({:p}, {})", self.ptr, self.len)
    }
}

/// The host's buffer for the text of an error: `keylane_error`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ErrorBuffer {
    /// Always 512.
    pub struct_size: u32,
    /// More than the status tells, or 0.
    pub code: i32,
    /// UTF-8 that ends with a NUL.
    pub message: [u8; 504],
}

impl ErrorBuffer {
    /// Without a message.
    #[must_use]
    pub const fn new() -> Self {
        Self { struct_size: size_of::<Self>() as u32, code: 0, message: [0; 504] }
    }

    /// Takes back the message and the code. Bytes behind the message's first one stay as they are.
    pub const fn clear(&mut self) {
        self.struct_size = size_of::<Self>() as u32;
        (self.code, self.message[0]) = (0, 0);
    }

    /// Writes a message, cut off at a character where it is too long, and at a NUL.
    pub fn set(&mut self, message: &str) {
        let message = message.split('\0').next().unwrap_or_default();
        let end = message.floor_char_boundary(self.message.len() - 1);
        self.message[..end].copy_from_slice(&message.as_bytes()[..end]);
        self.message[end] = 0;
    }

    /// The message's bytes up to the first NUL, or all when there is none. A plugin wrote them: they may be anything.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.message.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

impl Default for ErrorBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ErrorBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorBuffer({}, \"{}\")", self.code, self.message().escape_ascii())
    }
}

/// The address of a peer: `keylane_addr`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Addr {
    /// 0 for none, 4 or 6.
    pub family: u8,
    /// 0 or 1.
    pub has_port: u8,
    /// In the machine's order of bytes.
    pub port: u16,
    /// For IPv6.
    pub scope_id: u32,
    /// As on the wire; IPv4 in the first four.
    pub ip: [u8; 16],
}

impl Addr {
    /// No address.
    pub const ABSENT: Self = Self { family: 0, has_port: 0, port: 0, scope_id: 0, ip: [0; 16] };

    /// An address with or without a port.
    #[must_use]
    pub fn new(ip: IpAddr, port: Option<u16>) -> Self {
        let mut addr =
            Self { has_port: port.is_some().into(), port: port.unwrap_or(0), ..Self::ABSENT };
        match ip {
            IpAddr::V4(ip) => {
                addr.family = 4;
                addr.ip[..4].copy_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                addr.family = 6;
                addr.ip = ip.octets();
            }
        }
        addr
    }

    /// The IP address; `None` when absent.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self.family {
            4 => Some(Ipv4Addr::new(self.ip[0], self.ip[1], self.ip[2], self.ip[3]).into()),
            6 => Some(Ipv6Addr::from(self.ip).into()),
            _ => None,
        }
    }

    /// The port, if it is known.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        (self.has_port != 0).then_some(self.port)
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        let scope_id = match addr {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(addr) => addr.scope_id(),
        };
        Self { scope_id, ..Self::new(addr.ip(), Some(addr.port())) }
    }
}

impl From<Option<SocketAddr>> for Addr {
    fn from(addr: Option<SocketAddr>) -> Self {
        addr.map_or(Self::ABSENT, Self::from)
    }
}

/// `127.0.0.1:80`, `[::1%3]:80`, `::1`, or `-`.
impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ip(), self.port()) {
            (None, _) => f.write_str("-"),
            (Some(IpAddr::V6(ip)), Some(port)) => {
                core::net::SocketAddrV6::new(ip, port, 0, self.scope_id).fmt(f)
            }
            (Some(ip), Some(port)) => SocketAddr::new(ip, port).fmt(f),
            (Some(ip), None) => ip.fmt(f),
        }
    }
}

/// A pair of texts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Kv {
    /// The name.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// Takes output of the plugin.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// The writer's `size_of`.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// The host's own.
    pub ctx: *mut c_void,
    /// Required.
    pub write:
        Option<unsafe extern "C" fn(ctx: *mut c_void, bytes: *const u8, len: usize) -> Status>,
}

/// A text that ends with a NUL, in a descriptor.
pub(crate) type CText = *const c_char;
