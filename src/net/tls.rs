//! TLS as a client: the other side must be whom the machine trusts, and nothing turns that off (requirement S17).

use std::error::Error;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use crate::secret::Pem;

/// Trusts what the machine trusts. A private authority is added by file: `SSL_CERT_FILE` or `SSL_CERT_DIR` in the
/// environment take the place of the machine's own list.
pub fn client_config() -> ClientConfig {
    builder().with_root_certificates(machine_roots()).with_no_client_auth()
}

/// Whom to believe, and who to be.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// In place of the machine's authorities.
    pub authority: Option<Authority>,
    /// What we show when we are asked who we are.
    pub identity: Option<Identity>,
}

impl Trust {
    pub fn client_config(&self) -> ClientConfig {
        let roots = self.authority.as_ref().map_or_else(machine_roots, Authority::roots);
        let builder = builder().with_root_certificates(roots);
        match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(identity.0.clone()),
        }
    }
}

/// A private certificate authority.
#[derive(Clone)]
pub struct Authority(Arc<[CertificateDer<'static>]>);

impl Authority {
    /// # Errors
    /// [`PemError`].
    pub fn load(pem: &Pem) -> Result<Self, PemError> {
        let certificates = certificates(pem)?;
        let mut roots = RootCertStore::empty();
        match roots.add_parsable_certificates(certificates.iter().cloned()) {
            (1.., _) => Ok(Self(certificates.into())),
            _ => Err(PemError::NoCertificate(place(pem))),
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.0.iter().cloned());
        roots
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({} certificates)", self.0.len())
    }
}

/// A certificate of ours with its private key.
#[derive(Clone)]
pub struct Identity(Arc<SingleCertAndKey>);

impl Identity {
    /// # Errors
    /// [`PemError`]; `Mismatch` when the key is not the certificate's.
    pub fn load(certificate: &Pem, private_key: &Pem) -> Result<Self, PemError> {
        let chain = certificates(certificate)?;
        let key =
            PrivateKeyDer::from_pem_slice(&read(private_key)?).map_err(|_| PemError::NoKey(place(private_key)))?;
        let provider = rustls::crypto::ring::default_provider();
        match CertifiedKey::from_der(chain, key, &provider) {
            Ok(certified) => Ok(Self(Arc::new(SingleCertAndKey::from(certified)))),
            Err(rustls::Error::InconsistentKeys(_)) => Err(PemError::Mismatch(place(certificate))),
            Err(_) => Err(PemError::NoKey(place(private_key))),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(***)")
    }
}

/// Why a PEM is of no use. Names the file and never what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    #[error("{file} cannot be read: {why}")]
    Unreadable { file: String, why: String },
    #[error("{0} holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate(String),
    #[error("{0} holds no private key in PEM that can be used (`-----BEGIN PRIVATE KEY-----`, or `RSA` or `EC` in it)")]
    NoKey(String),
    #[error("the private key does not belong to the certificate in {0}")]
    Mismatch(String),
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = read(pem)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
    if found.is_empty() { Err(PemError::NoCertificate(place(pem))) } else { Ok(found) }
}

fn read(pem: &Pem) -> Result<Vec<u8>, PemError> {
    /// A chain of certificates has some thousand bytes.
    const LONGEST: u64 = 1 << 20;
    let file = match pem {
        Pem::Text(text) => return Ok(text.expose().as_bytes().to_vec()),
        Pem::File(path) => std::fs::File::open(path),
    };
    let mut text = Vec::new();
    let read = file.and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    read.map_err(|error| PemError::Unreadable { file: place(pem), why: error.to_string() })?;
    Ok(text)
}

fn place(pem: &Pem) -> String {
    match pem {
        Pem::File(path) => format!("`{}`", path.display()),
        Pem::Text(_) => "the text in the configuration".to_owned(),
    }
}

fn machine_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        tracing::error!("no certificate authority is known to this machine; install its package `ca-certificates`");
    }
    roots
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|_| unreachable!("ring carries TLS 1.2 and 1.3"))
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
        match fault_of(error)? {
            rustls::Error::InvalidCertificate(fault) => Some(Self::from(fault)),
            _ => None,
        }
    }
}

/// What TLS has to say among the causes of an error.
pub(crate) fn fault_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(fault) = error.downcast_ref() {
            return Some(fault);
        }
        cause = inner(error);
    }
    None
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
            // A bad signature is of another authority that has the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
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

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn made() -> (String, String) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["doorbell".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_goes_with_its_own_key_only() {
        let ((certificate, key), (_, foreign)) = (made(), made());
        let load = |key: &str| Identity::load(&Pem::new(&certificate), &Pem::new(key)).map(drop);
        assert_eq!(load(&key), Ok(()));
        assert_eq!(load(&foreign), Err(PemError::Mismatch("the text in the configuration".to_owned())));
        assert_eq!(load(&certificate), Err(PemError::NoKey("the text in the configuration".to_owned())));
        let swapped = Identity::load(&Pem::new(&key), &Pem::new(&certificate)).map(drop);
        assert_eq!(swapped, Err(PemError::NoCertificate("the text in the configuration".to_owned())));
    }

    #[test]
    fn what_is_no_pem_is_named_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        std::fs::write(&file, "hunter2").unwrap();
        for pem in [Pem::File(file), Pem::File(folder.path().to_owned()), Pem::File(folder.path().join("none"))] {
            let said = format!("{} {:?}", Authority::load(&pem).unwrap_err(), Identity::load(&pem, &pem).unwrap_err());
            assert!(said.contains(&*folder.path().to_string_lossy()) && !said.contains("hunter2"), "{said}");
        }
        let text = "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n";
        let said = format!("{} {:?}", Authority::load(&Pem::new(text)).unwrap_err(), Pem::new(text));
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn an_identity_shows_nothing() {
        let (certificate, key) = made();
        let identity = Identity::load(&Pem::new(&certificate), &Pem::new(&key)).unwrap();
        let authority = Authority::load(&Pem::new(&certificate)).unwrap();
        let shown = format!("{:?}", Trust { authority: Some(authority), identity: Some(identity) });
        assert_eq!(shown, "Trust { authority: Some(Authority(1 certificates)), identity: Some(Identity(***)) }");
    }
}
