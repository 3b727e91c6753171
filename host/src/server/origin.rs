//! Who may ask the page's port: this machine's own programs and the page itself.
//!
//! The port is open to every program on the machine, and a browser is one that runs other
//! people's programs. Any web site may make the browser send requests to loopback, and by
//! pointing its own name at 127.0.0.1 (DNS rebinding) it may even read the answers. So a request
//! must name this machine in `Host`, and a browser's `Origin` must be the page's own. Beyond
//! loopback the machine has names that it does not know of: there the token and the certificate
//! keep others out, and `Origin` must be what `Host` says.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// Why a request is refused, in words for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// `Host` is missing or names another machine or port.
    Host,
    /// `Origin` is another web site.
    Origin,
    /// Another web site embeds what is asked for.
    CrossSite,
}

impl Refused {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Refused::Host => {
                "403: the Host header must be a loopback name with gazed's port, such as localhost:7880\n"
            }
            Refused::Origin => "403: gazed answers its own page only, not other web sites\n",
            Refused::CrossSite => "403: gazed is not embedded in other web sites\n",
        }
    }
}

/// Where requests come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Door {
    /// The port on loopback; none for an address that others can reach.
    pub(super) loopback_port: Option<u16>,
    /// `http://` or `https://`.
    pub(super) scheme: &'static str,
}

impl Door {
    fn is_own(self, authority: &str) -> bool {
        self.loopback_port
            .is_none_or(|port| is_own_authority(authority, port))
    }
}

/// Lets a request pass that is meant for this door and not sent by another web site.
pub(super) fn check(headers: &HeaderMap, door: Door) -> Result<(), Refused> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let (None, Some(host)) = (hosts.next(), host.filter(|host| door.is_own(host))) else {
        return Err(Refused::Host);
    };
    for origin in headers.get_all(header::ORIGIN) {
        let authority = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix(door.scheme));
        // On loopback one name is as good as another.
        let is_own = |authority: &str| match door.loopback_port {
            Some(_) => door.is_own(authority),
            None => authority.eq_ignore_ascii_case(host),
        };
        if !authority.is_some_and(is_own) {
            return Err(Refused::Origin);
        }
    }
    // Browsers send no Origin with `<img>`, `<script>` and frames; they say this instead. A link
    // on another site that leads here is fine.
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    let is_foreign = says("sec-fetch-site", "cross-site") || says("sec-fetch-site", "same-site");
    let is_link = says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document");
    if is_foreign && !is_link {
        return Err(Refused::CrossSite);
    }
    Ok(())
}

/// Whether `name[:port]` is this machine's loopback and the port is `port`.
fn is_own_authority(authority: &str, port: u16) -> bool {
    // An address in brackets has colons of its own.
    let split = authority
        .rfind(':')
        .filter(|&at| !authority[at..].contains(']'));
    let (name, stated) = match split {
        Some(at) => (&authority[..at], authority[at + 1..].parse().ok()),
        None => (authority, Some(80)),
    };
    stated == Some(port) && is_loopback_name(name)
}

fn is_loopback_name(name: &str) -> bool {
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_at(door: Door, pairs: &[(&'static str, &str)]) -> Result<(), Refused> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        check(&headers, door)
    }

    fn asked(pairs: &[(&'static str, &str)]) -> Result<(), Refused> {
        let door = Door {
            loopback_port: Some(7880),
            scheme: "http://",
        };
        asked_at(door, pairs)
    }

    #[test]
    fn beyond_loopback_the_origin_must_be_the_host() {
        let door = Door {
            loopback_port: None,
            scheme: "https://",
        };
        let host = ("host", "pi.local:7880");
        assert_eq!(asked_at(door, &[host]), Ok(()));
        assert_eq!(
            asked_at(door, &[host, ("origin", "https://pi.local:7880")]),
            Ok(())
        );
        for origin in [
            "http://pi.local:7880",
            "https://evil.example",
            "https://pi.local",
            "null",
        ] {
            let found = asked_at(door, &[host, ("origin", origin)]);
            assert_eq!(found, Err(Refused::Origin), "{origin}");
        }
        assert_eq!(asked_at(door, &[]), Err(Refused::Host));
    }

    #[test]
    fn this_machines_names_pass() {
        for host in [
            "localhost:7880",
            "LOCALHOST:7880",
            "127.0.0.1:7880",
            "127.9.9.9:7880",
            "[::1]:7880",
        ] {
            assert_eq!(asked(&[("host", host)]), Ok(()), "{host}");
            let origin = format!("http://{host}");
            assert_eq!(asked(&[("host", host), ("origin", &origin)]), Ok(()));
        }
    }

    #[test]
    fn other_names_ports_and_tricks_do_not() {
        for host in [
            "evil.example:7880",
            "localhost.evil.example:7880",
            "127.0.0.1.evil.example:7880",
            "localhost:80",
            "localhost",
            "192.168.1.2:7880",
            "0.0.0.0:7880",
            "[::1]",
            "[::2]:7880",
            "user@localhost:7880",
            "localhost:7880:7880",
            "",
        ] {
            assert_eq!(asked(&[("host", host)]), Err(Refused::Host), "{host}");
        }
        assert_eq!(asked(&[]), Err(Refused::Host));
        let twice = [("host", "localhost:7880"), ("host", "evil.example:7880")];
        assert_eq!(asked(&twice), Err(Refused::Host));
    }

    #[test]
    fn other_sites_are_refused() {
        for origin in [
            "http://evil.example",
            "http://evil.example:7880",
            "https://localhost:7880",
            "http://localhost:3000",
            "http://localhost:7880.evil.example",
            "http://localhost:7880/",
            "null",
            "file://",
        ] {
            let found = asked(&[("host", "localhost:7880"), ("origin", origin)]);
            assert_eq!(found, Err(Refused::Origin), "{origin}");
        }
    }

    #[test]
    fn a_link_from_another_site_passes_and_an_embedded_picture_does_not() {
        let host = ("host", "localhost:7880");
        let link = [
            host,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert_eq!(asked(&link), Ok(()));
        let frame = [link[0], link[1], link[2], ("sec-fetch-dest", "iframe")];
        assert_eq!(asked(&frame), Err(Refused::CrossSite));
        let script = [host, link[1], ("sec-fetch-mode", "no-cors")];
        assert_eq!(asked(&script), Err(Refused::CrossSite));
        assert_eq!(asked(&[host, ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(asked(&[host, ("sec-fetch-site", "none")]), Ok(()));
    }
}
