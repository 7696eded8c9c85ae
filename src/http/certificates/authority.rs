//! Who signs.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::crypto::ring::{default_provider, sign::any_ecdsa_type};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::CertificateError;
use super::host::Host;

/// A certificate authority: a certificate that clients are told to trust, and its private key.
///
/// Whoever has the key can pretend to be any host to these clients. Keep it where only the service can read it.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
}

/// A certificate that has just been made.
pub(super) struct Made {
    pub(super) certificate: Arc<CertifiedKey>,
    pub(super) serial: u128,
    pub(super) not_after: SystemTime,
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Clients refuse certificates that are valid for longer than 398 days.
const LONGEST: Duration = Duration::from_secs(397 * 24 * 60 * 60);

impl CertificateAuthority {
    /// A new authority with this name, valid for ten years. The key is P-256.
    ///
    /// # Errors
    /// [`CertificateError::Authority`] when the name cannot stand in a certificate or the system has no random numbers.
    pub fn generate(name: &str) -> Result<Self, CertificateError> {
        let key = KeyPair::generate().map_err(unusable)?;
        let now = SystemTime::now();
        let mut params = params(name, now - DAY, now + 3650 * DAY, serial()?);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(unusable)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            certificate_pem: in_pem(certificate.der()),
            issuer: Issuer::new(params, key),
        })
    }

    /// An authority from its certificate and its private key, both in PEM; they may stand in one text, which is given twice.
    ///
    /// # Errors
    /// [`CertificateError::Authority`] when one of them cannot be read, when they do not belong together, or when the certificate may not
    /// sign others.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, CertificateError> {
        let read = CertificateDer::from_pem_slice(certificate.as_bytes());
        let der = read.map_err(|error| unusable(format!("no certificate in the PEM: {error}")))?;
        let read = PrivateKeyDer::from_pem_slice(key.as_bytes());
        let key = read.map_err(|error| unusable(format!("no private key in the PEM: {error}")))?;
        let signs = default_provider().key_provider.load_private_key(key.clone_key());
        let signs = signs.map_err(|error| unusable(format!("the private key: {error}")))?;
        let pair = CertifiedKey::new(vec![der.clone()], signs);
        pair.keys_match()
            .map_err(|_| unusable("the private key is not that of the certificate"))?;

        let key = KeyPair::try_from(&key)
            .map_err(|error| unusable(format!("the private key: {error}")))?;
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(|error| unusable(format!("the certificate: {error}")))?;
        let usages = issuer.key_usages();
        if !usages.is_empty() && !usages.contains(&KeyUsagePurpose::KeyCertSign) {
            return Err(unusable("the certificate may not sign others (key usage)"));
        }
        let certificate_pem = in_pem(&der);
        Ok(Self { issuer, certificate: der, certificate_pem })
    }

    /// The certificate in PEM, for clients to trust.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key in PEM, to be kept secret.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem().replace("\r\n", "\n")
    }

    /// Makes a certificate for a host, with a key of its own.
    pub(super) fn make(&self, host: &Host, ttl: Duration) -> Result<Made, CertificateError> {
        let name = host.name();
        let failed = |error: String| CertificateError::Make { host: name.to_string(), error };
        let key = KeyPair::generate().map_err(|error| failed(error.to_string()))?;
        let serial = serial()?;
        // Clocks differ, and a connection may use the certificate a little longer than the store keeps it.
        let now = SystemTime::now();
        let not_after = now + ttl.saturating_add(HOUR).min(LONGEST);
        // 64 characters are the most that a common name may have. Nobody looks at it when there are alternative names.
        let common_name = if name.len() <= 64 { name } else { "a host with a long name" };
        let mut params = params(common_name, now - DAY, not_after, serial);
        params.subject_alt_names = vec![match host.ip() {
            Some(ip) => SanType::IpAddress(ip),
            None => {
                let name =
                    (**name).try_into().map_err(|error: rcgen::Error| failed(error.to_string()))?;
                SanType::DnsName(name)
            }
        }];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate =
            params.signed_by(&key, &self.issuer).map_err(|error| failed(error.to_string()))?;
        let signing = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|error| failed(error.to_owned()))?;
        let signing = any_ecdsa_type(&signing).map_err(|error| failed(error.to_string()))?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        Ok(Made { certificate: Arc::new(CertifiedKey::new(chain, signing)), serial, not_after })
    }
}

/// What all certificates have.
fn params(
    common_name: &str,
    not_before: SystemTime,
    not_after: SystemTime,
    serial: u128,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    params.serial_number = Some(serial.to_be_bytes().to_vec().into());
    params
}

/// A serial number: random, positive, not zero.
fn serial() -> Result<u128, CertificateError> {
    let mut bytes = [0; 16];
    let filled = default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| unusable("the system has no random numbers"))?;
    // The first bit is the sign; the second one keeps the number from beginning with zeros, which DER forbids.
    Ok(u128::from_be_bytes(bytes) >> 2 | 1 << 126)
}

fn in_pem(certificate: &CertificateDer<'_>) -> String {
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new("CERTIFICATE", certificate.to_vec()), lines)
}

fn unusable(error: impl fmt::Display) -> CertificateError {
    CertificateError::Authority { error: error.to_string() }
}

/// Without the key.
impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
