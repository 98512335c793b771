use std::path::Path;

use super::*;
use crate::gpu::kernel::kernel;

/// Every kernel's file, read from disk: hosts hold theirs, and no list holds them all.
fn kernels() -> Vec<Kernel> {
    let shaders = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let entries = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let families = entries(&shaders).filter(|path| path.is_dir() && !path.ends_with("common"));
    let files: Vec<_> = families.flat_map(|family| entries(&family).collect::<Vec<_>>()).collect();
    let name = |file: &Path| file.strip_prefix(&shaders).unwrap().with_extension("").display().to_string();
    let kernel = |file: &std::path::PathBuf| Kernel {
        name: name(file).leak(),
        source: std::fs::read_to_string(file).unwrap().leak(),
        constants: &[],
    };
    files.iter().map(kernel).collect()
}

#[test]
fn every_shader_composes_validates_and_follows_the_rules() {
    let mut faults = Vec::new();
    let kernels = kernels();
    assert!(kernels.len() > 20, "{} kernels", kernels.len());
    for kernel in &kernels {
        let source = Composed::new(kernel).unwrap();
        let module = match source.parse() {
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
        let Kernel { name, .. } = kernel;
        if let Err(error) = validator.validate(&module) {
            faults.push(format!("{name}: {}", error.emit_to_string(&source.text)));
        }
        let entry = name.replace('/', "_");
        if module.entry_points.len() != 1 || module.entry_points[0].name != entry {
            faults.push(format!("{name}: its one entry point must be `{entry}`"));
        }
        let found = Interface::of(name, &module).unwrap().bindings;
        let storage = found.iter().filter(|b| matches!(b.access, Access::Read | Access::Write)).count();
        let numbered = found.iter().enumerate().all(|(i, b)| b.index as usize == i);
        let first_write = found.iter().position(|b| b.access == Access::Write).unwrap_or(found.len());
        let outputs_last = found[first_write..].iter().all(|b| b.access == Access::Write);
        let params_first = found.first().is_some_and(|b| b.access == Access::Params);
        if !numbered || !outputs_last || storage > 8 || !params_first {
            let rule = "params first, numbered without holes, outputs last, at most 8 buffers";
            faults.push(format!("{name}: {rule}: {found:?}"));
        }
        if source.text.contains("workgroupBarrier") && source.text.contains("return;") {
            faults.push(format!("{name}: early return beside a barrier"));
        }
        let uniforms = module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::Uniform);
        for (_, uniform) in uniforms {
            let size = module.types[uniform.ty].inner.size(module.to_ctx());
            if !size.is_multiple_of(16) {
                faults.push(format!("{name}: a uniform of {size} bytes, no multiple of 16"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_error_names_the_file_and_line_a_person_edits() {
    let message = |source| {
        let broken = Kernel { name: "x/y", source, constants: &[] };
        Composed::new(&broken).and_then(|composed| composed.parse()).unwrap_err().to_string()
    };
    let broken = message("//#include common/index.wgsl\nfn broken( {}\n");
    assert!(broken.contains("x/y.wgsl:2"), "{broken}");
    let missing = message("//#include common/none.wgsl\n");
    assert!(missing.contains("common/none.wgsl") && missing.contains("line 1"), "{missing}");
}

#[test]
fn a_shader_says_what_it_takes() {
    let cosine = kernel!("distill/cosine");
    let interface = Interface::of("cosine", &Composed::new(&cosine).unwrap().parse().unwrap()).unwrap();
    let names: Vec<_> = interface.params.iter().map(|m| (m.name.as_str(), m.offset, m.is_float)).collect();
    assert_eq!(
        names[..4],
        [("rows", 0, false), ("columns", 4, false), ("row_shift", 8, false), ("loss_scale", 12, true)]
    );
    let names: Vec<_> = interface.bindings.iter().map(|b| (b.name.as_str(), b.access)).collect();
    let (read, write) = (Access::Read, Access::Write);
    assert_eq!(
        names,
        [("params", Access::Params), ("p", read), ("z", read), ("loss", write), ("d_p", write)]
    );
}
