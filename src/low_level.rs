//! The parts below the front door: backbones, engines, kernels, closed forms, the state file. They
//! are what `kaizen-bench` and the tests are made of, and what to reach for when the learner does
//! not fit. They may change in any release.

/// Backbones and who runs them.
pub mod backbone {
    pub use crate::backbone::*;
}
/// Events for whoever watches.
pub mod event {
    pub use crate::event::*;
}
/// What was learned as ONNX.
#[cfg(feature = "tract")]
pub mod export {
    pub use crate::export::*;
}
/// Files that are either whole or untouched.
pub mod file {
    pub use crate::file::*;
}
/// The GPU: device, buffers, recorded plans, kernels.
pub mod gpu {
    pub use crate::gpu::*;
}
/// Named parameters with shapes.
pub mod heads {
    pub use crate::heads::*;
}
/// Identifiers.
pub mod ids {
    pub use crate::ids::*;
}
/// The objective, the training step, both engines, closed forms.
pub mod learn {
    pub use crate::learn::*;
}
/// The state file.
pub mod memory {
    pub use crate::memory::*;
}
/// Conversions of numbers.
pub mod number {
    pub use crate::number::*;
}
/// The definition of every kernel on the CPU.
pub mod reference {
    pub use crate::reference::*;
}
/// The only randomness.
pub mod rng {
    pub use crate::rng::*;
}
/// The learner on features, and what it is made of.
pub mod session {
    pub use crate::session::*;
}
/// Frames and where they come from.
pub mod vision {
    pub use crate::vision::*;
}
