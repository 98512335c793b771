//! Who may do what: token, host, origin, rate.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::error::ApiError;
use super::page;
use super::rate::Bucket;
use super::web::Web;
use crate::{Error, Result};

/// Shorter tokens can be guessed.
const SHORTEST_TOKEN: usize = 16;
/// Wrong tokens a second that are answered as such, and at once.
const FAILURES: (f64, f64) = (2.0, 10.0);
/// Name of the cookie that a browser gets for the token.
const COOKIE: &str = "kaizen";

/// A secret that callers must show.
pub(in crate::app) struct Token {
    digest: [u8; 32],
    /// What the browser keeps instead of the token, in hexadecimal.
    cookie: String,
}

impl Token {
    /// The token in a file: its text without surrounding space.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Config`] if it is short.
    pub(in crate::app) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        Self::new(text.trim())
    }

    fn new(text: &str) -> Result<Self> {
        if text.len() < SHORTEST_TOKEN {
            let allowed = format!(
                "a file with {SHORTEST_TOKEN} characters or more (`openssl rand -hex 24` makes some)"
            );
            return Err(Error::config("token-file", format!("a token of {}", text.len()), allowed));
        }
        let cookie = Sha256::new().chain_update(b"kaizen browser session\0").chain_update(text).finalize();
        let cookie = cookie.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { digest: digest(text.as_bytes()), cookie })
    }

    /// Compares in a time that does not depend on where the two differ, nor on their lengths.
    fn is(&self, shown: &str) -> bool {
        self.digest.ct_eq(&digest(shown.as_bytes())).into()
    }

    fn is_cookie(&self, shown: &str) -> bool {
        digest(self.cookie.as_bytes()).ct_eq(&digest(shown.as_bytes())).into()
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What is asked of every request.
pub(in crate::app) struct Access {
    token: Option<Token>,
    /// Names under which it may be called, besides `localhost` and addresses.
    hosts: Vec<String>,
    failures: Bucket,
}

impl Access {
    /// Access to a server on `address`.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that others reach, without a token.
    pub(in crate::app) fn new(address: SocketAddr, token: Option<Token>, hosts: Vec<String>) -> Result<Self> {
        if !address.ip().is_loopback() && token.is_none() {
            let allowed = "a loopback address such as 127.0.0.1:8080; any other needs --token-file FILE";
            return Err(Error::config("listen", address, allowed));
        }
        Ok(Self { token, hosts, failures: Bucket::new(FAILURES) })
    }

    /// Whether the `Host` is one that a name on the internet cannot be made to point here as (DNS rebinding): an
    /// address, `localhost`, or a name that was allowed.
    fn knows_host(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        bare.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    fn is_let_in(&self, headers: &HeaderMap) -> bool {
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

    fn refusal(&self) -> ApiError {
        if self.failures.take() {
            ApiError::new(
                StatusCode::UNAUTHORIZED,
                "the token of --token-file is needed: Authorization: Bearer TOKEN",
            )
        } else {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens: wait a second")
        }
    }
}

/// Holds each request against [`Access`] before anything else sees it.
pub(super) async fn check(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    match verdict(&web, &request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused,
    }
}

#[allow(clippy::result_large_err, reason = "it is the answer itself, made once")]
fn verdict(web: &Web, request: &Request) -> std::result::Result<(), Response> {
    let headers = request.headers();
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let refuse = |status, why: &str| Err(ApiError::new(status, why).into_response());
    let Some(host) = text(header::HOST).or_else(|| request.uri().host()) else {
        return refuse(StatusCode::BAD_REQUEST, "a Host is needed");
    };
    if !web.access.knows_host(host) {
        return refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "this host name is not served: use the address, or start with --allow-host NAME",
        );
    }
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    // A page of another site can make a browser send requests here; the browser then says where they come from.
    let from_elsewhere = text(header::ORIGIN).is_some_and(|origin| {
        let same = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        same != Some(host)
    });
    let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("?"));
    let across = site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    if from_elsewhere || (is_change && across) {
        return refuse(StatusCode::FORBIDDEN, "requests from pages of other sites are refused");
    }
    if !web.access.is_let_in(headers) && request.uri().path() != page::LOGIN {
        let refusal = web.access.refusal();
        let is_page = *request.method() == Method::GET && request.uri().path() == "/";
        return Err(if is_page { page::login() } else { refusal.into_response() });
    }
    if is_change && !web.writes.take() {
        return refuse(StatusCode::TOO_MANY_REQUESTS, "too many changes at once: wait a second");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef-secret";

    fn access(token: bool) -> Access {
        let token = token.then(|| Token::new(TOKEN).unwrap());
        Access::new(([127, 0, 0, 1], 80).into(), token, vec!["jetson.local".to_owned()]).unwrap()
    }

    fn let_in(name: header::HeaderName, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        access(true).is_let_in(&headers)
    }

    #[test]
    fn only_the_token_or_its_cookie_opens() {
        assert!(let_in(header::AUTHORIZATION, &format!("Bearer {TOKEN}")));
        for wrong in ["Bearer ", "Bearer 0123456789abcdef-secre", TOKEN, "Basic x"] {
            assert!(!let_in(header::AUTHORIZATION, wrong), "{wrong}");
        }
        let cookie = access(true).cookie(TOKEN).unwrap();
        let pair = cookie.split(';').next().unwrap();
        assert!(!pair.contains(TOKEN) && cookie.contains("HttpOnly; SameSite=Strict"));
        assert!(let_in(header::COOKIE, &format!("a=b; {pair}")));
        assert!(!let_in(header::COOKIE, &format!("kaizen={TOKEN}")));
        assert!(access(true).cookie("wrong").is_err());
        assert!(access(false).is_let_in(&HeaderMap::new()));
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
