//! Recording of a [`Plan`]: each dispatch is held against what its shader declares.

use crate::gpu::buffer::Buffer;
use crate::gpu::device::{Counters, Device};
use crate::gpu::kernel::Kernel;
use crate::gpu::plan::{Dispatch, HYPER_STRIDE_BYTES, Plan};
use crate::gpu::shader::{Access, Interface};
use crate::reference::Real as _;
use crate::{Error, Result};

const MAX_WORKGROUPS: u32 = 65_535;

/// A value of a shader's `params`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Param {
    /// A size or a position, `u32` in the shader.
    Size(usize),
    /// 1 or 0, `u32` in the shader.
    Flag(bool),
    /// A number, rounded to `f32`.
    Number(f64),
}

/// Records dispatches into a [`Plan`].
pub(crate) struct Recorder<'d> {
    device: &'d Device,
    plan: Plan,
}

impl<'d> Recorder<'d> {
    /// A recorder whose plan can run up to `slots` steps per submit.
    ///
    /// # Errors
    /// [`Error::Shape`] for more slots than a `u32` counts.
    pub(crate) fn new(device: &'d Device, slots: usize) -> Result<Self> {
        let slots = size("steps per submit", slots.max(1))?;
        Counters::add(&device.counters.allocations);
        let hyper = device.raw.create_buffer(&wgpu::BufferDescriptor {
            label: Some("hyper"),
            size: u64::from(slots) * u64::from(HYPER_STRIDE_BYTES),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Ok(Self { device, plan: Plan { dispatches: Vec::new(), slots, hyper } })
    }

    /// Records one dispatch of `kernel`. `params` are the values of its `Params` in the shader's
    /// order, by name; `buffers` are its storage bindings in binding order, each with the number of
    /// elements that the kernel reaches. A dispatch of no workgroups is left out.
    ///
    /// # Errors
    /// [`Error::Shape`] if a buffer is too small, or if `params` or `buffers` are not what the
    /// shader declares; [`Error::Device`] if the shader is refused.
    pub(crate) fn dispatch(
        &mut self,
        kernel: &Kernel,
        params: &[(&str, Param)],
        buffers: &[(&Buffer, usize)],
        workgroups: [u32; 3],
    ) -> Result<()> {
        if workgroups.contains(&0) {
            return Ok(());
        }
        let pipeline = self.device.pipeline(kernel)?;
        let Interface { bindings, .. } = &pipeline.interface;
        let params = self.uniform(kernel.name, &packed(kernel.name, &pipeline.interface, params)?);
        let is_storage = |access: Access| matches!(access, Access::Read | Access::Write);
        let storage: Vec<_> = bindings.iter().filter(|binding| is_storage(binding.access)).collect();
        if storage.len() != buffers.len() {
            let names: Vec<_> = storage.iter().map(|binding| &binding.name).collect();
            return Err(Error::shape(format!("buffers of {}", kernel.name), names, buffers.len()));
        }
        for (binding, (buffer, len)) in storage.iter().zip(buffers) {
            let what = || format!("{} {}", kernel.name, binding.name);
            size(what(), *len)?;
            if buffer.len() < *len {
                return Err(Error::shape(what(), len, buffer.len()));
            }
        }
        let mut buffers = buffers.iter();
        let entries: Vec<_> = (bindings.iter())
            .filter_map(|binding| {
                let resource = match binding.access {
                    Access::Params => params.as_entire_binding(),
                    Access::Hyper => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &self.plan.hyper,
                        offset: 0,
                        size: std::num::NonZeroU64::new(u64::from(HYPER_STRIDE_BYTES)),
                    }),
                    Access::Read | Access::Write => buffers.next()?.0.raw.as_entire_binding(),
                };
                Some(wgpu::BindGroupEntry { binding: binding.index, resource })
            })
            .collect();
        let scope = self.device.raw.push_error_scope(wgpu::ErrorFilter::Validation);
        let bind_group = self.device.raw.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name),
            layout: &pipeline.layout,
            entries: &entries,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(self.device.error(format!("{}: {error}", kernel.name)));
        }
        let uses_hyper = bindings.iter().any(|binding| binding.access == Access::Hyper);
        self.plan.dispatches.push(Dispatch { pipeline, bind_group, workgroups, uses_hyper });
        Ok(())
    }

    fn uniform(&self, label: &str, bytes: &[u8]) -> wgpu::Buffer {
        Counters::add(&self.device.counters.allocations);
        let buffer = self.device.raw.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.len() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.device.queue.write_buffer(&buffer, 0, bytes);
        buffer
    }

    /// The finished plan.
    #[must_use]
    pub(crate) fn finish(self) -> Plan {
        self.plan
    }
}

/// The bytes of a uniform with these values, a multiple of 16 of them.
fn packed(kernel: &str, interface: &Interface, values: &[(&str, Param)]) -> Result<Vec<u8>> {
    let declared: Vec<_> = interface.params.iter().map(|m| (m.name.as_str(), m.is_float)).collect();
    let given: Vec<_> = values.iter().map(|(n, v)| (*n, matches!(v, Param::Number(_)))).collect();
    if declared != given {
        return Err(Error::shape(format!("(name, is a number) of params of {kernel}"), declared, given));
    }
    let end = interface.params.last().map_or(0, |member| member.offset + 4);
    let mut bytes = vec![0; end.next_multiple_of(16).max(16)];
    for (member, (name, value)) in interface.params.iter().zip(values) {
        let word = match *value {
            Param::Size(value) => size(format!("{kernel} {name}"), value)?.to_ne_bytes(),
            Param::Flag(value) => u32::from(value).to_ne_bytes(),
            Param::Number(value) => f32::of(value).to_ne_bytes(),
        };
        bytes[member.offset..member.offset + 4].copy_from_slice(&word);
    }
    Ok(bytes)
}

/// Workgroup counts for `items` items, `per_group` to a workgroup, folded into two dimensions
/// beyond 65 535 (`common/index.wgsl` is the way back).
#[must_use]
pub(crate) fn fold(items: usize, per_group: usize) -> [u32; 3] {
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
/// [`Error::Shape`] beyond `u32`.
pub(crate) fn size(what: impl Into<String>, value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::shape(what, "below 2^32", value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::kernel::kernel;
    use crate::gpu::shader::Composed;

    #[test]
    fn params_that_are_not_the_shaders_are_refused() {
        let module = Composed::new(&kernel!("contrast/nt_xent")).unwrap().parse().unwrap();
        let interface = Interface::of("nt_xent", &module).unwrap();
        let values = [
            ("half", Param::Size(3)),
            ("decoupled", Param::Flag(true)),
            ("scale", Param::Number(0.5)),
            ("weight", Param::Number(2.0)),
        ];
        let pack = |values: &[_]| packed("nt_xent", &interface, values);
        let bytes = [3_u32.to_ne_bytes(), 1_u32.to_ne_bytes(), 0.5_f32.to_ne_bytes(), 2_f32.to_ne_bytes()];
        assert_eq!(pack(&values).unwrap(), bytes.concat());
        let spoiled = [
            [values[1], values[0], values[2], values[3]],
            [values[0], values[1], values[3], values[2]],
            [values[0], values[1], values[2], ("weight", Param::Size(2))],
            [values[0], values[1], values[2], ("heft", Param::Number(2.0))],
            [("half", Param::Size(1 << 33)), values[1], values[2], values[3]],
        ];
        for spoiled in spoiled.iter().map(|all| &all[..]).chain([&values[..3]]) {
            assert!(matches!(pack(spoiled), Err(Error::Shape { .. })), "{spoiled:?}");
        }
    }
}
