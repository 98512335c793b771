//! The definition of every kernel on the CPU: plain loops over row-major slices, written from the
//! equation, with the backward pass derived by hand beside the forward one.
//!
//! The definitions are generic over `f32` and `f64`. In `f64` they are the oracle of all engines;
//! in `f32` the CPU engine runs them. Sizes come first. Settings are doubles, and each definition
//! rounds them once to the precision that it works in.

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
mod real;
pub(crate) mod reduce;
#[cfg(test)]
pub(crate) mod testing;

pub use real::Real;
