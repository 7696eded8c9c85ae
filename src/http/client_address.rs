//! Who sent a request: the peer, or whom trusted proxies name.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ::http::HeaderMap;
use serde_core::{Serialize, Serializer};

/// The peer of the connection that a request came over. Whoever accepts connections puts it into the extensions of each request.
///
/// axum has its own, `ConnectInfo`; [`EventLayer::peer_with`](crate::http::EventLayer::peer_with) reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The address of a client. A proxy need not name the port.
///
/// ```
/// use keylane::http::ClientAddr;
///
/// let peer = ClientAddr::from(std::net::SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80)));
/// assert_eq!(peer.to_string(), "[::1]:80");
/// assert_eq!(ClientAddr { port: None, ..peer }.to_string(), "::1");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddr {
    /// The IP address; an IPv4 address that was mapped into IPv6 is IPv4 here.
    pub ip: IpAddr,
    /// The port, if it is known.
    pub port: Option<u16>,
}

impl From<SocketAddr> for ClientAddr {
    fn from(addr: SocketAddr) -> Self {
        Self { ip: addr.ip().to_canonical(), port: Some(addr.port()) }
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// A string, the same as it prints.
impl Serialize for ClientAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The proxies whose `x-forwarded-for` is believed, as networks in CIDR notation.
///
/// The header is read from the right, which is where the nearest proxy has written. The first address that is not a
/// trusted proxy is the client: what stands left of it, the client may have invented. Text that is no address ends the walk
/// as well, and then the client is the last address that was read. Of very long lists only the last 64 entries are read.
///
/// ```
/// use keylane::http::TrustedProxies;
///
/// let proxies: TrustedProxies = "10.0.0.0/8, 2001:db8::/32, 192.0.2.7".parse()?;
/// assert!(proxies.contains([10, 1, 2, 3].into()));
/// assert!(!proxies.contains([192, 0, 2, 8].into()));
/// assert!("10.0.0.0/33".parse::<TrustedProxies>().is_err());
/// # Ok::<(), keylane::http::InvalidCidr>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<Network>,
}

/// The addresses that share their first bits with `ip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    ip: IpAddr,
    bits: u8,
}

/// How many entries of `x-forwarded-for` are read at most.
const MAX_ENTRIES: usize = 64;

/// Text that is not a network in CIDR notation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidCidr {
    text: String,
}

impl fmt::Display for InvalidCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a network such as 10.0.0.0/8 or 2001:db8::/32", self.text)
    }
}

impl Error for InvalidCidr {}

impl FromStr for Network {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let invalid = || InvalidCidr { text: text.to_owned() };
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits.parse::<u8>().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| invalid())?;
        let all = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        if bits > all { Err(invalid()) } else { Ok(Self { ip, bits }) }
    }
}

impl Network {
    fn contains(self, ip: IpAddr) -> bool {
        let differs = match (self.ip, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u32::from(a) ^ u32::from(b)).checked_shr(32 - u32::from(self.bits)).map(u128::from)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (u128::from(a) ^ u128::from(b)).checked_shr(128 - u32::from(self.bits))
            }
            _ => return false,
        };
        // A shift by the whole width is a network of all addresses.
        differs.unwrap_or(0) == 0
    }
}

impl FromStr for TrustedProxies {
    type Err = InvalidCidr;

    /// Reads networks and single addresses with commas between them; spaces around them do not count.
    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Ok(Self { networks: entries.map(str::parse).collect::<Result<_, _>>()? })
    }
}

impl TrustedProxies {
    /// Whether this address is one of a trusted proxy.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(ip))
    }

    /// The client of a request from `peer`.
    ///
    /// ```
    /// # use keylane::http::{ClientAddr, TrustedProxies};
    /// let proxies: TrustedProxies = "10.0.0.0/8".parse()?;
    /// let mut headers = http::HeaderMap::new();
    /// headers.insert("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.9".parse().unwrap());
    ///
    /// let client = proxies.client(([10, 0, 0, 1], 4000).into(), &headers);
    /// assert_eq!(client.to_string(), "192.0.2.1");
    /// let spoofed = proxies.client(([203, 0, 113, 5], 4000).into(), &headers);
    /// assert_eq!(spoofed.to_string(), "203.0.113.5:4000");
    /// # Ok::<(), keylane::http::InvalidCidr>(())
    /// ```
    #[must_use]
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> ClientAddr {
        let mut client = ClientAddr::from(peer);
        if !self.contains(client.ip) {
            return client;
        }
        let values = headers.get_all("x-forwarded-for");
        // Several headers are one list, in their order.
        let entries = values.iter().rev().flat_map(|value| value.as_bytes().rsplit(|&b| b == b','));
        for entry in entries.take(MAX_ENTRIES) {
            let Some(address) = address(entry) else { break };
            client = address;
            if !self.contains(client.ip) {
                break;
            }
        }
        client
    }
}

/// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`, and `[2001:db8::1]`.
fn address(entry: &[u8]) -> Option<ClientAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Some(addr.into());
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse::<IpAddr>().ok()?;
    Some(ClientAddr { ip: ip.to_canonical(), port: None })
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, headers: &[&str]) -> String {
        let proxies: TrustedProxies = "10.0.0.0/8, ::1, fd00::/8".parse().expect("valid");
        let mut map = HeaderMap::new();
        for value in headers {
            map.append("x-forwarded-for", HeaderValue::from_str(value).expect("valid"));
        }
        proxies.client(peer.parse().expect("an address"), &map).to_string()
    }

    #[test]
    fn who_the_client_is() {
        for (peer, headers, expected) in [
            // Nobody is trusted but the peer itself.
            ("192.0.2.1:9", &["1.1.1.1"][..], "192.0.2.1:9"),
            ("10.0.0.1:9", &[], "10.0.0.1:9"),
            ("10.0.0.1:9", &["192.0.2.1"], "192.0.2.1"),
            // What the client wrote itself stands on the left.
            ("10.0.0.1:9", &["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1:9", &["6.6.6.6", "192.0.2.1,10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1:9", &["10.0.0.3,10.0.0.2"], "10.0.0.3"),
            // The nearest proxy writes what it does not know.
            ("10.0.0.1:9", &["192.0.2.1, unknown"], "10.0.0.1:9"),
            ("10.0.0.1:9", &["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1:9", &[""], "10.0.0.1:9"),
            ("10.0.0.1:9", &["192.0.2.1,"], "10.0.0.1:9"),
            // Ports and brackets.
            ("10.0.0.1:9", &["192.0.2.1:443"], "192.0.2.1:443"),
            ("[::1]:9", &["[2001:db8::1]:443"], "[2001:db8::1]:443"),
            ("[::1]:9", &["[2001:db8::1]"], "2001:db8::1"),
            ("[fd12::1]:9", &["2001:db8::1"], "2001:db8::1"),
            // The same network in another notation.
            ("[::ffff:10.0.0.1]:9", &["192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1:9", &["192.0.2.1, ::ffff:10.0.0.2"], "192.0.2.1"),
        ] {
            assert_eq!(client(peer, headers), expected, "{peer} {headers:?}");
        }
    }

    #[test]
    fn an_endless_list_is_not_walked() {
        let mut list = "192.0.2.1".to_owned();
        for _ in 0..MAX_ENTRIES {
            list.push_str(",10.0.0.2");
        }
        assert_eq!(client("10.0.0.1:9", &[&list]), "10.0.0.2");
        assert_eq!(client("10.0.0.1:9", &[list.trim_end_matches(",10.0.0.2")]), "192.0.2.1");
    }

    #[test]
    fn networks_of_every_width() {
        let contains = |network: &str, ip: &str| {
            let network: Network = network.parse().expect("valid");
            network.contains(ip.parse().expect("an address"))
        };
        assert!(contains("0.0.0.0/0", "255.1.2.3") && contains("::/0", "ffff::"));
        assert!(!contains("0.0.0.0/0", "::") && !contains("::/0", "1.2.3.4"));
        assert!(contains("192.0.2.4/31", "192.0.2.5") && !contains("192.0.2.4/31", "192.0.2.6"));
        assert!(contains("1.2.3.4", "1.2.3.4") && !contains("1.2.3.4", "1.2.3.5"));
        assert!(contains("2001:db8::/33", "2001:db8::1"));
        assert!(!contains("2001:db8::/33", "2001:db8:8000::1"));
        for wrong in ["", "x", "1.2.3.4/", "1.2.3.4/33", "::/129", "1.2.3.4/-1", "/8"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_walked_without_a_panic(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let proxies: TrustedProxies = "10.0.0.0/8".parse().expect("valid");
            let mut map = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&noise) {
                map.append("x-forwarded-for", value);
            }
            let peer = SocketAddr::from(([10, 0, 0, 1], 1));
            prop_assert!(!proxies.client(peer, &map).to_string().is_empty());
        }
    }
}
