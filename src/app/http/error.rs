//! Failures as answers of the API.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Error;
use crate::error::sentence;
use crate::session::live::Busy;

/// The reason why a request was not done.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Failure {
    /// The thing, the reason, and the way out.
    error: String,
}

/// A failure with its status.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    error: String,
    /// The seconds after which to try again.
    retry_after: Option<u16>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), retry_after: None }
    }

    pub(super) fn busy(busy: Busy) -> Self {
        let (retry_after, why) = match busy {
            Busy::Full => (2, "too much waits for the learner: try again in a few seconds"),
            Busy::Building => (
                60,
                "the backbone is still being made (TensorRT takes minutes the first time), or could not be: frames are \
                 answered, but nothing is taught or learned; see `backbone` in /api/v1/status",
            ),
        };
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::TOO_MANY_REQUESTS, why) }
    }

    /// A refusal that ends after some seconds.
    pub(super) fn for_now(error: impl Into<String>, seconds: u16) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, error) }
    }

    /// Whether a token is asked for, and none has been guessed too often.
    pub(super) fn asks_for_a_token(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping: this was not done")
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} is not there"))
    }

    /// A value in a request that is out of its range.
    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, why)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Failure { error: self.error })).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::new(status(&error), sentence(&error))
    }
}

/// The status of an error, as in the table of docs/errors.md.
fn status(error: &Error) -> StatusCode {
    match error {
        // A class is named in the request, the others in its path.
        Error::NotFound { what: "class", .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Error::NotFound { .. } => StatusCode::NOT_FOUND,
        Error::Config { .. } | Error::Shape { .. } | Error::Frame { .. } | Error::Refused { .. } => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Error::NotReady { .. } => StatusCode::CONFLICT,
        Error::State { .. } | Error::Full { .. } | Error::Io { .. } => StatusCode::INSUFFICIENT_STORAGE,
        Error::Corrupt { .. }
        | Error::Model { .. }
        | Error::Provider { .. }
        | Error::Device { .. }
        | Error::NonFinite { .. }
        | Error::Source { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn one_of_each() -> Vec<Error> {
        let text = String::new;
        vec![
            Error::config("engine", "tpu", "auto, gpu or cpu"),
            Error::shape("features", [1], [2]),
            Error::Model { path: "a.onnx".into(), reason: text() },
            Error::Provider { asked: text(), reason: text() },
            Error::Device { adapter: text(), reason: text() },
            Error::NonFinite { term: text(), step: 0 },
            Error::Source { uri: text(), reason: text() },
            Error::Frame { name: text(), reason: text() },
            Error::State { path: "s.db".into(), reason: text() },
            Error::not_ready("", "", ""),
            Error::not_found("cluster", "", ""),
            Error::corrupt("", "", ""),
            Error::refused("", "", ""),
            Error::full("", "", ""),
            Error::io("a")(std::io::ErrorKind::NotFound.into()),
        ]
    }

    #[test]
    fn the_documentation_has_every_error_with_its_status() {
        let table = include_str!("../../../docs/errors.md").lines();
        let cells = table.filter_map(|row| row.strip_prefix("| `")?.strip_suffix(" |"));
        let rows: BTreeMap<&str, &str> =
            cells.map(|row| (row.split('`').next().unwrap(), row.rsplit("| ").next().unwrap())).collect();
        let source = include_str!("../../error.rs").split("impl Error {").next().unwrap();
        let variants: BTreeSet<&str> = (source.lines())
            .filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {"))
            .filter(|name| name.chars().all(char::is_alphanumeric))
            .collect();
        assert_eq!(rows.keys().copied().collect::<BTreeSet<_>>(), variants);
        assert_eq!(one_of_each().len(), variants.len());
        for error in one_of_each() {
            let debug = format!("{error:?}");
            let name = debug.split(' ').next().unwrap();
            assert!(rows[name].starts_with(status(&error).as_str()), "{name}: {}", rows[name]);
        }
        assert!(rows["NotFound"].contains(status(&Error::not_found("class", "", "")).as_str()));
    }

    #[test]
    fn an_answer_says_the_same_as_the_terminal() {
        let full = || Error::io("state.db")(std::io::ErrorKind::StorageFull.into());
        let answer = ApiError::from(full());
        assert_eq!(answer.error, sentence(&full()));
        assert!(answer.error.contains("make room"), "{}", answer.error);
    }
}
