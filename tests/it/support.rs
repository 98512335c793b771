//! What several test modules share: where the data is, and which machine parts must be there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use kaizen_edge::low_level::gpu::Device;

/// The repository's folder.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file or folder below `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    repository().join("tests/data").join(name)
}

/// Whether `KAIZEN_REQUIRE` (a comma-separated list) makes the absence of `part` a failure.
pub(crate) fn required(part: &str) -> bool {
    std::env::var("KAIZEN_REQUIRE").unwrap_or_default().split(',').any(|name| name == part)
}

/// The process's GPU device, software adapters welcome. Tests that call it are ignored by name
/// where no driver was found when they were built (see `build.rs`), so a device that does not open
/// is a failure. An adapter without `KAIZEN_ADAPTER` in its description is not the one that the
/// tests are meant for.
pub(crate) fn gpu() -> Arc<Device> {
    static DEVICE: OnceLock<Arc<Device>> = OnceLock::new();
    let device = DEVICE.get_or_init(|| {
        let device = Device::open(true).unwrap();
        let (asked, got) = (std::env::var("KAIZEN_ADAPTER").unwrap_or_default(), device.adapter());
        assert!(got.to_string().contains(&asked), "KAIZEN_ADAPTER asks for `{asked}`, this is {got}");
        println!("adapter: {got}");
        Arc::new(device)
    });
    Arc::clone(device)
}
