//! Failures as HTTP.

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Error;
use crate::session::live::Busy;

/// Why a request was not done.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Failure {
    /// What, why, and the way out.
    error: String,
}

/// A failure with its status.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    error: String,
    /// Seconds after which to try again.
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

    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping: this was not done")
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} is not there"))
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
        let status = match &error {
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
        };
        Self::new(status, error.to_string())
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}
