//! The options of `kaizen serve` that a configuration file may hold as well, in its table
//! `[serve]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::http::{Access, Certificate, Token, Transport};
use crate::{Error, Result};

/// The variable in which systemd names the folder of `LoadCredential=`.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The options of `kaizen serve` that say who may reach it, and how.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct ServerOptions {
    /// Address to listen on; any but a loopback address needs a token [default: 127.0.0.1:8080]
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// File with a secret that every client must show [default: systemd's credential `token`, if it
    /// is there]
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Name under which browsers may call this machine, besides localhost and its addresses; may be
    /// repeated
    #[arg(long)]
    allow_host: Vec<String>,
    /// PEM file with the certificate chain of TLS; SIGHUP reads it again [default: systemd's
    /// credential `tls-cert`, if it is there]
    #[arg(long)]
    tls_cert: Option<PathBuf>,
    /// PEM file with its private key [default: systemd's credential `tls-key`, if it is there]
    #[arg(long)]
    tls_key: Option<PathBuf>,
    /// A TLS proxy on this machine stands between: the cookie is for TLS alone, and who guesses is
    /// told by the last entry of X-Forwarded-For
    #[arg(long)]
    behind_tls: bool,
    /// Folder for the copies of the state that `POST /api/v1/backup` makes [default: it makes none]
    #[arg(long)]
    backup_folder: Option<PathBuf>,
}

impl ServerOptions {
    /// These options; each that was not given is taken from `file`.
    pub(super) fn over(self, file: Self) -> Self {
        let Self { listen, token_file, allow_host, tls_cert, tls_key, behind_tls, backup_folder } = self;
        Self {
            listen: listen.or(file.listen),
            token_file: token_file.or(file.token_file),
            allow_host: if allow_host.is_empty() { file.allow_host } else { allow_host },
            tls_cert: tls_cert.or(file.tls_cert),
            tls_key: tls_key.or(file.tls_key),
            behind_tls: behind_tls || file.behind_tls,
            backup_folder: backup_folder.or(file.backup_folder),
        }
    }

    /// These options; each secret that was not given is taken from systemd's credentials.
    pub(super) fn with_credentials(self) -> Self {
        match std::env::var_os(CREDENTIALS) {
            Some(folder) => self.with_credentials_in(Path::new(&folder)),
            None => self,
        }
    }

    fn with_credentials_in(mut self, folder: &Path) -> Self {
        for (option, name) in [
            (&mut self.token_file, "token"),
            (&mut self.tls_cert, "tls-cert"),
            (&mut self.tls_key, "tls-key"),
        ] {
            let credential = folder.join(name);
            if option.is_none() && credential.is_file() {
                *option = Some(credential);
            }
        }
        self
    }

    /// The address to listen on.
    pub(super) fn address(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 8080).into())
    }

    /// The folder for copies of the state.
    pub(super) fn backup_folder(&self) -> Option<&Path> {
        self.backup_folder.as_deref()
    }

    /// The conditions that every request must meet.
    ///
    /// # Errors
    /// As [`Token::read`] and [`Access::new`].
    pub(super) fn access(&self) -> Result<Access> {
        let token = self.token_file.as_deref().map(Token::read).transpose()?;
        let transport = match (self.behind_tls, &self.tls_cert) {
            (true, _) => Transport::BehindTls,
            (false, Some(_)) => Transport::Tls,
            (false, None) => Transport::Plain,
        };
        Access::new(self.address(), token, self.allow_host.clone(), transport)
    }

    /// The certificate of TLS, if there is to be TLS.
    ///
    /// # Errors
    /// As [`Certificate::read`], and [`Error::Config`] for a certificate without its key.
    pub(super) fn certificate(&self) -> Result<Option<Arc<Certificate>>> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(chain), Some(key)) => Certificate::read(chain, key).map(Some),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Error::config("tls-key", "missing", "the key of --tls-cert")),
            (None, Some(_)) => Err(Error::config("tls-cert", "missing", "the certificate of --tls-key")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_were_not_given_are_systemds_credentials() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["token", "tls-cert"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let given = ServerOptions { tls_cert: Some("own.pem".into()), ..ServerOptions::default() };
        let options = given.with_credentials_in(folder.path());
        assert_eq!(options.token_file, Some(folder.path().join("token")));
        assert_eq!(options.tls_cert.as_deref(), Some(Path::new("own.pem")));
        assert_eq!(options.tls_key, None);
    }
}
