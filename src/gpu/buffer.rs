//! Storage buffers of 32-bit elements.

use crate::Result;
use crate::gpu::device::{Counters, Device};

/// A storage buffer of `len` 32-bit elements (f32, u32 or i32), zeroed when made.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    pub(crate) raw: wgpu::Buffer,
    len: usize,
}

const STORAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

impl Buffer {
    /// A zeroed buffer. A length of 0 still takes one element, since empty bindings are not
    /// allowed.
    #[must_use]
    pub(crate) fn zeroed(device: &Device, label: &str, len: usize) -> Self {
        Counters::add(&device.counters.allocations);
        let raw = device.raw.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: (len.max(1) * 4) as u64,
            usage: STORAGE,
            mapped_at_creation: false,
        });
        Self { raw, len }
    }

    /// A buffer holding `values`.
    #[must_use]
    pub(crate) fn from_slice<T: bytemuck::NoUninit>(device: &Device, label: &str, values: &[T]) -> Self {
        const { assert!(size_of::<T>() == 4, "elements are 32 bits") };
        let buffer = Self::zeroed(device, label, values.len());
        buffer.write(device, 0, values);
        buffer
    }

    /// The first `len` elements, at most all of them, as a buffer of their own.
    #[must_use]
    pub(crate) fn first(&self, len: usize) -> Self {
        Self { raw: self.raw.clone(), len: len.min(self.len) }
    }

    /// Number of elements.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Queues a write of `values` from element `start`; it happens before the next submit.
    pub(crate) fn write<T: bytemuck::NoUninit>(&self, device: &Device, start: usize, values: &[T]) {
        if !values.is_empty() {
            device.queue.write_buffer(&self.raw, (start * 4) as u64, bytemuck::cast_slice(values));
        }
    }

    /// Waits for everything submitted and reads the whole buffer.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device was lost or the mapping failed.
    pub(crate) fn read<T: bytemuck::Pod>(&self, device: &Device) -> Result<Vec<T>> {
        if self.len == 0 {
            return Ok(Vec::new());
        }
        ReadBack::new(device, self.len).read(device, self)
    }
}

/// A host-visible staging buffer, kept for repeated reads of one length.
#[derive(Debug)]
pub(crate) struct ReadBack {
    raw: wgpu::Buffer,
    len: usize,
}

impl ReadBack {
    /// Staging for `len` elements.
    #[must_use]
    pub(crate) fn new(device: &Device, len: usize) -> Self {
        Counters::add(&device.counters.allocations);
        let raw = device.raw.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read_back"),
            size: (len.max(1) * 4) as u64,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self { raw, len }
    }

    /// Copies the first elements of `source` and waits for them.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device was lost or the mapping failed.
    pub(crate) fn read<T: bytemuck::Pod>(&self, device: &Device, source: &Buffer) -> Result<Vec<T>> {
        Counters::add(&device.counters.read_backs);
        let mut encoder = device.raw.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let bytes = (self.len.min(source.len) * 4) as u64;
        encoder.copy_buffer_to_buffer(&source.raw, 0, &self.raw, 0, bytes);
        device.queue.submit([encoder.finish()]);
        let outcome = std::sync::Arc::new(std::sync::OnceLock::new());
        let slot = std::sync::Arc::clone(&outcome);
        self.raw.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            slot.get_or_init(|| result.map_err(|e| e.to_string()));
        });
        device.wait()?;
        // Another thread that polls the device may have taken this callback and be about to run it.
        if let Err(reason) = outcome.wait() {
            return Err(device.error(reason.clone()));
        }
        let view = self.raw.get_mapped_range(0..bytes).map_err(|e| device.error(e.to_string()))?;
        let values = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        self.raw.unmap();
        Ok(values)
    }
}
