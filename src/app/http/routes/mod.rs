//! Handlers by what they are about.

pub(super) mod heads;
pub(super) mod status;
pub(super) mod teach;
pub(super) mod unknowns;

use axum::http::StatusCode;

use super::error::ApiError;

/// Characters of a class name.
const LONGEST_NAME: usize = 64;

/// A class name as people type it, without surrounding space.
fn class_name(text: &str) -> Result<String, ApiError> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        let why = format!("a class name has 1 to {LONGEST_NAME} characters and no control characters");
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, why));
    }
    Ok(name.to_owned())
}
