//! Adapter choice and the device with its pipeline cache.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::gpu::kernel::Kernel;
use crate::gpu::shader::{Access, Binding, Composed, Interface};
use crate::{Error, Result};

/// How often the costly things happened; tests hold that a training step does none of them but
/// submit.
#[derive(Debug, Default)]
pub struct Counters {
    /// Command buffers submitted.
    pub submits: AtomicU64,
    /// GPU buffers allocated.
    pub allocations: AtomicU64,
    /// Compute pipelines created.
    pub pipelines: AtomicU64,
    /// Buffers mapped and read by the host.
    pub read_backs: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// `[submits, allocations, pipelines, read_backs]` so far.
    #[must_use]
    pub fn read(&self) -> [u64; 4] {
        [&self.submits, &self.allocations, &self.pipelines, &self.read_backs]
            .map(|c| c.load(Ordering::Relaxed))
    }
}

/// One adapter as `kaizen doctor` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AdapterDescription {
    /// Name as the driver gives it.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: String,
    /// Driver name and version.
    pub driver: String,
}

impl AdapterDescription {
    fn of(info: &wgpu::AdapterInfo) -> Self {
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "other",
        };
        Self {
            name: info.name.clone(),
            backend: info.backend.to_string(),
            kind: kind.to_owned(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        }
    }

    /// Whether the "GPU" is a program on the CPU (lavapipe, WARP).
    #[must_use]
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }
}

impl std::fmt::Display for AdapterDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.kind, self.backend, self.driver)
    }
}

pub(crate) struct Pipeline {
    pub(crate) raw: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
    pub(crate) interface: Interface,
}

/// An open GPU device. Pipelines are compiled once per kernel and set of override constants.
pub struct Device {
    pub(crate) raw: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    adapter: AdapterDescription,
    pipelines: Mutex<HashMap<String, Arc<Pipeline>>>,
    fault: Arc<Mutex<Option<String>>>,
    /// Submits, allocations, pipelines and read-backs so far.
    pub counters: Counters,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("adapter", &self.adapter).finish_non_exhaustive()
    }
}

const BACKENDS: wgpu::Backends =
    wgpu::Backends::VULKAN.union(wgpu::Backends::METAL).union(wgpu::Backends::DX12);

fn enumerate() -> Vec<wgpu::Adapter> {
    #[cfg(target_os = "linux")]
    let _held = crate::gpu::display::HeldBack::where_no_display_is();
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = BACKENDS;
    pollster::block_on(wgpu::Instance::new(descriptor).enumerate_adapters(BACKENDS))
}

/// Every compute adapter on this machine, as found.
#[must_use]
pub(crate) fn adapters() -> Vec<AdapterDescription> {
    enumerate().iter().map(|adapter| AdapterDescription::of(&adapter.get_info())).collect()
}

impl Device {
    /// Opens the best adapter: discrete before integrated before virtual. A software adapter
    /// (lavapipe) proves correctness and is many times slower than the CPU engine, so it serves
    /// only if `allow_software`.
    ///
    /// # Errors
    /// [`Error::Device`] naming every adapter seen if none serves or the driver refuses.
    pub fn open(allow_software: bool) -> Result<Self> {
        let mut found = enumerate();
        let seen: Vec<_> = found.iter().map(|adapter| AdapterDescription::of(&adapter.get_info())).collect();
        let listed = || {
            if seen.is_empty() {
                "none".to_owned()
            } else {
                seen.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
        };
        let best =
            (0..found.len()).filter(|&i| allow_software || !seen[i].is_software()).min_by_key(
                |&i| match seen[i].kind.as_str() {
                    "discrete" => 0,
                    "integrated" => 1,
                    "virtual" => 2,
                    "other" => 3,
                    _ => 4,
                },
            );
        let Some(best) = best else {
            return Err(Error::Device {
                adapter: listed(),
                reason: "no usable Vulkan, Metal or DX12 adapter; install a Vulkan driver (on Debian and Ubuntu \
                         `apt-get install mesa-vulkan-drivers` gives a software one for tests) or use `--engine cpu`"
                    .to_owned(),
            });
        };
        let adapter = found.swap_remove(best);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("kaizen"),
            required_limits: adapter.limits(),
            ..wgpu::DeviceDescriptor::default()
        };
        let (raw, queue) = pollster::block_on(adapter.request_device(&descriptor)).map_err(|e| {
            Error::Device { adapter: listed(), reason: format!("the driver refused a device: {e}") }
        })?;
        let fault = Arc::new(Mutex::new(None));
        let on_error = Arc::clone(&fault);
        raw.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&on_error, error.to_string())));
        let on_loss = Arc::clone(&fault);
        raw.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                note(&on_loss, format!("device lost: {message}"));
            }
        });
        let adapter = AdapterDescription::of(&adapter.get_info());
        Ok(Self { raw, queue, adapter, pipelines: Mutex::default(), fault, counters: Counters::default() })
    }

    /// The adapter that was chosen.
    #[must_use]
    pub fn adapter(&self) -> &AdapterDescription {
        &self.adapter
    }

    /// The largest storage buffer that can be bound, in bytes.
    #[must_use]
    pub fn largest_buffer_bytes(&self) -> u64 {
        self.raw.limits().max_storage_buffer_binding_size
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Device { adapter: self.adapter.to_string(), reason: reason.into() }
    }

    /// Reports an error that the driver raised outside a call (validation, out of memory, device
    /// loss).
    ///
    /// # Errors
    /// [`Error::Device`] with the driver's text.
    pub fn check(&self) -> Result<()> {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.take().map_or(Ok(()), |reason| Err(self.error(reason)))
    }

    /// Waits until everything submitted has run.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn wait(&self) -> Result<()> {
        self.raw.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| self.error(e.to_string()))?;
        self.check()
    }

    pub(crate) fn pipeline(&self, kernel: &Kernel) -> Result<Arc<Pipeline>> {
        let key = format!("{} {:?}", kernel.name, kernel.constants);
        let mut cache = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = cache.get(&key) {
            return Ok(Arc::clone(pipeline));
        }
        let pipeline = Arc::new(self.compile(kernel)?);
        Counters::add(&self.counters.pipelines);
        cache.insert(key, Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn compile(&self, kernel: &Kernel) -> Result<Pipeline> {
        let source = Composed::new(kernel)?;
        let interface = Interface::of(kernel.name, &source.parse()?)?;
        let (label, constants) = (Some(kernel.name), kernel.constants);
        let scope = self.raw.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.raw.create_shader_module(wgpu::ShaderModuleDescriptor {
            label,
            source: wgpu::ShaderSource::Wgsl(source.text.as_str().into()),
        });
        let entries: Vec<_> = interface.bindings.iter().map(layout_entry).collect();
        let layout =
            self.raw.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = self.raw.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let raw = self.raw.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
            cache: None,
        });
        match pollster::block_on(scope.pop()) {
            Some(error) => Err(self.error(format!("shader `{}` was refused: {error}", kernel.name))),
            None => Ok(Pipeline { raw, layout, interface }),
        }
    }
}

fn layout_entry(binding: &Binding) -> wgpu::BindGroupLayoutEntry {
    let ty = match binding.access {
        Access::Params | Access::Hyper => wgpu::BufferBindingType::Uniform,
        Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
        Access::Write => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding: binding.index,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: binding.access == Access::Hyper,
            min_binding_size: None,
        },
        count: None,
    }
}

fn note(fault: &Mutex<Option<String>>, text: String) {
    fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
}
