//! TLS as a client: the other side must be whom the machine trusts, and nothing turns that off (requirement S17).

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::{CertificateError, ClientConfig, RootCertStore};

/// Trusts what the machine trusts. A private authority is added by file: `SSL_CERT_FILE` or `SSL_CERT_DIR` in the
/// environment take the place of the machine's own list.
pub fn client_config() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        tracing::error!("no certificate authority is known to this machine; install its package `ca-certificates`");
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|_| unreachable!("ring carries TLS 1.2 and 1.3"))
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Why a certificate was not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distrust {
    /// Signed by an authority that the machine does not know, or by nobody but itself.
    UnknownIssuer,
    /// For another name.
    WrongName,
    /// No longer valid, or not yet; a wrong clock looks the same.
    Expired,
    NotYetValid,
    /// One that is for signing others, as a careless self-signed one is.
    Authority,
    Other(String),
}

impl Distrust {
    /// What a failed handshake has against the certificate. `None` when it failed for another reason.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(rustls::Error::InvalidCertificate(fault)) = error.downcast_ref() {
                return Some(Self::from(fault));
            }
            cause = inner(error);
        }
        None
    }
}

/// The next cause. What an `io::Error` wraps is not among its sources.
pub(super) fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

impl From<&CertificateError> for Distrust {
    fn from(fault: &CertificateError) -> Self {
        match fault {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            // The library keeps this one behind its own verifier's type.
            CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => Self::Authority,
            other => Self::Other(other.to_string()),
        }
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownIssuer => "it was signed by an authority that this machine does not know",
            Self::WrongName => "it is for another name",
            Self::Expired => "it has expired, or the clock of this machine is wrong",
            Self::NotYetValid => "it is not valid yet, or the clock of this machine is wrong",
            Self::Authority => "it is an authority's own, as a self-signed one is, and not a server's",
            Self::Other(why) => why,
        })
    }
}
