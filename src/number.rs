//! Conversions of numbers: counts to floating point, bytes to text.

use sha2::{Digest as _, Sha256};

/// A count as `f64`; exact below 2^53.
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
#[must_use]
pub fn real(count: usize) -> f64 {
    count as f64
}

/// Bytes as lower-case hexadecimal digits, two each.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of bytes, in hexadecimal digits.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
