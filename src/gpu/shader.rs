//! Textual composition of shaders and what they declare. The shader is the only declaration of its
//! bindings and parameters.

use crate::gpu::kernel::Kernel;
use crate::{Error, Result};

/// Shared WGSL, included by `//#include common/<name>.wgsl`.
const COMMON: &[(&str, &str)] = &[
    ("common/activation.wgsl", include_str!("../../shaders/common/activation.wgsl")),
    ("common/hyper.wgsl", include_str!("../../shaders/common/hyper.wgsl")),
    ("common/index.wgsl", include_str!("../../shaders/common/index.wgsl")),
    ("common/reduce.wgsl", include_str!("../../shaders/common/reduce.wgsl")),
];

/// A composed shader and where each of its lines came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Composed {
    /// WGSL with all includes in place.
    pub text: String,
    /// `(file, line from 1)` of each line of `text`.
    lines: Vec<(String, usize)>,
    included: Vec<&'static str>,
}

impl Composed {
    /// The source of `kernel` with its includes in place. `WGSL_DUMP=DIR` writes it into DIR.
    ///
    /// # Errors
    /// [`Error::Refused`] for an include that there is none of, [`Error::Io`] from writing.
    pub(crate) fn new(kernel: &Kernel) -> Result<Self> {
        let mut composed = Self::default();
        composed.append(&format!("{}.wgsl", kernel.name), kernel.source)?;
        if let Some(folder) = std::env::var_os("WGSL_DUMP") {
            let path = std::path::Path::new(&folder).join(format!("{}.wgsl", kernel.name.replace('/', "_")));
            std::fs::write(&path, &composed.text).map_err(Error::io(path))?;
        }
        Ok(composed)
    }

    fn append(&mut self, file: &str, source: &str) -> Result<()> {
        for (number, line) in (1..).zip(source.lines()) {
            let Some(wanted) = line.trim().strip_prefix("//#include ") else {
                self.text.push_str(line);
                self.text.push('\n');
                self.lines.push((file.to_owned(), number));
                continue;
            };
            let found = COMMON.iter().find(|(name, _)| *name == wanted.trim());
            let (name, text) = found.ok_or_else(|| {
                let reason = format!("line {number} includes `{wanted}`, which is no file of shaders/common");
                refused(file, reason)
            })?;
            if !self.included.contains(name) {
                self.included.push(name);
                self.append(name, text)?;
            }
        }
        Ok(())
    }

    /// The module as naga reads it.
    ///
    /// # Errors
    /// [`Error::Refused`] with file and line of the mistake.
    pub(crate) fn parse(&self) -> Result<naga::Module> {
        naga::front::wgsl::parse_str(&self.text).map_err(|error| {
            let offset = error.location(&self.text).map_or(0, |place| place.offset as usize);
            let row = self.text[..offset.min(self.text.len())].matches('\n').count();
            let place = self.lines.get(row).map(|(file, line)| format!("{file}:{line}"));
            refused(&place.unwrap_or_default(), error.message())
        })
    }
}

fn refused(what: &str, reason: impl Into<String>) -> Error {
    Error::refused(format!("shader {what}"), reason, "mend the file")
}

/// What a shader declares in group 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Bindings by number.
    pub bindings: Vec<Binding>,
    /// Members of the uniform `params`, without padding.
    pub params: Vec<Member>,
}

/// One binding of group 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// Name of the variable in the shader.
    pub name: String,
    /// Binding number.
    pub index: u32,
    /// What the shader does with it.
    pub access: Access,
}

/// What a shader does with a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Uniform scalars fixed when the plan is recorded.
    Params,
    /// Uniform scalars that change every step.
    Hyper,
    /// Storage that is only read.
    Read,
    /// Storage that is written.
    Write,
}

/// One scalar of a uniform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Name in the shader.
    pub name: String,
    /// Bytes before it.
    pub offset: usize,
    /// Whether it is an `f32`; else it is a `u32`.
    pub is_float: bool,
}

impl Interface {
    /// What `module` declares; `name` is the kernel's, for messages.
    ///
    /// # Errors
    /// [`Error::Refused`] for something else than uniforms of scalars and storage in group 0.
    pub(crate) fn of(name: &str, module: &naga::Module) -> Result<Self> {
        let mut interface = Self::default();
        for (_, variable) in module.global_variables.iter() {
            let Some(binding) = &variable.binding else { continue };
            let label = variable.name.clone().unwrap_or_default();
            let access = match variable.space {
                naga::AddressSpace::Uniform if label == "hyper" => Access::Hyper,
                naga::AddressSpace::Uniform => {
                    interface.params = members(name, &module.types, variable.ty)?;
                    Access::Params
                }
                naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => {
                    Access::Write
                }
                naga::AddressSpace::Storage { .. } => Access::Read,
                _ => return Err(refused(name, format!("`{label}` is neither a uniform nor storage"))),
            };
            if binding.group != 0 {
                return Err(refused(name, format!("`{label}` is in group {} and not 0", binding.group)));
            }
            interface.bindings.push(Binding { name: label, index: binding.binding, access });
        }
        interface.bindings.sort_by_key(|binding| binding.index);
        Ok(interface)
    }
}

/// The scalars of the struct `ty`; members named `_pad…` are left out.
pub(super) fn members(
    name: &str,
    types: &naga::UniqueArena<naga::Type>,
    ty: naga::Handle<naga::Type>,
) -> Result<Vec<Member>> {
    let naga::TypeInner::Struct { members, .. } = &types[ty].inner else {
        return Err(refused(name, "a uniform is no struct"));
    };
    let named = members.iter().filter_map(|member| Some((member, member.name.as_deref()?)));
    let kept = named.filter(|(_, label)| !label.starts_with("_pad"));
    kept.map(|(member, label)| {
        let is_float = match types[member.ty].inner {
            naga::TypeInner::Scalar(naga::Scalar::F32) => true,
            naga::TypeInner::Scalar(naga::Scalar::U32) => false,
            _ => return Err(refused(name, format!("`{label}` is neither f32 nor u32"))),
        };
        Ok(Member { name: label.to_owned(), offset: member.offset as usize, is_float })
    })
    .collect()
}

#[cfg(test)]
mod tests;
