use super::*;

fn put(root: &Path, relative: &str) -> PathBuf {
    let path = root.join(relative);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "library").unwrap();
    path.canonicalize().unwrap()
}

/// The version that the file name ends with stands in for the one that a real library reports.
fn probe_by_name(path: &Path) -> Option<u32> {
    path.to_str()?.rsplit("so.1.").next()?.split('.').next()?.parse().ok()
}

fn found(environment: &Environment) -> PathBuf {
    search(None, environment, &probe_by_name).unwrap().path
}

#[test]
fn an_earlier_place_wins_over_a_later_one() {
    let root = tempfile::tempdir().unwrap();
    let mut environment = Environment::below(root.path());
    let triple = format!("system/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    // From the last place to the first: each new one must win.
    for folder in [
        "system/usr/local/lib",
        &triple,
        "system/usr/lib",
        "system/usr/lib/python3/dist-packages/onnxruntime/capi",
        "system/usr/local/lib/python3.12/dist-packages/onnxruntime/capi",
        "user/lib/python3.11/site-packages/onnxruntime/capi",
        "venv/lib/python3.12/site-packages/onnxruntime/capi",
        "data",
    ] {
        let path = put(root.path(), &format!("{folder}/libonnxruntime.so.1.31.1"));
        assert_eq!(found(&environment), path);
    }
    let variable = put(root.path(), "elsewhere/libonnxruntime.so.1.20.0");
    environment.ort_dylib_path = Some(variable.clone());
    assert_eq!(found(&environment), variable);
    let explicit = put(root.path(), "cwd/mine.so.1.22.0");
    let got = search(Some(Path::new("mine.so.1.22.0")), &environment, &probe_by_name).unwrap();
    assert_eq!(got, Found { path: explicit, minor: 22 });
}

#[test]
fn nothing_is_taken_from_the_current_folder() {
    let root = tempfile::tempdir().unwrap();
    let environment = Environment::below(root.path());
    let wheel = "lib/python3.12/site-packages/onnxruntime/capi";
    for folder in
        ["", ".cache/onnxruntime/", ".cache/onnxruntime/onnxruntime/capi/", &format!(".venv/{wheel}/")]
    {
        put(root.path(), &format!("cwd/{folder}libonnxruntime.so.1.31.1"));
    }
    let error = search(None, &environment, &probe_by_name).unwrap_err();
    assert!(error.contains("no ONNX Runtime library found") && !error.contains("cwd"), "{error}");
}

#[test]
fn of_one_folder_the_newest_that_answers_is_taken() {
    let root = tempfile::tempdir().unwrap();
    let environment = Environment::below(root.path());
    put(root.path(), "data/libonnxruntime.so.1.9.0");
    let newest = put(root.path(), "data/libonnxruntime.so.1.31.1");
    put(root.path(), "data/libonnxruntime.so.1.19.2");
    put(root.path(), "data/libonnxruntime.so"); // does not answer: passed over
    put(root.path(), "data/libonnxruntime_providers_shared.so");
    assert_eq!(found(&environment), newest);
}

#[test]
fn a_path_asked_for_is_not_replaced() {
    let root = tempfile::tempdir().unwrap();
    let mut environment = Environment::below(root.path());
    put(root.path(), "data/libonnxruntime.so.1.31.1");
    let error = search(Some(Path::new("nowhere.so")), &environment, &probe_by_name).unwrap_err();
    assert!(error.contains("nowhere.so") && error.contains("--ort-lib"), "{error}");
    environment.ort_dylib_path = Some(put(root.path(), "old/libonnxruntime.so.1.16.3"));
    let error = search(None, &environment, &probe_by_name).unwrap_err();
    assert!(error.contains("ORT_DYLIB_PATH") && error.contains("1.16") && error.contains("1.17"), "{error}");
}

#[test]
fn nothing_found_lists_the_places_and_the_command_of_this_machine() {
    let root = tempfile::tempdir().unwrap();
    let environment = Environment::below(root.path());
    put(root.path(), "venv/lib/python3.9/site-packages/onnxruntime/capi/libonnxruntime.so.1.16.0");
    let error = search(None, &environment, &probe_by_name).unwrap_err();
    for named in ["data", "venv/lib/python3.9", "1.16", "system/usr/local/lib"] {
        assert!(error.contains(named), "{named}: {error}");
    }
    assert!(error.ends_with("run `pip install onnxruntime`"), "{error}");

    put(root.path(), "system/dev/nvidiactl");
    let gpu = "pip install onnxruntime-gpu[cuda,cudnn]";
    assert_eq!(install_command(&environment).contains(gpu), std::env::consts::ARCH == "x86_64");
    put(root.path(), "system/etc/nv_tegra_release");
    assert!(install_command(&environment).contains("JetPack"));
}

#[test]
fn a_file_that_is_no_library_is_refused_by_the_real_probe() {
    let root = tempfile::tempdir().unwrap();
    let environment = Environment::below(root.path());
    let text = put(root.path(), "text.so");
    let error = search(Some(&text), &environment, &probe).unwrap_err();
    assert!(error.contains("not a loadable ONNX Runtime"), "{error}");
}

#[test]
fn the_version_is_the_full_one_where_the_file_name_has_it() {
    for (name, version) in [
        ("libonnxruntime.so.1.31.1", "1.31.1"),
        ("libonnxruntime.so.1.31", "1.31"),
        ("libonnxruntime.so.1", "1.31"),
        ("libonnxruntime.so", "1.31"),
        ("libonnxruntime.so.1.3.1", "1.31"),
    ] {
        assert_eq!(version_of(&Found { path: name.into(), minor: 31 }), version, "{name}");
    }
}
