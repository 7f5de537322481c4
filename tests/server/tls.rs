//! TLS, with a certificate that was made for this test.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use profiledb::server::ServerLimits;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::bench::TestServer;

const CERTIFICATE: &[u8] = include_bytes!("../fixtures/tls/certificate.pem");
const KEY: &[u8] = include_bytes!("../fixtures/tls/key.pem");

#[test]
fn tls_is_served() {
    let server = TestServer::with(|server| {
        let mut limits = ServerLimits::default();
        limits.head_deadline = Duration::from_millis(500);
        server.limits(limits).tls(CERTIFICATE, KEY).unwrap()
    });
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let connection = ClientConnection::new(config, "127.0.0.1".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, server.connect());
    let body = r#"{"$distinct_id":"alice","$set":{"plan":"pro"}}"#;
    let head =
        format!("POST /engage HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\n1"), "{answer}");
    assert_eq!(server.user("alice"), json!({"plan": "pro"}));
    // Plain HTTP, and a handshake that never comes, end.
    for bytes in [&b"GET /healthz HTTP/1.1\r\n\r\n"[..], b"\x16\x03"] {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"));
    }
}

#[test]
fn what_is_no_certificate_is_refused() {
    let tls = |certificate: &[u8], key: &[u8]| profiledb::server::Server::builder().tls(certificate, key).err();
    for (certificate, key, part) in
        [(KEY, KEY, "certificate"), (CERTIFICATE, CERTIFICATE, "key"), (&b""[..], KEY, "certificate")]
    {
        let error = tls(certificate, key).unwrap();
        assert!(error.is_invalid() && error.message().contains(part), "{error}");
    }
    assert!(tls(CERTIFICATE, KEY).is_none());
}
