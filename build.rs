//! Says whether this machine has a GPU driver: tests that need one are ignored by name where there
//! is none (`cfg(kaizen_gpu)`). Looks at file names and variables only; the library does not depend
//! on it.

#![allow(clippy::print_stdout, reason = "cargo reads what a build script prints")]

use std::path::PathBuf;

/// Where Vulkan's loader looks for drivers on Unix, below the folders of the system.
const FOLDERS: [&str; 4] = ["/etc", "/usr/share", "/usr/local/share", "/usr/local/etc"];
/// Variables that name driver files instead; the first is what the second was once called.
const DRIVERS: [&str; 2] = ["VK_ICD_FILENAMES", "VK_DRIVER_FILES"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(kaizen_gpu)");
    println!("cargo::rerun-if-changed=build.rs");
    for variable in DRIVERS {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if has_driver() {
        println!("cargo::rustc-cfg=kaizen_gpu");
    }
}

fn has_driver() -> bool {
    if cfg!(any(windows, target_os = "macos")) {
        return true;
    }
    if let Some(files) = DRIVERS.iter().find_map(std::env::var_os) {
        return std::env::split_paths(&files).any(|file| file.exists());
    }
    let folders = FOLDERS.map(|folder| PathBuf::from(folder).join("vulkan/icd.d"));
    let mut found = false;
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        println!("cargo::rerun-if-changed={}", folder.display());
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        found |= files.map(|file| file.path()).any(|file| file.extension().is_some_and(|e| e == "json"));
    }
    found
}
