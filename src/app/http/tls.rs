//! TLS by rustls: a certificate with its key from two PEM files, read again on SIGHUP.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::{Error, Result};

/// The certificate that is shown, and the files that it comes from.
#[derive(Debug)]
pub(crate) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// The certificate chain in the PEM file `chain`, with its private key in the PEM file `key`.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read, [`Error::Refused`] if it is no certificate or no
    /// key, or if the two do not belong together.
    pub(crate) fn read(chain: &Path, key: &Path) -> Result<Arc<Self>> {
        let current = RwLock::new(Arc::new(certified(chain, key)?));
        Ok(Arc::new(Self { chain: chain.to_path_buf(), key: key.to_path_buf(), current }))
    }

    /// Reads both files again. New connections get what they hold now.
    ///
    /// # Errors
    /// As [`Certificate::read`]; the certificate from before stays then.
    pub(super) fn read_again(&self) -> Result<()> {
        let fresh = Arc::new(certified(&self.chain, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// What makes a connection a TLS connection.
    ///
    /// # Errors
    /// [`Error::Refused`] if the library has no protocol version.
    pub(super) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::refused("TLS", error.to_string(), "report this as a bug"))?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(chain: &Path, key: &Path) -> Result<CertifiedKey> {
    let text = std::fs::read(chain).map_err(Error::io(chain))?;
    let certificates: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let refuse = |path: &Path, reason: String, way_out: &str| {
        Error::refused(format!("TLS by {}", path.display()), reason, way_out)
    };
    let certificates = certificates.map_err(|error| refuse(chain, error.to_string(), "give a PEM file"))?;
    if certificates.is_empty() {
        return Err(refuse(chain, "there is no certificate in it".to_owned(), "give a PEM file with one"));
    }
    let text = std::fs::read(key).map_err(Error::io(key))?;
    let private = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| refuse(key, error.to_string(), "give a PEM file with the private key"))?;
    CertifiedKey::from_der(certificates, private, &ring::default_provider())
        .map_err(|error| refuse(key, error.to_string(), "give the key that belongs to the certificate"))
}
