//! The page's port with token and TLS, as a program on another machine sees it.
//!
//! The certificate beside this file signs itself and is for `gazed.test` and 127.0.0.1:
//!
//! ```sh
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -keyout key.pem \
//!   -out certificate.pem -subj "/CN=gazed test" -addext "subjectAltName=DNS:gazed.test,IP:127.0.0.1" \
//!   -addext "basicConstraints=critical,CA:FALSE"
//! ```

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;

const CERTIFICATE: &str = include_str!("certificate.pem");
const KEY: &str = include_str!("key.pem");
const TOKEN: &str = "d5a0c1f29b7e48366d8f0a4be1c2937f";

/// The files that the settings name.
struct Files {
    folder: Folder,
    access: AccessSettings,
}

impl Files {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let file = |name: &str, text: &str| -> PathBuf {
            let path = folder.0.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let access = AccessSettings {
            token_file: Some(file("token", TOKEN)),
            tls: Some(TlsSettings {
                certificate: file("certificate.pem", CERTIFICATE),
                key: file("key.pem", KEY),
            }),
        };
        Files { folder, access }
    }
}

/// A server that listens on every address of this machine.
fn everywhere(name: &str, files: &Files) -> Running {
    Running::start_at(
        name,
        SocketAddr::from(([0, 0, 0, 0], 0)),
        ServerSettings {
            access: files.access.clone(),
            ..ServerSettings::default()
        },
    )
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Connects with the certificate as the one that is trusted.
fn connect(running: &Running) -> Tls {
    let mut trusted = RootCertStore::empty();
    trusted
        .add(CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = "gazed.test".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let address = (std::net::Ipv4Addr::LOCALHOST, running.page.port());
    StreamOwned::new(connection, TcpStream::connect(address).unwrap())
}

/// The whole answer to a request.
fn get(running: &Running, path: &str, headers: &str) -> String {
    let mut stream = connect(running);
    let host = format!("gazed.test:{}", running.page.port());
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    // hyper closes the connection without TLS's own goodbye.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn head_line<'a>(answer: &'a str, name: &str) -> &'a str {
    answer
        .lines()
        .find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
        .unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[test]
fn without_the_token_nothing_of_a_person_is_told() {
    let files = Files::new("network-none");
    let running = everywhere("network-none-server", &files);
    for path in [
        "/status", "/scene", "/screens", "/events", "/picture", "/page.js", "/nothing",
    ] {
        let answer = get(&running, path, "");
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
        assert!(answer.contains("Authorization: Bearer"), "{answer}");
    }
    let form = get(&running, "/calibrate", "");
    assert!(form.starts_with("HTTP/1.1 401"), "{form}");
    assert!(form.contains("name=\"token\""), "{form}");
    assert!(get(&running, "/page.css", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn the_token_opens_page_numbers_and_records() {
    let files = Files::new("network-token");
    let running = everywhere("network-token-server", &files);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for path in ["/", "/calibrate", "/status"] {
        let answer = get(&running, path, &bearer);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    // A browser gives it in the address once.
    let sent_on = get(&running, &format!("/calibrate?token={TOKEN}"), "");
    assert!(sent_on.starts_with("HTTP/1.1 303"), "{sent_on}");
    assert_eq!(head_line(&sent_on, "location"), "/calibrate");
    let told = head_line(&sent_on, "set-cookie");
    assert!(
        told.contains("HttpOnly") && told.contains("Secure"),
        "{told}"
    );
    let pair = told.split(';').next().unwrap();
    let own = format!(
        "Cookie: {pair}\r\nOrigin: https://gazed.test:{}\r\n",
        running.page.port()
    );
    assert!(get(&running, "/calibrate", &own).starts_with("HTTP/1.1 200"));
    // Another site's page does not ride on the cookie.
    let foreign = format!("Cookie: {pair}\r\nOrigin: https://evil.example\r\n");
    assert!(get(&running, "/status", &foreign).starts_with("HTTP/1.1 403"));

    let mut stream = connect(&running);
    write!(
        stream,
        "GET /events?types=&token={TOKEN} HTTP/1.1\r\nHost: gazed.test\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let mut heard = Vec::new();
    while !contains(&heard, br#""type":"header""#) {
        let mut piece = [0; 256];
        let n = stream.read(&mut piece).unwrap();
        assert_ne!(n, 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend(&piece[..n]);
    }
    running.publish(&blink(77));
    while !contains(&heard, br#""onset_us":77"#) {
        let mut piece = [0; 256];
        let n = stream.read(&mut piece).unwrap();
        assert_ne!(n, 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend(&piece[..n]);
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_wrong_token_is_counted_and_slowed_down() {
    let files = Files::new("network-wrong");
    let running = everywhere("network-wrong-server", &files);
    let wrong = "Authorization: Bearer d5a0c1f29b7e48366d8f0a4be1c2937e\r\n";
    let mut refusals = 0;
    // Each wrong one that is looked at doubles the wait; on a slow machine the first are over soon.
    let slowed = loop {
        let answer = get(&running, "/status", wrong);
        if answer.starts_with("HTTP/1.1 429") {
            break answer;
        }
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        refusals += 1;
    };
    assert!(head_line(&slowed, "retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(running.metrics.counted(Counter::TokensRefused), refusals);
}

#[test]
fn what_does_not_speak_tls_gets_nothing() {
    let files = Files::new("network-plain");
    let running = everywhere("network-plain-server", &files);
    let mut stream =
        TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, running.page.port())).unwrap();
    write!(
        stream,
        "GET /status?token={TOKEN} HTTP/1.1\r\nHost: gazed.test\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(
        !contains(&answer, b"HTTP"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let files = Files::new("network-files");
    let tls = files.access.tls.clone().unwrap();
    let at = SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = |access: AccessSettings| {
        let settings = ServerSettings {
            listen: Some(at),
            access,
            ..ServerSettings::default()
        };
        Server::bind(settings, Arc::new(Metrics::new()))
            .unwrap_err()
            .to_string()
    };
    let with = |tls| AccessSettings {
        tls: Some(tls),
        ..files.access.clone()
    };
    let missing = TlsSettings {
        certificate: files.folder.0.join("none.pem"),
        ..tls.clone()
    };
    let words = refused(with(missing));
    assert!(
        words.contains("server.tls.certificate: cannot read"),
        "{words}"
    );
    let empty = TlsSettings {
        certificate: files.access.token_file.clone().unwrap(),
        ..tls.clone()
    };
    let words = refused(with(empty));
    assert!(words.contains("server.tls: "), "{words}");
    std::fs::set_permissions(&tls.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let words = refused(with(tls));
    assert!(
        words.contains("server.tls.key: ") && words.contains("chmod o="),
        "{words}"
    );
}

#[test]
fn on_loopback_a_token_alone_closes_the_page_to_other_users() {
    let files = Files::new("network-loopback");
    let settings = ServerSettings {
        access: AccessSettings {
            tls: None,
            ..files.access.clone()
        },
        ..ServerSettings::default()
    };
    let running = Running::start("network-loopback-server", settings);
    assert!(running.get("/status", "").starts_with("HTTP/1.1 401"));
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert!(running.get("/status", &bearer).starts_with("HTTP/1.1 200"));
}
