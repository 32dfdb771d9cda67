//! TLS for `tls`, `https` and whoever else speaks it: a handshake, and what the certificate says.
//!
//! The handshake takes any certificate, so that it is seen also where it is bad; it is judged afterwards.

use std::{
    fmt::Display,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use x509_cert::{Certificate, der::Decode as _, time::Validity};

use super::{Fault, Stream, Target, kept::Kept, reason};
use crate::model::{Advisor, AdvisorKind};

/// Files of certificates are read again after as long.
const ROOTS_AGE: Duration = Duration::from_secs(60);

/// Those who may sign.
#[derive(Debug)]
struct Roots {
    verifier: Arc<WebPkiServerVerifier>,
    /// Their certificates, where a file names them: a server may present one of these itself.
    certificates: Vec<CertificateDer<'static>>,
}

static ROOTS: Kept<Roots> = Kept::new();

/// A stream over which TLS is spoken, if the certificate is good.
///
/// # Errors
/// The handshake fails, or the certificate is not what the advisor asks for. When the certificate ends, in seconds since
/// the epoch, is told in either case.
pub(super) async fn handshake<S: Stream>(
    advisor: &Advisor,
    target: &Target,
    stream: S,
    expiry: &mut Option<i64>,
) -> Result<TlsStream<S>, Fault> {
    // What is wrong before anything was said is wrong here.
    let name = name(advisor.host.as_deref().unwrap_or(&target.host)).map_err(Fault::Here)?;
    let config = config(advisor.tls_verify).map_err(Fault::Here)?;
    let connector = TlsConnector::from(Arc::clone(config));
    let shaken = connector.connect(name.clone(), stream).await;
    let stream = shaken.map_err(|error| format!("TLS: {}", reason(&error)))?;
    let presented = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let Some((certificate, intermediates)) = presented.split_first() else {
        return Err(Fault::Backend("TLS: the server has no certificate".to_owned()));
    };
    let validity = validity(certificate)?;
    let ends = seconds(validity.not_after.to_unix_duration());
    *expiry = Some(ends);
    if advisor.kind == AdvisorKind::Tls || advisor.tls_verify {
        in_time(seconds(validity.not_before.to_unix_duration()), ends)?;
    }
    if advisor.tls_verify {
        let roots = roots(advisor.tls_ca_file.as_deref())?;
        verified(&roots, certificate, intermediates, &name)
            .map_err(|error| format!("certificate: {error}"))?;
    }
    Ok(stream)
}

/// Whether a certificate is for a name, and signed by who may; or is one of theirs, as a self-signed one is.
fn verified(
    roots: &Roots,
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    name: &ServerName<'_>,
) -> Result<(), rustls::Error> {
    if roots.certificates.contains(certificate) {
        return verify_server_name(&ParsedCertificate::try_from(certificate)?, name);
    }
    let now = UnixTime::now();
    roots.verifier.verify_server_cert(certificate, intermediates, name, &[], now).map(drop)
}

/// A host as TLS names it: without port.
fn name(host: &str) -> Result<ServerName<'static>, String> {
    let bare = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None if host.matches(':').count() == 1 => host.split(':').next().unwrap_or(host),
        None => host,
    };
    let name = ServerName::try_from(bare.to_owned());
    name.map_err(|_| format!("host {host:?} is no name that a certificate could be for"))
}

fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, String> {
    let parsed = Certificate::from_der(certificate);
    let parsed = parsed.map_err(|error| format!("the certificate is broken: {error}"))?;
    Ok(parsed.tbs_certificate.validity)
}

fn in_time(begins: i64, ends: i64) -> Result<(), String> {
    let now = seconds(Duration::from_secs(UnixTime::now().as_secs()));
    let date = |seconds| match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{seconds} s after 1970"),
    };
    if now > ends {
        return Err(format!("the certificate expired {}", date(ends)));
    }
    if now < begins {
        return Err(format!("the certificate is not valid before {}", date(begins)));
    }
    Ok(())
}

fn seconds(since_epoch: Duration) -> i64 {
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}

/// One that proves that the server holds its certificate's key (strict), or one that takes also old kinds of keys.
fn config(is_strict: bool) -> Result<&'static Arc<ClientConfig>, String> {
    static CONFIGS: [OnceLock<Result<Arc<ClientConfig>, String>>; 2] =
        [OnceLock::new(), OnceLock::new()];
    let made = CONFIGS[usize::from(is_strict)].get_or_init(|| {
        let provider = Arc::new(ring::default_provider());
        let any = Arc::new(AnyCertificate { provider: Arc::clone(&provider), is_strict });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(any)
            .with_no_client_auth();
        // Each probe sees the certificate, and takes as long as the one before.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    });
    made.as_ref().map_err(Clone::clone)
}

/// Those who may sign: of a file, or the system's.
fn roots(file: Option<&Path>) -> Result<Arc<Roots>, Fault> {
    ROOTS.get(file, ROOTS_AGE, || read_roots(file))
}

fn read_roots(file: Option<&Path>) -> Result<Roots, String> {
    let mut store = RootCertStore::empty();
    let mut certificates = Vec::new();
    if let Some(file) = file {
        let wrong = |error: &dyn Display| format!("tls_ca_file {}: {error}", file.display());
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            store.add(certificate.clone()).map_err(|error| wrong(&error))?;
            certificates.push(certificate);
        }
    } else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if store.is_empty() {
        let file = file.map_or("the system".to_owned(), |f| format!("tls_ca_file {}", f.display()));
        return Err(format!("{file} has no certificates of those who may sign"));
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    Ok(Roots { verifier, certificates })
}

/// Takes every certificate.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    /// Whether the signature under the handshake must be the certificate's.
    is_strict: bool,
}

impl AnyCertificate {
    /// What a look at a signature says, where it is to be looked at.
    fn verified(
        &self,
        look: impl FnOnce(&WebPkiSupportedAlgorithms) -> Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.is_strict {
            look(&self.provider.signature_verification_algorithms)
        } else {
            Ok(HandshakeSignatureValid::assertion())
        }
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verified(|known| verify_tls12_signature(message, certificate, signed, known))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verified(|known| verify_tls13_signature(message, certificate, signed, known))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_without_its_port() {
        for (host, want) in [
            ("www.example.com", "www.example.com"),
            ("www.example.com:8443", "www.example.com"),
            ("192.0.2.80:443", "192.0.2.80"),
            ("[2001:db8::80]:443", "2001:db8::80"),
            ("2001:db8::80", "2001:db8::80"),
        ] {
            assert_eq!(name(host).unwrap().to_str(), want);
        }
        name("no name").unwrap_err();
    }

    #[test]
    fn a_certificate_has_its_time() {
        let now = seconds(Duration::from_secs(UnixTime::now().as_secs()));
        in_time(now - 10, now + 10).unwrap();
        let expired = in_time(0, 86_400).unwrap_err();
        assert_eq!(expired, "the certificate expired 1970-01-02T00:00:00Z");
        assert!(in_time(now + 10, now + 20).unwrap_err().contains("not valid before"));
    }
}
