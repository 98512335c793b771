//! Host side of the kernels: one file per family, equal in stem to `shaders/<family>/` and
//! `reference::<family>`. Each function records one kernel; what it computes and the shapes of its
//! arrays stand with the definition of the same name in `reference`.
//!
//! All of them return [`Error::Shape`](crate::Error::Shape) if a buffer is too small for the sizes
//! given, and [`Error::Device`](crate::Error::Device) if the shader is refused.

pub(crate) mod activation;
pub(crate) mod batch;
pub(crate) mod classify;
pub(crate) mod contrast;
pub(crate) mod convolution;
pub(crate) mod distill;
pub(crate) mod linear;
pub(crate) mod normalize;
pub(crate) mod optim;
pub(crate) mod pool;
pub(crate) mod reduce;
