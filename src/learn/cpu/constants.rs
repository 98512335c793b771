//! Small numbers that keep divisions and roots finite, as PyTorch and the paper's code have them.

/// Batch norm: added to the variance.
pub(crate) const BATCH_NORM_EPS: f64 = 1e-5;
/// Batch norm: share of the batch in the running statistics.
pub(crate) const BATCH_NORM_MOMENTUM: f64 = 0.1;
/// Layer norm: added to the variance.
pub(crate) const LAYER_NORM_EPS: f64 = 1e-5;
/// Smallest norm that a row is divided by.
pub(crate) const L2_EPS: f64 = 1e-12;
/// Smallest norm in a cosine.
pub(crate) const COSINE_EPS: f64 = 1e-8;
/// VICReg: added to the variance under the root.
pub(crate) const VARIANCE_EPS: f64 = 1e-4;
/// LARS: added to the denominator of the local rate.
pub(crate) const LARS_EPS: f64 = 1e-8;
