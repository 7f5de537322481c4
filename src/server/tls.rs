//! TLS: a certificate and its key, for clients that refuse to send credentials without it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::{Error, Result};

/// An acceptor with this chain of certificates and this key, both in PEM.
pub(super) fn acceptor(certificates: &[u8], key: &[u8]) -> Result<TlsAcceptor> {
    let invalid = |what: &str, error: &dyn std::fmt::Display| Error::invalid(format!("{what}: {error}"));
    let chain = CertificateDer::pem_slice_iter(certificates)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| invalid("the certificates cannot be read", &error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| invalid("the key cannot be read", &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| invalid("the certificate and the key cannot be used", &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
