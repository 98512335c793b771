//! The parts that learn: named parameters with shapes, and the layer lists that they belong to.
//! Knows no loss.
//!
//! Names follow the method (arXiv 2303.17235): the nodes of the extractor
//! (`adapter.{norm,down,up}`, or `tail.` and the name of the ONNX value), and `projector`,
//! `predictor`, `distill_predictor`, `classifier` as numbered layers (`projector.0.weight`). Frozen
//! and moving copies carry a prefix: `teacher.` and `momentum.`.

mod architecture;
mod extractor;
mod first;
mod parameters;
mod prefixes;
mod tail;

pub use architecture::{Architecture, Layer, Mlp, Norm};
pub use extractor::{Extractor, MapShape, Node, NodeOp};
pub use parameters::{Parameters, Tensor};
pub(crate) use prefixes::{ADAPTER, TAIL};
pub use tail::Tail;
