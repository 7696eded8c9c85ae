//! The host that a certificate is for.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::CertificateError;

/// A host name in lower case without the root's dot, or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Host {
    name: Arc<str>,
    ip: Option<IpAddr>,
}

impl Host {
    /// Reads a host as it stands in a URI or in a TLS hello: an IPv6 address may have brackets.
    pub(super) fn parse(text: &str) -> Result<Self, CertificateError> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            let ip = ip.to_canonical();
            return Ok(Self { name: ip.to_string().into(), ip: Some(ip) });
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match ServerName::try_from(name.as_str()) {
            Ok(ServerName::DnsName(_)) => Ok(Self { name: name.into(), ip: None }),
            _ => Err(CertificateError::InvalidHost { host: text.chars().take(256).collect() }),
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.ip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_one_name() {
        for (text, name, is_ip) in [
            ("example.com", "example.com", false),
            ("EXAMPLE.Com.", "example.com", false),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", false),
            ("localhost", "localhost", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("[::1]", "::1", true),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
        ] {
            let host = Host::parse(text).expect(text);
            assert_eq!((&**host.name(), host.ip().is_some()), (name, is_ip), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_and_named() {
        let long = "a".repeat(64);
        for text in [
            "",
            ".",
            "a b",
            "a\nb",
            "bücher.example",
            "*.example.com",
            "a..b",
            "-a.b",
            "[::1",
            &long,
            "a:80",
        ] {
            let error = Host::parse(text).expect_err(text);
            assert_eq!(error, CertificateError::InvalidHost { host: text.to_owned() });
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        let endless = "x".repeat(1_000_000);
        assert!(Host::parse(&endless).expect_err("too long").to_string().len() < 400);
    }
}
