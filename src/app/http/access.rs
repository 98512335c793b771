//! Who may call: the secret that callers show, the names under which they call, and how fast they
//! may guess.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::error::ApiError;
use super::limiter::{Limiter, limiter};
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

/// The conditions that every request must meet.
pub(crate) struct Access {
    token: Option<Token>,
    /// The names under which the server may be called, besides `localhost` and addresses.
    hosts: Vec<String>,
    /// Wrong tokens that are answered as such; further ones have to wait.
    failures: Limiter,
}

impl Access {
    /// Access to a server on `address`.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that others reach, without a token.
    pub(crate) fn new(address: SocketAddr, token: Option<Token>, hosts: Vec<String>) -> Result<Self> {
        if !address.ip().is_loopback() && token.is_none() {
            let allowed = "a loopback address such as 127.0.0.1:8080; any other needs --token-file FILE";
            return Err(Error::config("listen", address, allowed));
        }
        Ok(Self { token, hosts, failures: limiter(2, 10) })
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

    /// Whether the caller shows the token or its cookie, where one is asked for.
    pub(super) fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let cookies = text(header::COOKIE).unwrap_or_default().split(';');
        let cookie = cookies.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE);
        bearer.is_some_and(|shown| token.is(shown)) || cookie.is_some_and(|(_, shown)| token.is_cookie(shown))
    }

    /// The cookie for a browser that shows the right token.
    pub(super) fn cookie(&self, shown: &str) -> std::result::Result<String, ApiError> {
        match &self.token {
            Some(token) if token.is(shown.trim()) => {
                Ok(format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000", token.cookie))
            }
            Some(_) => Err(self.refusal()),
            None => Err(ApiError::not_found("a token: this server asks for none, so the login")),
        }
    }

    /// The answer to a caller without the token.
    pub(super) fn refusal(&self) -> ApiError {
        if self.failures.check().is_ok() {
            ApiError::new(
                StatusCode::UNAUTHORIZED,
                "the token of --token-file is needed: Authorization: Bearer TOKEN",
            )
        } else {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens: wait a second")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef-secret";

    fn access(token: bool) -> Access {
        let token = token.then(|| Token::new(TOKEN).unwrap());
        Access::new(([127, 0, 0, 1], 80).into(), token, vec!["jetson.local".to_owned()]).unwrap()
    }

    fn lets_in(name: header::HeaderName, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        access(true).lets_in(&headers)
    }

    #[test]
    fn only_the_token_or_its_cookie_opens() {
        assert!(lets_in(header::AUTHORIZATION, &format!("Bearer {TOKEN}")));
        for wrong in ["Bearer ", "Bearer 0123456789abcdef-secre", TOKEN, "Basic x"] {
            assert!(!lets_in(header::AUTHORIZATION, wrong), "{wrong}");
        }
        let cookie = access(true).cookie(TOKEN).unwrap();
        let pair = cookie.split(';').next().unwrap();
        assert!(!pair.contains(TOKEN) && cookie.contains("HttpOnly; SameSite=Strict"));
        assert!(lets_in(header::COOKIE, &format!("a=b; {pair}")));
        assert!(!lets_in(header::COOKIE, &format!("kaizen={TOKEN}")));
        assert!(access(true).cookie("wrong").is_err());
        assert!(access(false).lets_in(&HeaderMap::new()));
        assert!(Token::new("short").is_err());
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
        let error = Access::new(([0, 0, 0, 0], 80).into(), None, Vec::new()).err().unwrap().to_string();
        assert!(error.contains("--token-file"), "{error}");
        assert!(Access::new(([0, 0, 0, 0], 80).into(), Token::new(TOKEN).ok(), Vec::new()).is_ok());
    }
}
