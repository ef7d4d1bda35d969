//! TLS, as libpq's `sslmode` means it.
//!
//! | mode | encrypted | the certificate is |
//! |---|---|---|
//! | `disable` | no | |
//! | `allow`, `prefer` | if the server can | not looked at |
//! | `require` | yes | not looked at, unless there is an `sslrootcert`: then as `verify-ca` |
//! | `verify-ca` | yes | signed by `sslrootcert` |
//! | `verify-full` | yes | signed by `sslrootcert` or an authority of the system, for this host |

use std::sync::Arc;

use postgres::config::SslMode;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Address;

/// What the client is told, and what it encrypts with. An error is one sentence.
pub(super) fn configure(address: &Address) -> Result<(SslMode, MakeRustlsConnect), String> {
    let root = address.get("sslrootcert").filter(|path| *path != "system");
    let mode = match address.ssl_mode() {
        "disable" => SslMode::Disable,
        "allow" | "prefer" => SslMode::Prefer,
        _ => SslMode::Require,
    };
    let connector = match (address.ssl_mode(), root) {
        ("verify-full", None) => system()?,
        ("verify-full", Some(path)) => with(Trust::full(path)?),
        ("verify-ca", None) => {
            return Err(
                "sslmode = 'verify-ca' needs `sslrootcert`, the file of the authority's \
                        certificate"
                    .to_owned(),
            );
        }
        ("verify-ca" | "require", Some(path)) => with(Trust::authority(path)?),
        _ => with(Trust {
            provider: Arc::new(ring::default_provider()),
            chain: None,
            name: false,
        }),
    };
    Ok((mode, connector))
}

/// The authorities that the system trusts.
fn system() -> Result<MakeRustlsConnect, String> {
    // Whoever was first has set it; it is the same one.
    let _ = ring::default_provider().install_default();
    MakeRustlsConnect::with_native_certs()
        .map(|(connector, _)| connector)
        .map_err(|_| "the system has no certificates of authorities; give `sslrootcert`".to_owned())
}

fn with(trust: Trust) -> MakeRustlsConnect {
    let config = ClientConfig::builder_with_provider(Arc::clone(&trust.provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust))
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

/// How much of a certificate is looked at. That the server holds its key is always checked.
#[derive(Debug)]
struct Trust {
    provider: Arc<CryptoProvider>,
    /// Who must have signed it.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Whether it must be for the host that was called.
    name: bool,
}

impl Trust {
    fn authority(path: &str) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let unread = |why: String| format!("cannot read `sslrootcert` `{path}`: {why}");
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|e| unread(e.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            let certificate = certificate.map_err(|e| unread(e.to_string()))?;
            roots.add(certificate).map_err(|e| unread(e.to_string()))?;
        }
        let chain =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|e| unread(e.to_string()))?;
        Ok(Self {
            provider,
            chain: Some(chain),
            name: false,
        })
    }

    fn full(path: &str) -> Result<Self, String> {
        Ok(Self {
            name: true,
            ..Self::authority(path)?
        })
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        // The chain is checked before the name is.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}
