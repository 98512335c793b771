//! Names of classes, as people send them.

use crate::app::http::error::ApiError;

/// The most characters of a class name.
const LONGEST_NAME: usize = 64;

/// A class name without surrounding space.
pub(super) fn class_name(text: &str) -> Result<String, ApiError> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        let why = format!("a class name has 1 to {LONGEST_NAME} characters and no control characters");
        return Err(ApiError::invalid(why));
    }
    Ok(name.to_owned())
}
