//! Certificates of an authority of the tests' own, and who is believed by them.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use mailsync_module::remote::imap::session::{Mode, Why};
use mailsync_module::remote::imap::tls::Fingerprint;
use mailsync_module::remote::imap::wire::Way;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::scripted::{NOTIFY, Peer, serve};
use crate::{Watch, server, support};

/// Who signs certificates.
pub struct Authority(TempDir);

/// A server's certificate, with its key.
#[derive(Clone)]
pub struct Certificate(Arc<ServerConfig>, Fingerprint);

/// What openssl wants to know to sign.
const CONFIG: &str = "
[ca]
default_ca = ours
[ours]
database = index.txt
unique_subject = no
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
certificate = ca.pem
private_key = ca.key
[any]
commonName = supplied
";

fn openssl(home: &Path, words: &str) {
    let mut openssl = Command::new("openssl");
    let output = openssl.args(words.split_whitespace()).current_dir(home);
    let output = output.output().expect("openssl");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {words}: {errors}");
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

impl Authority {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("config"), CONFIG).unwrap();
        fs::write(home.path().join("index.txt"), "").unwrap();
        fs::write(home.path().join("serial"), "01").unwrap();
        let name = home.path().file_name().unwrap().display();
        let make = format!("req -x509 {KEY} -days 30 -subj /CN={name} -keyout ca.key -out ca.pem");
        openssl(home.path(), &make);
        Authority(home)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A certificate for this host, valid from one date to another, if not now.
    pub fn issue(&self, host: &str, dates: Option<(&str, &str)>) -> Certificate {
        fs::write(self.file("names"), format!("subjectAltName=DNS:{host}")).unwrap();
        let home = self.0.path();
        openssl(
            home,
            &format!("req {KEY} -subj /CN={host} -keyout key.pem -out request"),
        );
        let dates = match dates {
            Some((from, to)) => format!("-startdate {from}000000Z -enddate {to}000000Z"),
            None => "-days 30".to_owned(),
        };
        let sign = "ca -batch -notext -config config -extfile names -in request -out leaf.pem";
        openssl(home, &format!("{sign} {dates}"));
        self.certificate("leaf.pem", "key.pem")
    }

    fn certificate(&self, leaf: &str, key: &str) -> Certificate {
        let leaf = CertificateDer::from_pem_file(self.file(leaf)).unwrap();
        let fingerprint = Fingerprint::of(&leaf);
        let key = PrivateKeyDer::from_pem_file(self.file(key)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)
            .unwrap();
        Certificate(Arc::new(config), fingerprint)
    }
}

impl Certificate {
    pub fn fingerprint(&self) -> Fingerprint {
        self.1
    }

    /// The server's end of TLS.
    pub fn accept(&self, stream: TcpStream) -> Peer<StreamOwned<ServerConnection, TcpStream>> {
        let tls = ServerConnection::new(self.0.clone()).unwrap();
        Peer::new(StreamOwned::new(tls, stream))
    }

    fn serve(&self) -> u16 {
        let certificate = self.clone();
        serve(move |_, stream| {
            let mut peer = certificate.accept(stream);
            peer.play(NOTIFY);
            peer.gone();
        })
    }
}

fn at(port: u16) -> mailsync_module::remote::imap::line::Server {
    server(Way::Host("localhost".to_owned(), port, true), "me")
}

/// The authorities of a machine are of the whole process.
fn trusting(test: &str) -> Option<Authority> {
    if support::is_child() {
        let home = TempDir::new().unwrap();
        let from = std::env::var_os("MAILSYNC_TEST_AUTHORITY").unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, home.path().join(path.file_name().unwrap())).unwrap();
        }
        return Some(Authority(home));
    }
    let authority = Authority::new();
    let mut prefix = Command::new("env");
    prefix
        .env("SSL_CERT_FILE", authority.file("ca.pem"))
        .env_remove("SSL_CERT_DIR")
        .env("MAILSYNC_TEST_AUTHORITY", authority.0.path());
    support::again(test, &mut prefix);
    None
}

// Security: S31.
#[test]
fn an_authority_vouches_for_a_host_and_for_a_time() {
    let test = "certificates::an_authority_vouches_for_a_host_and_for_a_time";
    let Some(authority) = trusting(test) else {
        return;
    };
    let other = Authority::new();
    let table = [
        (authority.issue("localhost", None), None),
        (authority.issue("*.localhost", None), Some("another host's")),
        (
            authority.issue("imap.example.org", None),
            Some("another host's"),
        ),
        (
            authority.issue("localhost", Some(("20200101", "20200201"))),
            Some("it has expired"),
        ),
        (
            authority.issue("localhost", Some(("20600101", "20600201"))),
            Some("not valid yet"),
        ),
        (other.issue("localhost", None), Some("nobody whom")),
        // one that has signed itself, for this or for others
        (
            other.certificate("ca.pem", "ca.key"),
            Some("it has signed itself"),
        ),
        (
            authority.certificate("ca.pem", "ca.key"),
            Some("it has signed itself"),
        ),
    ];
    for (certificate, refused) in table {
        let mut config = at(certificate.serve());
        let Some(why) = refused else {
            Watch::watching(config, Mode::Notify).end();
            continue;
        };
        let mut watch = Watch::start(config.clone());
        let (end, _) = watch.over();
        assert_eq!((end.why, watch.asked), (Why::Lost, 0), "{end:?}");
        assert!(end.text.contains(why), "{why}: {end:?}");
        let fingerprint = certificate.fingerprint();
        assert!(end.text.contains(&fingerprint.to_string()), "{end:?}");
        // The user knows better.
        config.pin = Some(fingerprint);
        Watch::watching(config, Mode::Notify).end();
    }
    // The right name and authority do not help against a fingerprint.
    let mut config = at(authority.issue("localhost", None).serve());
    config.pin = Some(Fingerprint::of(b"another one"));
    let (end, _) = Watch::start(config).over();
    assert!(end.text.contains("another one"), "{end:?}");
}

/// A machine that trusts nobody says so.
// Security: S31.
#[test]
fn without_authorities_only_a_fingerprint_helps() {
    let test = "certificates::without_authorities_only_a_fingerprint_helps";
    let mut prefix = Command::new("env");
    prefix
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", "/nonexistent");
    if !support::again(test, &mut prefix) {
        return;
    }
    let certificate = Authority::new().issue("localhost", None);
    let mut config = at(certificate.serve());
    let (end, _) = Watch::start(config.clone()).over();
    assert!(end.text.contains("trusts no authority"), "{end:?}");
    config.pin = Some(certificate.fingerprint());
    Watch::watching(config, Mode::Notify).end();
}

#[test]
fn garbage_in_tls_is_an_end() {
    let certificate = Authority::new().issue("localhost", None);
    for (garbage, text) in [
        // no TLS at all, a record of another version, one that is too long, an alert
        ("* OK hello\r\n", "does not speak TLS"),
        ("\x16\x09\x09\x00\x05hello", "does not speak TLS"),
        ("\x16\x03\x03\x7f\x7fx", "TLS"),
        ("\x15\x03\x03\x00\x02\x02\x28", "TLS with localhost"),
        ("\x15\x03\x03\x00\x02\x01\x00", "TLS"),
    ] {
        // Before the handshake; there an end that is announced is still waited for.
        if garbage != "\x15\x03\x03\x00\x02\x01\x00" {
            let port = serve(move |_, stream| {
                let mut peer = Peer::new(stream);
                peer.say(garbage);
                peer.gone();
            });
            let mut watch = Watch::start(at(port));
            let (end, _) = watch.over();
            assert_eq!((end.why, watch.asked), (Why::Lost, 0), "{end:?}");
            assert!(end.text.contains(text), "{garbage:?}: {end:?}");
        }
        // After it.
        let right = certificate.clone();
        let port = serve(move |_, stream| {
            let mut raw = Peer::new(stream.try_clone().unwrap());
            let mut peer = right.accept(stream);
            peer.play(NOTIFY);
            raw.say(garbage);
            peer.gone();
        });
        let mut config = at(port);
        config.pin = Some(certificate.fingerprint());
        let mut watch = Watch::start(config);
        let (end, _) = watch.over();
        assert_eq!(end.why, Why::Lost, "{end:?}");
        println!("{garbage:?}: {}", end.text);
    }
}
