//! Which engine to train on, and opening it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::gpu::Device;
use crate::learn::cpu::CpuEngine;
use crate::learn::engine::Engine;
use crate::learn::gpu::GpuEngine;
use crate::{Error, Result};

/// Which engine to train on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineChoice {
    /// A real GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The GPU, software adapters included; an error if there is none.
    Gpu,
    /// The CPU.
    Cpu,
}

/// Opens the engine asked for; the line says what was chosen and why.
///
/// # Errors
/// [`Error::Device`] if the GPU was asked for and no adapter serves.
pub fn open(choice: EngineChoice) -> Result<(Box<dyn Engine>, String)> {
    let gpu = |device| -> Box<dyn Engine> { Box::new(GpuEngine::new(Arc::new(device))) };
    let cpu = || -> Box<dyn Engine> { Box::new(CpuEngine::new(0)) };
    let (engine, why) = match choice {
        EngineChoice::Cpu => (cpu(), "asked for".to_owned()),
        EngineChoice::Gpu => (gpu(Device::open(true)?), "asked for".to_owned()),
        EngineChoice::Auto => match Device::open(false) {
            Ok(device) => (gpu(device), "auto: a real GPU is here".to_owned()),
            Err(Error::Device { adapter, .. }) => {
                (cpu(), format!("auto: no real GPU (adapters seen: {adapter})"))
            }
            Err(error) => return Err(error),
        },
    };
    let line = format!("engine: {} on {} ({why})", engine.name(), engine.device());
    Ok((engine, line))
}
