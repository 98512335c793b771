//! The only place that names `wgpu`: adapter and device, shader composition, buffers, recorded
//! plans, and one host file per kernel family. It knows nothing of losses, heads or schedules.

pub(crate) mod buffer;
pub(crate) mod device;
#[cfg(target_os = "linux")]
mod display;
pub(crate) mod hyper;
pub(crate) mod kernel;
pub(crate) mod kernels;
pub(crate) mod plan;
pub(crate) mod recorder;
pub(crate) mod shader;

#[cfg(test)]
pub(crate) mod testing;

pub(crate) use buffer::Buffer;
pub use device::Device;
pub(crate) use hyper::Hyper;
pub(crate) use plan::Plan;
pub(crate) use recorder::Recorder;
