//! A kernel as a value: hosts declare theirs and hand it to the recorder.

/// A WGSL file with one compute entry point, as it is written.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Path of the file under `shaders/` without its ending, `family/kernel`.
    pub name: &'static str,
    /// Text of the file, before its includes are in place.
    pub source: &'static str,
    /// Values of its `override` constants; those left out keep the shader's default.
    pub constants: &'static [(&'static str, f64)],
}

/// The kernel of the file `shaders/NAME.wgsl`.
macro_rules! kernel {
    ($name:literal) => {
        Kernel {
            name: $name,
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")),
            constants: &[],
        }
    };
}
pub(crate) use kernel;
