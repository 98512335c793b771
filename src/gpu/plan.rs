//! Recording: dispatches are recorded once per shape and replayed, one pass and one submit for many steps.

use std::sync::Arc;

use crate::Result;
use crate::gpu::device::{Counters, Pipeline};
use crate::gpu::shader::Access;
use crate::gpu::{Buffer, Device};

/// Distance of two steps' `hyper` values, the largest alignment that WebGPU allows a device to ask for.
pub const HYPER_STRIDE_BYTES: u32 = 256;

const MAX_WORKGROUPS: u32 = 65_535;

struct Dispatch {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    workgroups: [u32; 3],
    uses_hyper: bool,
}

/// A recorded sequence of dispatches, replayed as often as needed with no further allocation.
pub struct Plan {
    dispatches: Vec<Dispatch>,
    slots: u32,
    hyper: wgpu::Buffer,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plan({} dispatches, {} slots)", self.dispatches.len(), self.slots)
    }
}

/// Records dispatches into a [`Plan`].
pub struct Recorder<'d> {
    /// The device that the plan will run on.
    pub device: &'d Device,
    plan: Plan,
}

impl<'d> Recorder<'d> {
    /// A recorder whose plan can run up to `slots` steps per submit.
    #[must_use]
    pub fn new(device: &'d Device, slots: u32) -> Self {
        Counters::add(&device.counters.allocations);
        let hyper = device.raw.create_buffer(&wgpu::BufferDescriptor {
            label: Some("hyper"),
            size: u64::from(slots.max(1) * HYPER_STRIDE_BYTES),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self { device, plan: Plan { dispatches: Vec::new(), slots: slots.max(1), hyper } }
    }

    /// Records one dispatch of `kernel` (`"family/kernel"`). `params` are the bytes of its `Params`; `buffers` are
    /// its storage bindings in binding order; `constants` its override constants. A dispatch of no workgroups
    /// is left out.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the shader is refused or the number of buffers is not what it declares.
    pub fn dispatch(
        &mut self,
        kernel: &str,
        params: &[u8],
        buffers: &[&Buffer],
        constants: &[(&str, f64)],
        workgroups: [u32; 3],
    ) -> Result<()> {
        if workgroups.contains(&0) {
            return Ok(());
        }
        let pipeline = self.device.pipeline(kernel, constants)?;
        let params = self.params_buffer(kernel, params);
        let mut storage = buffers.iter();
        let mut entries = Vec::with_capacity(pipeline.bindings.len());
        for binding in &pipeline.bindings {
            let resource = match binding.access {
                Access::Params => Some(params.as_entire_binding()),
                Access::Hyper => Some(wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &self.plan.hyper,
                    offset: 0,
                    size: std::num::NonZeroU64::new(u64::from(HYPER_STRIDE_BYTES)),
                })),
                Access::Read | Access::Write => storage.next().map(|buffer| buffer.raw.as_entire_binding()),
            };
            let Some(resource) = resource else {
                return Err(self.device.error(format!("{kernel}: no buffer for binding `{}`", binding.name)));
            };
            entries.push(wgpu::BindGroupEntry { binding: binding.index, resource });
        }
        if storage.next().is_some() {
            return Err(self
                .device
                .error(format!("{kernel}: {} buffers are more than it declares", buffers.len())));
        }
        let scope = self.device.raw.push_error_scope(wgpu::ErrorFilter::Validation);
        let bind_group = self.device.raw.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel),
            layout: &pipeline.layout,
            entries: &entries,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(self.device.error(format!("{kernel}: {error}")));
        }
        let uses_hyper = pipeline.bindings.iter().any(|b| b.access == Access::Hyper);
        self.plan.dispatches.push(Dispatch { pipeline, bind_group, workgroups, uses_hyper });
        Ok(())
    }

    fn params_buffer(&self, kernel: &str, params: &[u8]) -> wgpu::Buffer {
        Counters::add(&self.device.counters.allocations);
        let buffer = self.device.raw.create_buffer(&wgpu::BufferDescriptor {
            label: Some(kernel),
            size: params.len().max(16) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.device.queue.write_buffer(&buffer, 0, params);
        buffer
    }

    /// The finished plan.
    #[must_use]
    pub fn finish(self) -> Plan {
        self.plan
    }
}

impl Plan {
    /// Most steps that one [`Plan::run`] can take.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots as usize
    }

    /// Number of dispatches per step.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.dispatches.len()
    }

    /// Runs one step per element of `hyper` (bytes of the `Hyper` uniform, at most 256 each), all in one compute
    /// pass and one submit. Does not wait.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if there are more steps than slots.
    pub fn run(&self, device: &Device, hyper: &[impl AsRef<[u8]>]) -> Result<()> {
        if hyper.len() > self.slots() {
            return Err(device.error(format!("{} steps in a plan of {} slots", hyper.len(), self.slots)));
        }
        for (slot, values) in hyper.iter().enumerate() {
            let offset = slot as u64 * u64::from(HYPER_STRIDE_BYTES);
            device.queue.write_buffer(&self.hyper, offset, values.as_ref());
        }
        let mut encoder = device.raw.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for offset in (0..hyper.len()).map(|slot| u32::try_from(slot).unwrap_or(0) * HYPER_STRIDE_BYTES) {
                for dispatch in &self.dispatches {
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

/// Workgroup counts for `items` items, `per_group` to a workgroup, folded into two dimensions beyond 65 535
/// (`common/index.wgsl` is the way back).
#[must_use]
pub fn fold(items: usize, per_group: usize) -> [u32; 3] {
    let groups = u32::try_from(items.div_ceil(per_group)).unwrap_or(u32::MAX);
    if groups <= MAX_WORKGROUPS {
        [groups, 1, 1]
    } else {
        [MAX_WORKGROUPS, groups.div_ceil(MAX_WORKGROUPS), 1]
    }
}

/// A size as the shaders know it.
///
/// # Errors
/// [`crate::Error::Shape`] beyond `u32`.
pub fn size(what: &str, value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| crate::Error::shape(what, "below 2^32", value))
}
