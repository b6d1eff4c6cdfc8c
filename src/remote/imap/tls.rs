//! Whom to believe: the machine's authorities, or one certificate by its fingerprint.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// The SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of this certificate.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Fingerprint(bytes)
    }

    /// As it is written: `SHA256:` and hexadecimal digits, with colons or without.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = match text.split_at_checked(7) {
            Some((prefix, digits)) if prefix.eq_ignore_ascii_case("SHA256:") => digits,
            _ => text,
        };
        let digits: Vec<u32> = (digits.chars())
            .filter(|it| !matches!(it, ':' | ' '))
            .map(|it| it.to_digit(16))
            .collect::<Option<_>>()?;
        let bytes = digits.chunks_exact(2);
        let bytes: Vec<u8> = bytes.map(|pair| (pair[0] * 16 + pair[1]) as u8).collect();
        (digits.len() == 64)
            .then(|| bytes.try_into().ok().map(Fingerprint))
            .flatten()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let bytes = self.0.map(|byte| format!("{byte:02X}"));
        write!(f, "SHA256:{}", bytes.join(":"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How to talk to a server that has to have this certificate, or else one that the machine trusts.
///
/// # Errors
/// Where the machine trusts nobody.
pub fn config(pin: Option<Fingerprint>) -> Result<Arc<ClientConfig>> {
    // Not the default of the process: another library in Emacs may have set it.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match pin {
        Some(pin) => Arc::new(Pinned {
            pin,
            provider: provider.clone(),
        }),
        None => Arc::new(Trusted(authorities(&provider)?)),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS")?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn authorities(provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(ToString::to_string);
        return Err(anyhow!(
            "this machine trusts no authority ({}); install ca-certificates, or set :tls-fingerprint",
            why.unwrap_or_else(|| "none is installed".to_owned())
        ));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    verifier.build().context("the authorities of this machine")
}

/// The authorities decide; what they refuse is said with its fingerprint.
#[derive(Debug)]
struct Trusted(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .0
            .verify_server_cert(certificate, intermediates, name, stapled, now);
        verified.map_err(|error| {
            let why = match &error {
                Error::InvalidCertificate(why) => in_words(why),
                other => other.to_string(),
            };
            let fingerprint = Fingerprint::of(certificate);
            Error::General(format!(
                "its certificate is not trusted ({why}); if it is the right one all the same, set \
                 :tls-fingerprint \"{fingerprint}\""
            ))
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// What is wrong with a certificate.
fn in_words(why: &CertificateError) -> String {
    use CertificateError as It;
    let words = match why {
        It::Expired | It::ExpiredContext { .. } => "it has expired",
        It::NotValidYet | It::NotValidYetContext { .. } => {
            "it is not valid yet; is the clock right?"
        }
        It::NotValidForName | It::NotValidForNameContext { .. } => "it is another host's",
        It::UnknownIssuer => "nobody whom this machine trusts has signed it",
        // There is no better name for it.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => "it has signed itself",
        other => return other.to_string(),
    };
    words.to_owned()
}

/// One certificate and no other, whoever has signed it and whatever name is in it.
#[derive(Debug)]
struct Pinned {
    pin: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _stapled: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = Fingerprint::of(certificate);
        if found == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(format!(
            "its certificate is another one than :tls-fingerprint says; it has \"{found}\""
        )))
    }

    // That the server has the certificate's key is verified here as anywhere.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints() {
        let printed = Fingerprint::of(b"abc").to_string();
        // FIPS 180-4, the example of one block.
        let expected = "SHA256:BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:\
                        B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD";
        assert_eq!(printed, expected);
        let digits = printed[7..].replace(':', "").to_lowercase();
        for text in [
            &printed[..],
            &printed[7..],
            &digits,
            &format!("sha256:{digits}"),
        ] {
            assert_eq!(
                Fingerprint::parse(text),
                Some(Fingerprint::of(b"abc")),
                "{text}"
            );
        }
        for text in [
            "",
            "SHA256:",
            "SHA256:BA",
            &format!("{digits}0"),
            &format!("SHA1:{digits}"),
            "é",
        ] {
            assert_eq!(Fingerprint::parse(text), None, "{text}");
        }
    }
}
