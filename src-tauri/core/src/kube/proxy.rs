//! Owns which proxy leads to an API server, as kubectl decides it.
//!
//! Receives the server's address, the kubeconfig's `proxy-url` and the variables of the
//! environment; emits a proxy or none. What the kubeconfig names is always used;
//! `NO_PROXY` excepts servers from the environment's proxies only.

use crate::config::Secret;
use std::fmt;
use std::net::IpAddr;

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP `CONNECT`.
    Http,
    /// HTTP `CONNECT` inside TLS.
    Https,
    /// SOCKS5 (RFC 1928); names are resolved by the proxy.
    Socks5,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Its host, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Login name and password.
    pub login: Option<(String, Secret)>,
}

/// The proxies that the environment names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyEnv {
    /// `HTTPS_PROXY` or `https_proxy`: for servers with TLS.
    pub https: Option<String>,
    /// `HTTP_PROXY` or `http_proxy`: for servers without.
    pub http: Option<String>,
    /// `NO_PROXY` or `no_proxy`: servers that are reached directly.
    pub except: Option<String>,
}

/// An API server, as far as the choice needs it.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Name or address, an IPv6 address with or without brackets.
    pub host: &'a str,
    /// Port.
    pub port: u16,
}

/// The proxy that leads to `server`; `own` is the kubeconfig's `proxy-url`.
///
/// # Errors
/// What is wrong with the proxy's address, in words that hold no password.
pub fn choose_proxy(
    server: Server<'_>,
    own: Option<&str>,
    env: &ProxyEnv,
) -> Result<Option<Proxy>, String> {
    if let Some(url) = own.map(str::trim).filter(|url| !url.is_empty()) {
        return parse(url, "proxy-url").map(Some);
    }
    let (named, variable) =
        if server.tls { (&env.https, "HTTPS_PROXY") } else { (&env.http, "HTTP_PROXY") };
    match named.as_deref().map(str::trim) {
        Some(url) if !url.is_empty() && !excepted(server, env.except.as_deref()) => {
            parse(url, variable).map(Some)
        }
        _ => Ok(None),
    }
}

impl fmt::Display for Proxy {
    /// Its address without the login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Socks5 => "socks5",
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

fn parse(url: &str, variable: &str) -> Result<Proxy, String> {
    let bad = |what: &str| format!("`{variable}` {what}");
    // Without a scheme it is an HTTP proxy, as every tool reads these variables.
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "socks5" | "socks5h" => Scheme::Socks5,
        other => {
            return Err(bad(&format!(
                "has the scheme `{other}`, and only `http`, `https` and `socks5` are known"
            )));
        }
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, place) = match authority.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, authority),
    };
    let (host, port) = split_port(place).ok_or_else(|| bad("has a port that is no number"))?;
    if host.is_empty() {
        return Err(bad("names no host"));
    }
    let default = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
        Scheme::Socks5 => 1080,
    };
    let login = login.map(|login| {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        (unescape(user), Secret::new(unescape(password)))
    });
    Ok(Proxy { scheme, host: host.to_owned(), port: port.unwrap_or(default), login })
}

/// Host without brackets, and port; none when the port is no number.
fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => Some((host, None)),
        };
    }
    match place.rsplit_once(':') {
        // More than one colon is an IPv6 address without a port.
        Some((host, _)) if host.contains(':') => Some((place, None)),
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((place, None)),
    }
}

/// `%40` and the like, which logins with special characters need in an address.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Whether `NO_PROXY` lists the server. This machine itself is never behind a proxy.
fn excepted(server: Server<'_>, list: Option<&str>) -> bool {
    let host = server.host.trim_start_matches('[').trim_end_matches(']');
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    let entries = list.unwrap_or_default().split([',', ' ']).map(str::trim);
    entries.filter(|entry| !entry.is_empty()).any(|entry| {
        entry == "*" || matches(&entry.to_ascii_lowercase(), &host, address, server.port)
    })
}

fn matches(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if let Some((net, bits)) = entry.split_once('/') {
        let net = net.parse().ok().zip(bits.parse().ok());
        return address.zip(net).is_some_and(|(address, (net, bits))| within(address, net, bits));
    }
    let Some((name, only)) = split_port(entry) else { return false };
    if only.is_some_and(|only| only != port) {
        return false;
    }
    if let Ok(listed) = name.parse::<IpAddr>() {
        return address == Some(listed);
    }
    // `.example.com` and `*.example.com` are what lies below, `example.com` is itself too.
    let below = name.trim_start_matches('*');
    match below.strip_prefix('.') {
        Some(_) => host.ends_with(below),
        None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
    }
}

fn within(address: IpAddr, net: IpAddr, bits: u32) -> bool {
    match (address, net) {
        (IpAddr::V4(address), IpAddr::V4(net)) => {
            bits <= 32 && (address.to_bits() ^ net.to_bits()).leading_zeros() >= bits
        }
        (IpAddr::V6(address), IpAddr::V6(net)) => {
            bits <= 128 && (address.to_bits() ^ net.to_bits()).leading_zeros() >= bits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(server: (bool, &str, u16), own: Option<&str>, env: &ProxyEnv) -> Option<String> {
        let (tls, host, port) = server;
        choose_proxy(Server { tls, host, port }, own, env).unwrap().map(|proxy| proxy.to_string())
    }

    fn env(except: &str) -> ProxyEnv {
        ProxyEnv {
            https: Some("proxy.example:3128".to_owned()),
            http: Some("socks5://plain.example".to_owned()),
            except: Some(except.to_owned()),
        }
    }

    const API: (bool, &str, u16) = (true, "api.prod.example", 6443);

    #[test]
    fn the_kubeconfig_goes_before_the_environment() {
        let own = Some("socks5h://inner:1081");
        assert_eq!(chosen(API, own, &env("*")).as_deref(), Some("socks5://inner:1081"));
        assert_eq!(chosen(API, Some(" "), &env("")).as_deref(), Some("http://proxy.example:3128"));
        let plain = (false, "api.prod.example", 8080);
        assert_eq!(chosen(plain, None, &env("")).as_deref(), Some("socks5://plain.example:1080"));
        assert_eq!(chosen(API, None, &ProxyEnv::default()), None);
    }

    /// S7.4: the forms of `NO_PROXY` that tools share, CIDR among them.
    #[test]
    fn s7_4_no_proxy_by_name_domain_address_and_network() {
        let table = [
            (API, "*", true),
            (API, "api.prod.example", true),
            (API, "API.prod.Example", true),
            (API, "prod.example", true),
            (API, ".prod.example", true),
            (API, "*.prod.example", true),
            (API, "other.example, .example ,", true),
            (API, "other.example .example", true),
            (API, "rod.example", false),
            (API, ".api.prod.example", false),
            (API, "prod.example:6443", true),
            (API, "prod.example:443", false),
            (API, "prod.example:port", false),
            ((true, "10.1.2.3", 6443), "10.0.0.0/8", true),
            ((true, "10.1.2.3", 6443), "10.1.2.0/25", true),
            ((true, "10.1.2.200", 6443), "10.1.2.0/25", false),
            ((true, "10.1.2.3", 6443), "0.0.0.0/0", true),
            ((true, "10.1.2.3", 6443), "10.0.0.0/33", false),
            ((true, "10.1.2.3", 6443), "10.1.2.3", true),
            ((true, "10.1.2.3", 6443), "10.1.2.3:443", false),
            ((true, "10.1.2.3", 6443), "fd00::/8", false),
            ((true, "[fd00::1]", 6443), "fd00::/8", true),
            ((true, "[fd00::1]", 6443), "[fd00::1]:6443", true),
            ((true, "fd00::1", 6443), "fd00::1", true),
            ((true, "localhost", 6443), "", true),
            ((true, "127.0.0.1", 6443), "", true),
            ((true, "[::1]", 6443), "", true),
            (API, "", false),
        ];
        for (server, list, direct) in table {
            assert_eq!(chosen(server, None, &env(list)).is_none(), direct, "{server:?} {list:?}");
        }
    }

    #[test]
    fn a_login_is_unescaped_and_never_shown() {
        let server = Server { tls: true, host: "api", port: 443 };
        let own = Some("https://me:pa%40ss%3Aword@[fd00::9]:8443/");
        let proxy = choose_proxy(server, own, &ProxyEnv::default()).unwrap().unwrap();
        assert_eq!(proxy.to_string(), "https://[fd00::9]:8443");
        let (user, password) = proxy.login.clone().unwrap();
        assert_eq!((user.as_str(), password.expose()), ("me", "pa@ss:word"));
        assert!(!format!("{proxy:?}").contains("pa@ss"));
    }

    #[test]
    fn an_address_that_cannot_be_used_is_said_without_its_password() {
        for (url, words) in [
            ("ftp://me:secret@proxy", "scheme `ftp`"),
            ("http://me:secret@proxy:port", "no number"),
            ("http://me:secret@:80", "names no host"),
        ] {
            let server = Server { tls: true, host: "api", port: 443 };
            let said = choose_proxy(server, Some(url), &ProxyEnv::default()).unwrap_err();
            assert!(said.contains(words) && said.contains("`proxy-url`"), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
