//! The authority of a virtual AWS, its server's certificate and those of things.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::secret::Password;

/// The ALPN name by which AWS IoT knows MQTT on port 443 (kvs reference §6).
pub(super) const MQTT: &[u8] = b"x-amzn-mqtt-ca";

/// A thing of AWS IoT and what it shows.
#[derive(Debug, Clone)]
pub struct ThingIdentity {
    pub name: String,
    pub certificate_pem: String,
    pub private_key_pem: Password,
}

pub(super) struct Certificates {
    pub(super) authority_pem: String,
    pub(super) things: Vec<ThingIdentity>,
    /// HTTPS, and MQTT by ALPN; a client may show a certificate.
    pub(super) tls: Arc<ServerConfig>,
    /// MQTT; a client must show a certificate.
    pub(super) mqtts: Arc<ServerConfig>,
    /// By the bytes of their certificates.
    names: HashMap<Vec<u8>, Arc<str>>,
}

impl Certificates {
    /// # Errors
    /// When the operating system has no randomness, or a name is none.
    pub(super) fn generate(names: &[String], things: &[String]) -> io::Result<Self> {
        let authority = Authority::generate().map_err(io::Error::other)?;
        let (chain, key) = authority.server(names).map_err(io::Error::other)?;
        let things: Vec<ThingIdentity> =
            things.iter().map(|name| authority.thing(name)).collect::<Result<_, _>>().map_err(io::Error::other)?;
        let der = |thing: &ThingIdentity| CertificateDer::from_pem_slice(thing.certificate_pem.as_bytes());
        let name =
            |thing: &ThingIdentity| Ok((der(thing).map_err(io::Error::other)?.to_vec(), thing.name.as_str().into()));
        let names = things.iter().map(name).collect::<io::Result<_>>()?;
        let config = |anonymous| server_config(&authority.pem, &chain, &key, anonymous).map_err(io::Error::other);
        let mut tls = config(true)?;
        tls.alpn_protocols = vec![MQTT.to_vec(), b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(tls), mqtts: Arc::new(config(false)?), authority_pem: authority.pem, things, names })
    }

    /// Whose certificate this is.
    pub(super) fn thing(&self, certificate: &[u8]) -> Option<Arc<str>> {
        self.names.get(certificate).cloned()
    }
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn generate() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "Virtual Amazon Root CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// For this machine and for `names`.
    fn server(&self, names: &[String]) -> Result<(String, KeyPair), rcgen::Error> {
        let all = ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned).chain(names.iter().cloned());
        self.sign(CertificateParams::new(all.collect::<Vec<_>>())?, "virtual AWS", ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn thing(&self, name: &str) -> Result<ThingIdentity, rcgen::Error> {
        let (certificate_pem, key) =
            self.sign(CertificateParams::new(Vec::new())?, "AWS IoT Certificate", ExtendedKeyUsagePurpose::ClientAuth)?;
        Ok(ThingIdentity {
            name: name.to_owned(),
            certificate_pem,
            private_key_pem: Password::new(key.serialize_pem()),
        })
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<(String, KeyPair), rcgen::Error> {
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key))
    }
}

/// `anonymous`: clients that show nothing are served too.
fn server_config(authority: &str, chain: &str, key: &KeyPair, anonymous: bool) -> Result<ServerConfig, rustls::Error> {
    let unusable = |error: &dyn std::fmt::Display| rustls::Error::General(error.to_string());
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| unusable(&error));
    let mut roots = RootCertStore::empty();
    roots.add(certificate(authority)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = if anonymous { verifier.allow_unauthenticated() } else { verifier };
    let verifier = verifier.build().map_err(|error| unusable(&error))?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| unusable(&error))?;
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate(chain)?], key)
}
