//! A recorded plan: dispatches replayed in one pass and one submit for many steps.

use std::sync::Arc;

use crate::Result;
use crate::gpu::device::{Counters, Device, Pipeline};
use crate::gpu::hyper::Hyper;

/// Distance of two steps' [`Hyper`] values, the largest alignment that WebGPU allows a device to
/// ask for.
pub(super) const HYPER_STRIDE_BYTES: u32 = 256;

pub(super) struct Dispatch {
    pub pipeline: Arc<Pipeline>,
    pub bind_group: wgpu::BindGroup,
    pub workgroups: [u32; 3],
    pub uses_hyper: bool,
}

/// A recorded sequence of dispatches, replayed as often as needed with no further allocation.
pub(crate) struct Plan {
    pub(super) dispatches: Vec<Dispatch>,
    pub(super) slots: u32,
    pub(super) hyper: wgpu::Buffer,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plan({} dispatches, {} slots)", self.dispatches.len(), self.slots)
    }
}

impl Plan {
    /// Most steps that one [`Plan::run`] can take.
    #[must_use]
    pub(crate) fn slots(&self) -> usize {
        self.slots as usize
    }

    /// Runs one step per element of `hyper`, all in one compute pass and one submit. Does not wait.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if there are more steps than slots.
    pub(crate) fn run(&self, device: &Device, hyper: &[Hyper]) -> Result<()> {
        if hyper.len() > self.slots() {
            return Err(device.error(format!("{} steps in a plan of {} slots", hyper.len(), self.slots)));
        }
        for (slot, values) in hyper.iter().enumerate() {
            let offset = slot as u64 * u64::from(HYPER_STRIDE_BYTES);
            device.queue.write_buffer(&self.hyper, offset, bytemuck::bytes_of(values));
        }
        let mut encoder = device.raw.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for (slot, _) in (0..).zip(hyper) {
                for dispatch in &self.dispatches {
                    let offset = slot * HYPER_STRIDE_BYTES;
                    let offsets: &[u32] = if dispatch.uses_hyper { &[offset] } else { &[] };
                    pass.set_pipeline(&dispatch.pipeline.raw);
                    pass.set_bind_group(0, &dispatch.bind_group, offsets);
                    let [x, y, z] = dispatch.workgroups;
                    pass.dispatch_workgroups(x, y, z);
                }
            }
        }
        Counters::add(&device.counters.submits);
        device.queue.submit([encoder.finish()]);
        device.check()
    }
}
