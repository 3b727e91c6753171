//! Who may ask the page's port where a token is set, and with what it is encrypted.
//!
//! A program gives the token as `Authorization: Bearer TOKEN`, or as `?token=TOKEN` where it cannot
//! send headers. A browser that opens the page with `?token=TOKEN`, or gives it in the form that it
//! gets instead of the page, is sent on to the address without it and keeps a cookie. The cookie is
//! a random number of this run of the daemon: it tells nothing about the token and ends with it.
//!
//! Comparisons take the same time whatever is given (HMAC with a random key, compared by `ring`).
//! An address that gives a wrong token waits before it is heard again, twice as long each time;
//! until then not even the right token is looked at, so that trying many at once gains nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::TlsSettings;

/// Lengths of a token: 24 letters and digits chosen by chance cannot be guessed.
const TOKEN_LENGTHS: std::ops::RangeInclusive<usize> = 24..=256;

/// What an address waits after its first wrong token; doubled with each more, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A wrong token of longer ago is forgotten.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Most addresses that are remembered.
const MAX_ADDRESSES: usize = 1024;

/// Why the page's port cannot be guarded.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read.
    #[error("server.{key}: cannot read {}: {source}", path.display())]
    Read {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Everybody on this machine can read a secret.
    #[error(
        "server.{key}: {} can be read by every user of this machine; `chmod o= {0}`", path.display()
    )]
    Open {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// It is no token.
    #[error(
        "server.token_file: {} must hold one line of 24 to 256 letters, digits, - _ . and ~; make one with `openssl rand -hex 32`", path.display()
    )]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// A file of TLS is not PEM, or holds something else.
    #[error("server.tls.{key}: {}: {source}", path.display())]
    Pem {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Certificate and key cannot be used.
    #[error("server.tls: {} and {} cannot be used: {source}", certificate.display(), key.display())]
    Tls {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers, without which no token can be asked for")]
    NoRandom,
}

/// TLS 1.3 with this certificate and key.
pub(super) fn tls(settings: &TlsSettings) -> Result<Arc<ServerConfig>, AccessError> {
    let TlsSettings { certificate, key } = settings;
    let in_pem = |setting: &'static str, path: &Path, source| match source {
        pem::Error::Io(source) => AccessError::Read {
            key: setting,
            path: path.into(),
            source,
        },
        source => AccessError::Pem {
            key: setting.trim_start_matches("tls."),
            path: path.into(),
            source,
        },
    };
    check_mode("tls.key", key)?;
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| in_pem("tls.certificate", certificate, source))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|why| in_pem("tls.key", key, why))?;
    let unusable = |source| AccessError::Tls {
        certificate: certificate.clone(),
        key: key.clone(),
        source,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Refuses a secret that everybody on this machine can read.
fn check_mode(key: &'static str, path: &Path) -> Result<(), AccessError> {
    let path = path.to_path_buf();
    match fs::metadata(&path) {
        Err(source) => Err(AccessError::Read { key, path, source }),
        Ok(found) if found.permissions().mode() & 0o007 != 0 => {
            Err(AccessError::Open { key, path })
        }
        Ok(_) => Ok(()),
    }
}

/// Asks for the token.
#[derive(Debug)]
pub(super) struct Gate {
    key: hmac::Key,
    token: hmac::Tag,
    cookie: hmac::Tag,
    /// What a browser sends back: name and value.
    cookie_pair: String,
    is_secure: bool,
    wrong: Mutex<BTreeMap<IpAddr, Wrong>>,
}

/// Wrong tokens of one address.
#[derive(Clone, Copy, Debug)]
struct Wrong {
    count: u32,
    heard_again_at: Instant,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It may pass.
    Open,
    /// It may pass, with the token in its address: better without.
    OpenByAddress,
    /// It gives no token.
    NoToken,
    /// It gives a wrong one.
    WrongToken,
    /// Its address has given a wrong one and is not heard for this long.
    Wait(Duration),
}

impl Gate {
    /// Reads the token. `port` tells the cookies of two daemons on one machine apart; a secure
    /// cookie is sent over TLS alone.
    pub(super) fn load(path: &Path, port: u16, is_secure: bool) -> Result<Self, AccessError> {
        check_mode("token_file", path)?;
        let text = fs::read_to_string(path).map_err(|source| AccessError::Read {
            key: "token_file",
            path: path.into(),
            source,
        })?;
        let token = text.trim();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if !TOKEN_LENGTHS.contains(&token.len()) || !token.bytes().all(is_plain) {
            return Err(AccessError::Token { path: path.into() });
        }
        let random = SystemRandom::new();
        let mut cookie = [0; 32];
        random
            .fill(&mut cookie)
            .map_err(|_| AccessError::NoRandom)?;
        let key =
            hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(|_| AccessError::NoRandom)?;
        let cookie_pair = format!("gazed-{port}={}", URL_SAFE_NO_PAD.encode(cookie));
        Ok(Gate {
            token: hmac::sign(&key, token.as_bytes()),
            cookie: hmac::sign(&key, cookie_pair.as_bytes()),
            key,
            cookie_pair,
            is_secure,
            wrong: Mutex::default(),
        })
    }

    /// What a browser is told to send back.
    pub(super) fn set_cookie(&self) -> String {
        let secure = if self.is_secure { "; Secure" } else { "" };
        format!(
            "{}; Path=/; HttpOnly; SameSite=Lax{secure}",
            self.cookie_pair
        )
    }

    /// Looks at what a request gives.
    pub(super) fn ask(&self, from: IpAddr, headers: &HeaderMap, uri: &Uri, now: Instant) -> Entry {
        // No guess: the number of this run cannot be found by trying.
        if cookies(headers).any(|pair| self.is(&self.cookie, pair)) {
            return Entry::Open;
        }
        let in_header = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let in_address = uri.query().and_then(|query| {
            query
                .split('&')
                .find_map(|part| part.strip_prefix("token="))
        });
        let Some(given) = in_header.or(in_address) else {
            return Entry::NoToken;
        };
        let from = network(from);
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let before = wrong.get(&from).copied();
        if let Some(before) = before
            && now < before.heard_again_at
        {
            return Entry::Wait(before.heard_again_at - now);
        }
        if self.is(&self.token, given.trim()) {
            wrong.remove(&from);
            return match in_header {
                Some(_) => Entry::Open,
                None => Entry::OpenByAddress,
            };
        }
        wrong.retain(|_, wrong| now < wrong.heard_again_at + REMEMBERED);
        if wrong.len() >= MAX_ADDRESSES
            && let Some(oldest) = wrong
                .iter()
                .min_by_key(|(_, wrong)| wrong.heard_again_at)
                .map(|(&address, _)| address)
        {
            wrong.remove(&oldest);
        }
        let count = before.map_or(0, |before| before.count);
        let wait = FIRST_WAIT * 2_u32.saturating_pow(count.min(16));
        let heard_again_at = now + wait.min(LONGEST_WAIT);
        let count = count.saturating_add(1);
        wrong.insert(
            from,
            Wrong {
                count,
                heard_again_at,
            },
        );
        Entry::WrongToken
    }

    fn is(&self, right: &hmac::Tag, given: &str) -> bool {
        hmac::verify(&self.key, given.as_bytes(), right.as_ref()).is_ok()
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';').map(str::trim))
}

/// The address as it is held to account: of IPv6 the network, for a machine has all of it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::Folder;

    const TOKEN: &str = "0123456789abcdef01234567";

    fn gate(folder: &Folder) -> Gate {
        Gate::load(&secret(folder, TOKEN), 7880, true).unwrap()
    }

    fn secret(folder: &Folder, text: &str) -> PathBuf {
        let path = folder.0.join("token");
        fs::write(&path, format!("{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7));

    #[test]
    fn the_token_opens_by_header_address_and_the_cookie_that_follows() {
        let folder = Folder::new("gate");
        let gate = gate(&folder);
        let plain = Uri::from_static("/events");
        let ask = |headers, uri: &Uri| gate.ask(HERE, &headers, uri, Instant::now());
        let bearer = with(header::AUTHORIZATION, &format!("Bearer {TOKEN}"));
        assert_eq!(ask(bearer, &plain), Entry::Open);
        let by_address: Uri = format!("/?a=b&token={TOKEN}").parse().unwrap();
        assert_eq!(ask(HeaderMap::new(), &by_address), Entry::OpenByAddress);
        assert_eq!(ask(HeaderMap::new(), &plain), Entry::NoToken);
        let told = gate.set_cookie();
        assert!(
            told.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"),
            "{told}"
        );
        let pair = told.split(';').next().unwrap();
        assert!(!pair.contains(TOKEN));
        let kept = with(header::COOKIE, &format!("theme=dark; {pair}"));
        assert_eq!(ask(kept, &plain), Entry::Open);
        // Of an earlier run: no token, and no guess either.
        let old = with(header::COOKIE, "gazed-7880=AAAA");
        assert_eq!(ask(old, &plain), Entry::NoToken);
    }

    #[test]
    fn wrong_tokens_make_their_address_wait_and_no_other() {
        let folder = Folder::new("wrong");
        let gate = gate(&folder);
        let uri = Uri::from_static("/");
        let [right, wrong] = [TOKEN, "0123456789abcdef01234568"]
            .map(|token| with(header::AUTHORIZATION, &format!("Bearer {token}")));
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(gate.ask(HERE, &wrong, &uri, now), Entry::WrongToken);
            // Not even the right one is looked at.
            let Entry::Wait(wait) = gate.ask(HERE, &right, &uri, now) else {
                panic!("heard at once");
            };
            waits.push(wait.as_millis());
            now += wait;
        }
        assert_eq!(&waits[..4], [250, 500, 1000, 2000]);
        assert_eq!(&waits[8..], [60_000; 4]);
        let other = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 8));
        assert_eq!(gate.ask(HERE, &wrong, &uri, now), Entry::WrongToken);
        assert_eq!(gate.ask(other, &right, &uri, now), Entry::Open);
        now += LONGEST_WAIT;
        assert_eq!(gate.ask(HERE, &right, &uri, now), Entry::Open);
        assert_eq!(gate.ask(HERE, &wrong, &uri, now), Entry::WrongToken);
        assert_eq!(
            gate.ask(HERE, &wrong, &uri, now),
            Entry::Wait(FIRST_WAIT),
            "the right token makes up for it"
        );
    }

    #[test]
    fn addresses_do_not_fill_memory() {
        let folder = Folder::new("many");
        let gate = gate(&folder);
        let wrong = with(header::AUTHORIZATION, "Bearer x");
        let now = Instant::now();
        for n in 0..3 * MAX_ADDRESSES as u32 {
            let from = IpAddr::V4(std::net::Ipv4Addr::from(n));
            gate.ask(from, &wrong, &Uri::from_static("/"), now);
        }
        assert!(gate.wrong.lock().unwrap().len() <= MAX_ADDRESSES);
        let [one, other]: [IpAddr; 2] =
            ["fe80::1", "fe80::2:3"].map(|address| address.parse().unwrap());
        assert_eq!(network(one), network(other));
    }

    #[test]
    fn a_token_that_is_short_odd_or_open_to_all_is_refused() {
        let folder = Folder::new("odd");
        for text in ["", "short", "0123456789abcdef 1234567890", &"x".repeat(257)] {
            let refused = Gate::load(&secret(&folder, text), 7880, true).unwrap_err();
            assert!(refused.to_string().contains("openssl rand -hex 32"));
        }
        let path = secret(&folder, TOKEN);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        let refused = Gate::load(&path, 7880, true).unwrap_err();
        assert!(refused.to_string().contains("chmod o="), "{refused}");
        let refused = Gate::load(&folder.0.join("none"), 7880, true).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("server.token_file: cannot read")
        );
    }
}
