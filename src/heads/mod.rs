//! The parts that learn: named parameters with shapes, and the layer lists that they belong to.
//! Knows no loss.
//!
//! Names follow the method (arXiv 2303.17235, design A on a frozen trunk):
//! `adapter.{norm,down,up}`, and `projector`, `predictor`, `distill_predictor`, `classifier` as
//! numbered layers (`projector.0.weight`). Frozen and moving copies carry a prefix: `teacher.` and
//! `momentum.`.

mod architecture;
mod parameters;

pub use architecture::{Adapter, Architecture, Layer, Mlp, Norm};
pub use parameters::{Parameters, Tensor};
