//! Every model file is listed, every listed file is there, and its SHA-256 is the one that is written down.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest as _, Sha256};

pub(crate) fn faults(folder: &Path) -> Vec<String> {
    let manifest = std::fs::read_to_string(folder.join("manifest.toml")).unwrap();
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".onnx") {
            files.insert(name, sha256(&std::fs::read(entry.path()).unwrap()));
        }
    }
    faults_of(&manifest, &files)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn faults_of(manifest: &str, files: &BTreeMap<String, String>) -> Vec<String> {
    let manifest: toml::Table = match manifest.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![format!("models/manifest.toml: {error}")],
    };
    let entries = manifest.get("model").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let field = |entry: &toml::Value, name: &str| -> String {
        entry.get(name).and_then(toml::Value::as_str).unwrap_or_default().to_owned()
    };
    let mut faults = Vec::new();
    for entry in &entries {
        let (name, file, listed) = (field(entry, "name"), field(entry, "file"), field(entry, "sha256"));
        match files.get(&file) {
            None => faults.push(format!("{name}: its file `{file}` is not in models/")),
            Some(real) if *real != listed => {
                faults.push(format!("{name}: {file} has SHA-256 {real}, the manifest says {listed}"));
            }
            Some(_) => {}
        }
        for missing in ["licence", "origin"].iter().filter(|key| field(entry, key).is_empty()) {
            faults.push(format!("{name}: has no {missing}"));
        }
    }
    for file in files.keys() {
        let count = entries.iter().filter(|entry| field(entry, "file") == *file).count();
        if count != 1 {
            faults.push(format!("models/{file}: listed {count} times, once is right"));
        }
    }
    let default = manifest.get("default").and_then(toml::Value::as_str).unwrap_or_default();
    if !entries.iter().any(|entry| field(entry, "name") == default) {
        faults.push(format!("models/manifest.toml: the default `{default}` is no model of it"));
    }
    faults
}

#[test]
fn every_difference_is_found() {
    let manifest = concat!(
        "default = \"a\"\n[[model]]\nname = \"a\"\nfile = \"a.onnx\"\nlicence = \"MIT\"\norigin = \"here\"\n",
        "sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n"
    );
    let files = |list: &[(&str, &[u8])]| -> BTreeMap<String, String> {
        list.iter().map(|(name, bytes)| ((*name).to_owned(), sha256(bytes))).collect()
    };
    let good = files(&[("a.onnx", b"")]);
    assert_eq!(faults_of(manifest, &good), Vec::<String>::new());
    let found = |manifest: &str, files: &BTreeMap<String, String>, word: &str| {
        let faults = faults_of(manifest, files);
        assert!(faults.iter().any(|fault| fault.contains(word)), "{word}: {faults:?}");
    };
    found(manifest, &files(&[("a.onnx", b"x")]), "has SHA-256");
    found(manifest, &files(&[]), "is not in models/");
    found(manifest, &files(&[("a.onnx", b""), ("b.onnx", b"")]), "listed 0 times");
    found(&manifest.replace("default = \"a\"", "default = \"b\""), &good, "is no model");
    found(&manifest.replace("licence = \"MIT\"\n", ""), &good, "has no licence");
    found("[[model", &good, "manifest.toml");
}
