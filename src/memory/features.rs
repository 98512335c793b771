//! Features as they are stored: f16, little-endian, `[D]`.

use half::f16;

/// Bytes of `values` `[D]` rounded to f16.
pub(super) fn bytes_from_features(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
}

/// The features `[D]` in `bytes`.
pub(super) fn features_from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect()
}

/// Cosine of two feature vectors `[D]`; 0 if one of them is zero.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let (mut dot, mut aa, mut bb) = (0.0_f32, 0.0_f32, 0.0_f32);
    for (x, y) in a.iter().zip(b) {
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    dot / (aa.sqrt() * bb.sqrt()).max(f32::MIN_POSITIVE)
}
