//! Shader sources, textual composition and reflection. The shader is the only declaration of bindings.

use crate::gpu::kernels;
use crate::{Error, Result};

/// Shared WGSL, included by `//#include common/<name>.wgsl`.
pub const COMMON: &[(&str, &str)] = &[
    ("common/hyper.wgsl", include_str!("../../shaders/common/hyper.wgsl")),
    ("common/index.wgsl", include_str!("../../shaders/common/index.wgsl")),
    ("common/reduce.wgsl", include_str!("../../shaders/common/reduce.wgsl")),
];

/// A composed shader and where each of its lines came from.
#[derive(Clone, Debug)]
pub struct Composed {
    /// WGSL with all includes in place.
    pub text: String,
    /// `(file, line from 1)` of each line of `text`.
    pub lines: Vec<(String, usize)>,
}

impl Composed {
    /// `file:line` of a byte offset of `text`, for messages.
    #[must_use]
    pub fn locate(&self, offset: usize) -> String {
        let row = self.text[..offset.min(self.text.len())].matches('\n').count();
        self.lines.get(row).map_or_else(|| "end of file".to_owned(), |(file, line)| format!("{file}:{line}"))
    }
}

/// Every kernel, as `("family/kernel", source)`, in file order of the families.
pub fn kernels() -> impl Iterator<Item = (&'static str, &'static str)> {
    kernels::SOURCES.iter().flat_map(|family| family.iter().copied())
}

/// The composed source of `kernel` (`"family/kernel"`).
///
/// # Errors
/// [`Error::Config`] for an unknown kernel or include.
pub fn compose(kernel: &str) -> Result<Composed> {
    let (_, source) = kernels()
        .find(|(name, _)| *name == kernel)
        .ok_or_else(|| Error::config("kernel", kernel, "a file of shaders/, without its ending"))?;
    let mut composed = Composed { text: String::new(), lines: Vec::new() };
    let mut included = Vec::new();
    append(&mut composed, &mut included, &format!("{kernel}.wgsl"), source)?;
    if let Some(folder) = std::env::var_os("WGSL_DUMP") {
        let path = std::path::Path::new(&folder).join(format!("{}.wgsl", kernel.replace('/', "_")));
        std::fs::write(&path, &composed.text).map_err(Error::io(path))?;
    }
    Ok(composed)
}

fn append(out: &mut Composed, included: &mut Vec<&'static str>, file: &str, source: &str) -> Result<()> {
    for (number, line) in source.lines().enumerate() {
        if let Some(name) = line.trim().strip_prefix("//#include ") {
            let (name, text) = COMMON.iter().find(|(known, _)| *known == name.trim()).ok_or_else(|| {
                Error::config(
                    "//#include",
                    format!("{name} ({file}:{})", number + 1),
                    "a file of shaders/common/",
                )
            })?;
            if !included.contains(name) {
                included.push(name);
                append(out, included, name, text)?;
            }
        } else {
            out.text.push_str(line);
            out.text.push('\n');
            out.lines.push((file.to_owned(), number + 1));
        }
    }
    Ok(())
}

/// One binding of group 0, in binding order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Name of the variable in the shader.
    pub name: String,
    /// Binding number.
    pub index: u32,
    /// What the shader does with it.
    pub access: Access,
}

/// What a shader does with a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Uniform scalars fixed when the plan is recorded.
    Params,
    /// Uniform scalars that change every step.
    Hyper,
    /// Storage that is only read.
    Read,
    /// Storage that is written.
    Write,
}

impl Binding {
    pub(crate) fn layout_entry(&self) -> wgpu::BindGroupLayoutEntry {
        let ty = match self.access {
            Access::Params | Access::Hyper => wgpu::BufferBindingType::Uniform,
            Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
            Access::Write => wgpu::BufferBindingType::Storage { read_only: false },
        };
        wgpu::BindGroupLayoutEntry {
            binding: self.index,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset: self.access == Access::Hyper,
                min_binding_size: None,
            },
            count: None,
        }
    }
}

/// The module as naga reads it.
///
/// # Errors
/// [`Error::Config`] with file and line of the mistake.
pub fn parse(kernel: &str, source: &Composed) -> Result<naga::Module> {
    naga::front::wgsl::parse_str(&source.text).map_err(|error| {
        let place =
            error.location(&source.text).map_or_else(String::new, |at| source.locate(at.offset as usize));
        Error::config("shader", format!("{kernel} ({place}): {}", error.message()), "valid WGSL")
    })
}

/// The bindings of group 0 that the shader declares, sorted by number.
///
/// # Errors
/// [`Error::Config`] if the source does not parse or declares something else than uniforms and storage.
pub fn bindings(kernel: &str, source: &Composed) -> Result<Vec<Binding>> {
    let module = parse(kernel, source)?;
    let mut found = Vec::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = variable.binding else { continue };
        let name = variable.name.clone().unwrap_or_default();
        let access = match variable.space {
            naga::AddressSpace::Uniform if name == "hyper" => Access::Hyper,
            naga::AddressSpace::Uniform => Access::Params,
            naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => {
                Access::Write
            }
            naga::AddressSpace::Storage { .. } => Access::Read,
            _ => {
                return Err(Error::config(
                    "shader",
                    format!("{kernel}: binding `{name}`"),
                    "uniform or storage",
                ));
            }
        };
        if binding.group != 0 {
            return Err(Error::config(
                "shader",
                format!("{kernel}: `{name}` in group {}", binding.group),
                "group 0",
            ));
        }
        found.push(Binding { name, index: binding.binding, access });
    }
    found.sort_by_key(|b| b.index);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shader_composes_validates_and_follows_the_rules() {
        let mut faults = Vec::new();
        for (kernel, _) in kernels() {
            let source = compose(kernel).unwrap();
            let module = match parse(kernel, &source) {
                Ok(module) => module,
                Err(error) => {
                    faults.push(error.to_string());
                    continue;
                }
            };
            let mut validator = naga::valid::Validator::new(
                naga::valid::ValidationFlags::all(),
                naga::valid::Capabilities::default(),
            );
            if let Err(error) = validator.validate(&module) {
                faults.push(format!("{kernel}: {}", error.emit_to_string(&source.text)));
            }
            let name = kernel.replace('/', "_");
            if module.entry_points.len() != 1 || module.entry_points[0].name != name {
                faults.push(format!("{kernel}: its one entry point must be `{name}`"));
            }
            let found = bindings(kernel, &source).unwrap();
            let storage = found.iter().filter(|b| matches!(b.access, Access::Read | Access::Write)).count();
            let numbered = found.iter().enumerate().all(|(i, b)| b.index as usize == i);
            let first_write = found.iter().position(|b| b.access == Access::Write).unwrap_or(found.len());
            let outputs_last = found[first_write..].iter().all(|b| b.access == Access::Write);
            if !numbered
                || !outputs_last
                || storage > 8
                || found.first().map(|b| b.access) != Some(Access::Params)
            {
                faults.push(format!("{kernel}: params first, numbered without holes, outputs last, at most 8 buffers: {found:?}"));
            }
            if source.text.contains("workgroupBarrier") && source.text.contains("return;") {
                faults.push(format!("{kernel}: early return beside a barrier"));
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn an_error_names_the_file_and_line_a_person_edits() {
        let mut broken = Composed { text: String::new(), lines: Vec::new() };
        append(&mut broken, &mut Vec::new(), "x/y.wgsl", "//#include common/index.wgsl\nfn broken( {}\n")
            .unwrap();
        let message = parse("x/y", &broken).unwrap_err().to_string();
        assert!(message.contains("x/y.wgsl:2"), "{message}");
        assert!(append(&mut broken, &mut Vec::new(), "x/y.wgsl", "//#include common/none.wgsl\n").is_err());
    }
}
