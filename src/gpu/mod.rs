//! The only place that names `wgpu`: adapter and device, shader composition, buffers, recorded
//! plans, and one host file per kernel family. It knows nothing of losses, heads or schedules.

pub mod buffer;
pub mod device;
#[cfg(target_os = "linux")]
mod display;
pub mod hyper;
pub mod kernel;
pub(crate) mod kernels;
pub mod plan;
pub mod recorder;
pub mod shader;

#[cfg(test)]
pub(crate) mod testing;

pub use buffer::Buffer;
pub use device::Device;
pub use hyper::Hyper;
pub use plan::Plan;
pub use recorder::Recorder;
