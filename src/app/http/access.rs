//! Who may call: the secret that callers show, the names under which they call, and how often they
//! may guess.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::error::ApiError;
use super::peers::{Guesses, peer};
use crate::number::hex;
use crate::{Error, Result};

/// The least number of characters of a token; shorter ones can be guessed.
const SHORTEST_TOKEN: usize = 16;
/// The name of the cookie that a browser gets for the token.
const COOKIE: &str = "kaizen";

/// A secret that callers must show.
pub(crate) struct Token {
    digest: [u8; 32],
    /// What the browser keeps instead of the token, in hexadecimal.
    cookie: String,
}

impl Token {
    /// The token in a file: its text without surrounding space.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Config`] if it is short.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        Self::new(text.trim())
    }

    fn new(text: &str) -> Result<Self> {
        if text.len() < SHORTEST_TOKEN {
            let allowed = format!(
                "a file with {SHORTEST_TOKEN} characters or more (`openssl rand -hex 24` makes some)"
            );
            return Err(Error::config(
                "token-file",
                format!("a token of {} characters", text.len()),
                allowed,
            ));
        }
        let cookie = Sha256::new().chain_update(b"kaizen browser session\0").chain_update(text).finalize();
        Ok(Self { digest: digest(text), cookie: hex(&cookie) })
    }

    /// Compares in a time that depends neither on where the two differ nor on their lengths.
    fn is(&self, shown: &str) -> bool {
        self.digest.ct_eq(&digest(shown)).into()
    }

    fn is_cookie(&self, shown: &str) -> bool {
        digest(&self.cookie).ct_eq(&digest(shown)).into()
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// How clients reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Without TLS.
    Plain,
    /// By TLS of this program.
    Tls,
    /// By a TLS proxy on this machine, which says in `X-Forwarded-For` whom it stands for.
    BehindTls,
}

/// The conditions that every request must meet.
pub(crate) struct Access {
    token: Option<Token>,
    /// The names under which the server may be called, besides `localhost` and addresses.
    hosts: Vec<String>,
    transport: Transport,
    /// Wrong tokens and cookies of each peer.
    guesses: Guesses,
    /// Wrong tokens in the login form. They are counted apart: who guesses there does not keep a
    /// program at the same address from its work.
    logins: Guesses,
}

impl Access {
    /// Access to a server on `address`.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that others reach, without a token.
    pub(crate) fn new(
        address: SocketAddr,
        token: Option<Token>,
        hosts: Vec<String>,
        transport: Transport,
    ) -> Result<Self> {
        if !address.ip().is_loopback() && token.is_none() {
            let allowed = "a loopback address such as 127.0.0.1:8080; any other needs --token-file FILE";
            return Err(Error::config("listen", address, allowed));
        }
        Ok(Self { token, hosts, transport, guesses: Guesses::default(), logins: Guesses::default() })
    }

    /// Returns whom a request comes from: the peer of the connection, or whom a proxy on this
    /// machine stands for.
    pub(super) fn peer(&self, connected: IpAddr, headers: &HeaderMap) -> IpAddr {
        if self.transport != Transport::BehindTls || !connected.to_canonical().is_loopback() {
            return peer(connected);
        }
        // The last entry is the proxy's own; those before it are the client's to make up.
        let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
        let named = forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        peer(named.unwrap_or(connected))
    }

    /// Whether the `Host` is one that a name on the internet cannot be made to point here as (DNS
    /// rebinding): an address, `localhost`, or a name that was allowed.
    pub(super) fn knows_host(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        bare.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Lets in who shows the token or its cookie, where one is asked for.
    ///
    /// # Errors
    /// The answer to whoever does not: 401, or 429 to a peer that has guessed too often, whatever
    /// it shows.
    pub(super) fn admit(&self, headers: &HeaderMap, peer: IpAddr) -> std::result::Result<(), ApiError> {
        let Some(token) = &self.token else { return Ok(()) };
        let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
        let shown = text(header::AUTHORIZATION);
        let bearer = shown.and_then(|value| value.strip_prefix("Bearer "));
        let cookies = text(header::COOKIE).unwrap_or_default().split(';');
        let cookie = cookies.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE);
        if shown.is_none() && cookie.is_none() {
            return Err(without_token());
        }
        if !self.guesses.may_try(peer) {
            return Err(too_many_guesses());
        }
        if bearer.is_some_and(|shown| token.is(shown))
            || cookie.is_some_and(|(_, shown)| token.is_cookie(shown))
        {
            return Ok(());
        }
        self.guesses.wrong(peer);
        Err(without_token())
    }

    /// The cookie for a browser that shows the right token.
    ///
    /// # Errors
    /// As [`Access::admit`].
    pub(super) fn cookie(&self, shown: &str, peer: IpAddr) -> std::result::Result<String, ApiError> {
        let Some(token) = &self.token else {
            return Err(ApiError::not_found("a token: this server asks for none, so the login"));
        };
        if !self.logins.may_try(peer) {
            return Err(too_many_guesses());
        }
        if !token.is(shown.trim()) {
            self.logins.wrong(peer);
            return Err(without_token());
        }
        let secure = match self.transport {
            Transport::Plain => "",
            Transport::Tls | Transport::BehindTls => "; Secure",
        };
        let cookie = &token.cookie;
        Ok(format!("{COOKIE}={cookie}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000{secure}"))
    }
}

fn without_token() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "the token of --token-file is needed: Authorization: Bearer TOKEN",
    )
}

fn too_many_guesses() -> ApiError {
    ApiError::for_now("too many wrong tokens from this address: wait some seconds", 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef-secret";
    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn access(token: bool) -> Access {
        reached_by(token, Transport::Plain)
    }

    fn reached_by(token: bool, transport: Transport) -> Access {
        let token = token.then(|| Token::new(TOKEN).unwrap());
        Access::new(([127, 0, 0, 1], 80).into(), token, vec!["jetson.local".to_owned()], transport).unwrap()
    }

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    fn lets_in(name: header::HeaderName, value: &str) -> bool {
        access(true).admit(&headers(name, value), PEER).is_ok()
    }

    #[test]
    fn only_the_token_or_its_cookie_opens() {
        assert!(lets_in(header::AUTHORIZATION, &format!("Bearer {TOKEN}")));
        for wrong in ["Bearer ", "Bearer 0123456789abcdef-secre", TOKEN, "Basic x", ""] {
            assert!(!lets_in(header::AUTHORIZATION, wrong), "{wrong}");
        }
        let cookie = access(true).cookie(TOKEN, PEER).unwrap();
        let pair = cookie.split(';').next().unwrap();
        assert!(!pair.contains(TOKEN) && cookie.contains("HttpOnly; SameSite=Strict"));
        assert!(lets_in(header::COOKIE, &format!("a=b; {pair}")));
        assert!(!lets_in(header::COOKIE, &format!("kaizen={TOKEN}")));
        assert!(access(true).cookie("wrong", PEER).is_err());
        assert!(access(false).admit(&HeaderMap::new(), PEER).is_ok());
        assert!(Token::new("short").is_err());
    }

    #[test]
    fn a_peer_that_guessed_too_often_is_refused_the_right_token_too_and_others_are_not() {
        let access = access(true);
        let [right, wrong] =
            [TOKEN, "wrong"].map(|it| headers(header::AUTHORIZATION, &format!("Bearer {it}")));
        let refused =
            |headers: &HeaderMap, peer| access.admit(headers, peer).err().map(|error| format!("{error:?}"));
        for _ in 0..10 {
            assert!(refused(&wrong, PEER).unwrap().contains("401"));
        }
        assert!(refused(&wrong, PEER).unwrap().contains("429"));
        assert!(refused(&right, PEER).unwrap().contains("429"));
        assert_eq!(refused(&right, OTHER), None);
        // Who shows nothing guesses nothing.
        for _ in 0..20 {
            assert!(refused(&HeaderMap::new(), OTHER).unwrap().contains("401"));
        }
        assert_eq!(refused(&right, OTHER), None);
    }

    #[test]
    fn guesses_at_the_login_do_not_count_against_programs_at_the_same_address() {
        let access = access(true);
        for _ in 0..10 {
            assert!(access.cookie("wrong", PEER).is_err());
        }
        assert!(format!("{:?}", access.cookie(TOKEN, PEER)).contains("429"));
        assert!(access.cookie(TOKEN, OTHER).is_ok());
        assert!(access.admit(&headers(header::AUTHORIZATION, &format!("Bearer {TOKEN}")), PEER).is_ok());
    }

    #[test]
    fn the_cookie_is_for_tls_alone_where_there_is_tls() {
        for (transport, is_secure) in
            [(Transport::Plain, false), (Transport::Tls, true), (Transport::BehindTls, true)]
        {
            let cookie = reached_by(true, transport).cookie(TOKEN, PEER).unwrap();
            assert_eq!(cookie.contains("; Secure"), is_secure, "{cookie}");
        }
    }

    #[test]
    fn only_a_proxy_on_this_machine_says_whom_it_stands_for() {
        let [plain, behind] = [Transport::Plain, Transport::BehindTls].map(|it| reached_by(true, it));
        let forwarded = headers(header::HeaderName::from_static("x-forwarded-for"), "203.0.113.9, 192.0.2.2");
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(behind.peer(loopback, &forwarded), OTHER);
        assert_eq!(behind.peer("::ffff:127.0.0.1".parse().unwrap(), &forwarded), OTHER);
        assert_eq!(behind.peer(PEER, &forwarded), PEER);
        assert_eq!(plain.peer(loopback, &forwarded), loopback);
        assert_eq!(behind.peer(loopback, &HeaderMap::new()), loopback);
    }

    #[test]
    fn names_that_others_control_are_no_hosts() {
        for known in
            ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "192.168.1.5", "jetson.local:80"]
        {
            assert!(access(false).knows_host(known), "{known}");
        }
        for unknown in
            ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost.evil.example"]
        {
            assert!(!access(false).knows_host(unknown), "{unknown}");
        }
    }

    #[test]
    fn an_open_address_needs_a_token() {
        let open = |token| Access::new(([0, 0, 0, 0], 80).into(), token, Vec::new(), Transport::Plain);
        let error = open(None).err().unwrap().to_string();
        assert!(error.contains("--token-file"), "{error}");
        assert!(open(Token::new(TOKEN).ok()).is_ok());
    }
}
