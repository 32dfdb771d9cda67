//! TLS for `tls`, `https` and all other kinds with `tls`: the handshake, and the check of the certificate.
//!
//! The handshake accepts any certificate, so that also a bad one is seen; it is checked afterwards.

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

use super::{Fault, Stream, Target, file_cache::FileCache, reason};
use crate::{
    files,
    model::{Advisor, AdvisorKind},
};

/// CA files are read again after this time.
const ROOTS_AGE: Duration = Duration::from_secs(60);

/// Signatures that the provider cannot verify and that are accepted unverified, so that servers present any certificate
/// they have: RSA and ECDSA with SHA-1, ECDSA with P-521, Ed448, RSA-PSS with RSA-PSS keys, ECDSA with Brainpool
/// curves, ML-DSA.
const OTHER_SCHEMES: [u16; 13] = [
    0x0201, 0x0203, 0x0603, 0x0808, 0x0809, 0x080a, 0x080b, 0x081a, 0x081b, 0x081c, 0x0904, 0x0905,
    0x0906,
];

/// Trusted certificate authorities.
#[derive(Debug)]
struct Roots {
    verifier: Arc<WebPkiServerVerifier>,
    /// Their certificates, if a file names them: a server may present one of these itself.
    certificates: Vec<CertificateDer<'static>>,
}

static ROOTS: FileCache<Roots> = FileCache::new();

/// Performs the TLS handshake and checks the certificate.
///
/// # Errors
/// The handshake fails, or the certificate is not what the advisor requires. `expiry` (seconds since the epoch) is set
/// in both cases.
pub(super) async fn handshake<S: Stream>(
    advisor: &Advisor,
    target: &Target,
    stream: S,
    expiry: &mut Option<i64>,
) -> Result<TlsStream<S>, Fault> {
    // An error before anything was sent is this host's fault.
    let name = match name(advisor.host.as_deref().unwrap_or(&target.host)) {
        // If the name is not verified, an invalid one is replaced by the address.
        Err(_) if !advisor.tls_verify => ServerName::from(target.address.ip()),
        name => name.map_err(Fault::Here)?,
    };
    let config = config(advisor.tls_verify).map_err(Fault::Here)?;
    let connector = TlsConnector::from(Arc::clone(config));
    let shaken = connector.connect(name.clone(), stream).await;
    let stream = shaken.map_err(|error| format!("TLS: {}", reason(&error)))?;
    let presented = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let Some((certificate, intermediates)) = presented.split_first() else {
        return Err(Fault::Backend("TLS: the server has no certificate".to_owned()));
    };
    match validity(certificate) {
        Ok(validity) => {
            let ends = seconds(validity.not_after.to_unix_duration());
            *expiry = Some(ends);
            if advisor.kind == AdvisorKind::Tls || advisor.tls_verify {
                in_time(seconds(validity.not_before.to_unix_duration()), ends)?;
            }
        }
        // An unreadable certificate is accepted if it is not verified.
        Err(error) if advisor.tls_verify => return Err(Fault::Backend(error)),
        Err(_) => {}
    }
    if advisor.tls_verify {
        let roots = roots(advisor.tls_ca_file.as_deref()).await?;
        verified(&roots, certificate, intermediates, &name)
            .map_err(|error| format!("certificate: {error}"))?;
    }
    Ok(stream)
}

/// Checks that a certificate is for a name and signed by a trusted authority, or is itself listed, as self-signed ones
/// are.
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

/// The host's name for TLS: without the port.
fn name(host: &str) -> Result<ServerName<'static>, String> {
    let bare = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None if host.matches(':').count() == 1 => host.split(':').next().unwrap_or(host),
        None => host,
    };
    let name = ServerName::try_from(bare.to_owned());
    name.map_err(|_| format!("host {host:?} is not a name that a certificate can have"))
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

/// The client's configuration: strict (the server must prove that it holds the certificate's key), or one that also
/// accepts old kinds of keys.
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
        // Every probe sees the certificate, and takes as long as the one before.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    });
    made.as_ref().map_err(Clone::clone)
}

/// Trusted authorities: from a file, or the system's.
async fn roots(file: Option<&Path>) -> Result<Arc<Roots>, Fault> {
    ROOTS.get(file, ROOTS_AGE, read_roots(file)).await
}

async fn read_roots(file: Option<&Path>) -> Result<Roots, String> {
    let mut store = RootCertStore::empty();
    let mut certificates = Vec::new();
    if let Some(file) = file {
        let wrong = |error: &dyn Display| format!("tls_ca_file {}: {error}", file.display());
        let contents = files::read_in_time(file, files::CERTIFICATES).await;
        for certificate in CertificateDer::pem_slice_iter(&contents.map_err(|e| wrong(&e))?.bytes) {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            store.add(certificate.clone()).map_err(|error| wrong(&error))?;
            certificates.push(certificate);
        }
    } else {
        let what = Path::new("the system's certificates");
        let certs = files::in_time(what, || Ok(rustls_native_certs::load_native_certs().certs));
        let certs = certs.await.map_err(|error| format!("{}: {error}", what.display()))?;
        store.add_parsable_certificates(certs);
    }
    if store.is_empty() {
        let file = file.map_or("the system".to_owned(), |f| format!("tls_ca_file {}", f.display()));
        return Err(format!("{file} contains no CA certificate"));
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    Ok(Roots { verifier, certificates })
}

/// Accepts every certificate.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    /// Whether the handshake's signature must match the certificate.
    is_strict: bool,
}

impl AnyCertificate {
    /// Result of checking a signature, if it must be checked.
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
        let mut schemes = self.provider.signature_verification_algorithms.supported_schemes();
        if !self.is_strict {
            schemes.extend(OTHER_SCHEMES.iter().copied().map(SignatureScheme::from));
        }
        schemes
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncBufReadExt as _;

    use super::*;
    use crate::advisor::probe::{Finding, Load, probe};

    /// Certificates that servers use, some of which the provider cannot verify: the arguments by which `openssl` makes
    /// each, and what its server needs in addition.
    const CERTIFICATES: [(&str, &str, &[&str]); 7] = [
        ("rsa", "req -newkey rsa:2048", &[]),
        ("rsa-1024", "req -newkey rsa:1024 -sha1", &["-cipher", "DEFAULT:@SECLEVEL=0"]),
        ("rsa-pss", "req -newkey rsa-pss -pkeyopt rsa_keygen_bits:2048", &[]),
        ("p521", "req -newkey ec -pkeyopt ec_paramgen_curve:P-521 -sha512", &[]),
        ("p384 by TLS 1.2", "req -newkey ec -pkeyopt ec_paramgen_curve:P-384", &["-tls1_2"]),
        ("ed25519", "req -newkey ed25519", &[]),
        ("ed448", "req -newkey ed448", &["-tls1_3"]),
    ];

    async fn openssl(directory: &Path, arguments: &str) -> bool {
        let mut command = tokio::process::Command::new("openssl");
        let output = command.args(arguments.split(' ')).current_dir(directory).output().await;
        output.is_ok_and(|output| output.status.success())
    }

    /// Probes a server that has a certificate.
    async fn said_of(advisor: &Advisor, directory: &Path, more: &[&str]) -> Finding {
        let mut command = tokio::process::Command::new("openssl");
        let mut server = command
            .args("s_server -www -accept 127.0.0.1:0 -key key.pem -cert cert.pem".split(' '))
            .args(more)
            .current_dir(directory)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = tokio::io::BufReader::new(server.stdout.take().unwrap()).lines();
        let address = loop {
            let line = said.next_line().await.unwrap().expect("it listens");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.parse().unwrap();
            }
        };
        let target = Target {
            address,
            host: "192.0.2.80".to_owned(),
            protocol: crate::model::Protocol::Tcp,
            service: "web".to_owned(),
            backend: "web-1".to_owned(),
            through: None,
        };
        probe(advisor, &target).await
    }

    #[tokio::test]
    async fn no_certificate_is_refused_where_none_is_verified() {
        if !openssl(Path::new("/"), "version").await {
            assert!(std::env::var_os("DISPATCHER_REQUIRE_BPF").is_none(), "openssl is not there");
            return;
        }
        let patience = Duration::from_secs(30);
        let taken = Advisor { receive_timeout: patience, ..Advisor::new(AdvisorKind::Https) };
        for (name, made, more) in CERTIFICATES {
            let directory = tempfile::tempdir().unwrap();
            let files = "-x509 -nodes -keyout key.pem -out cert.pem -subj /CN=www.example.com";
            assert!(openssl(directory.path(), &format!("{made} {files}")).await, "{name}");
            let found = said_of(&taken, directory.path(), more).await;
            assert!(matches!(found.result, Ok(Load::Time(_))), "{name}: {found:?}");
            assert!(found.certificate_expiry.is_some(), "{name}");
            let verified = Advisor { tls_verify: true, ..taken.clone() };
            said_of(&verified, directory.path(), more).await.result.unwrap_err();
        }
    }

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
