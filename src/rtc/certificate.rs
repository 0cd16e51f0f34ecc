//! The identity of this installation towards viewers: an EC P-256 key and its self-signed certificate.

use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use rtc::crypto::SignatureScheme;
use rtc::peer_connection::certificate::RTCCertificate;
use rustls::pki_types::CertificateDer;

use crate::clock;

/// 20 years: viewers compare the fingerprint in the answer and never look at the dates.
const VALID_DAYS: u32 = 20 * 365;

/// Kept across restarts by whoever stores [`Certificate::to_pem`], so that viewers meet the same fingerprint.
#[derive(Clone)]
pub struct Certificate {
    key: PKey<Private>,
    certificate: X509,
    pub(super) engine: RTCCertificate,
}

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the PEM file holds no certificate with its EC P-256 key")]
    Pem(#[source] ErrorStack),
    #[error("the certificate's key cannot be used: {0}")]
    Key(String),
}

impl Certificate {
    /// A new key and a certificate for it.
    ///
    /// # Errors
    /// `Key` when the cryptographic library fails.
    pub fn generate() -> Result<Self, CertificateError> {
        let broken = |error: ErrorStack| CertificateError::Key(error.to_string());
        let key = new_key().map_err(broken)?;
        let certificate = self_signed(&key).map_err(broken)?;
        Self::new(key, certificate)
    }

    /// Reads what [`Self::to_pem`] wrote, or any PEM with a P-256 key and its certificate.
    ///
    /// # Errors
    /// `Pem` when one of the two is missing or unreadable, `Key` when they do not belong together
    /// or the key is of another kind.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        let key = PKey::private_key_from_pem(pem.as_bytes()).map_err(CertificateError::Pem)?;
        let certificate = X509::from_pem(pem.as_bytes()).map_err(CertificateError::Pem)?;
        Self::new(key, certificate)
    }

    /// The private key and the certificate. A secret: store it with mode 0600.
    pub fn to_pem(&self) -> Result<String, CertificateError> {
        let mut pem = self.key.private_key_to_pem_pkcs8().map_err(CertificateError::Pem)?;
        pem.extend(self.certificate.to_pem().map_err(CertificateError::Pem)?);
        String::from_utf8(pem).map_err(|error| CertificateError::Key(error.to_string()))
    }

    fn new(key: PKey<Private>, certificate: X509) -> Result<Self, CertificateError> {
        let belongs = certificate.public_key().is_ok_and(|public| public.public_eq(&key));
        if !belongs {
            return Err(CertificateError::Key("key and certificate do not belong together".to_owned()));
        }
        let engine = for_engine(&key, &certificate)?;
        Ok(Self { key, certificate, engine })
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate")
    }
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn self_signed(key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    // A neutral name: the certificate is shown to every viewer.
    name.append_entry_by_nid(Nid::COMMONNAME, "WebRTC")?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(64, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_serial_number(serial.to_asn1_integer()?.as_ref())?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(Asn1Time::from_unix(0)?.as_ref())?;
    builder.set_not_after(Asn1Time::days_from_now(VALID_DAYS)?.as_ref())?;
    builder.set_pubkey(key)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn for_engine(key: &PKey<Private>, certificate: &X509) -> Result<RTCCertificate, CertificateError> {
    let unusable = |error: &dyn std::fmt::Display| CertificateError::Key(error.to_string());
    let provider = rtc::crypto::default_provider().map_err(|error| unusable(&error))?;
    let chain = vec![CertificateDer::from(certificate.to_der().map_err(|error| unusable(&error))?)];
    let key = key.private_key_to_pkcs8().map_err(|error| unusable(&error))?;
    let expires = clock::unix_now() + Duration::from_secs(86_400 * u64::from(VALID_DAYS));
    RTCCertificate::from_pkcs8(provider.crypto(), SignatureScheme::EcdsaP256Sha256, chain, &key, expires)
        .map_err(|error| unusable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(certificate: &Certificate) -> String {
        let provider = rtc::crypto::default_provider().unwrap();
        certificate.engine.get_fingerprints(provider.crypto()).unwrap()[0].value.clone()
    }

    #[test]
    fn a_stored_certificate_keeps_its_fingerprint() {
        let made = Certificate::generate().unwrap();
        let read = Certificate::from_pem(&made.to_pem().unwrap()).unwrap();
        assert_eq!(fingerprint(&made), fingerprint(&read));
        assert_ne!(fingerprint(&made), fingerprint(&Certificate::generate().unwrap()));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, other) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        let mut pem = one.key.private_key_to_pem_pkcs8().unwrap();
        pem.extend(other.certificate.to_pem().unwrap());
        assert!(Certificate::from_pem(&String::from_utf8(pem).unwrap()).is_err());
        assert!(Certificate::from_pem("").is_err());
    }

    #[test]
    fn the_private_key_is_not_shown() {
        assert_eq!(format!("{:?}", Certificate::generate().unwrap()), "Certificate");
    }
}
