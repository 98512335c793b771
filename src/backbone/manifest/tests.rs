use super::super::spec::Precision;
use super::*;

const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // of "abc"

fn manifest(default: &str, extra: &str) -> String {
    format!(
        "default = \"{default}\"\n[[model]]\nname = \"a\"\nfile = \"a.onnx\"\nsha256 = \"{HASH}\"\nlicence = \"MIT\"\n\
         origin = \"here\"\ninput_size = 32\nmean = [127.0, 127.0, 127.0]\nstd = [128.0, 128.0, 128.0]\n\
         layout = \"nchw\"\nchannels = \"rgb\"\nfeature_width = 8\nprecision = \"fp32\"\n{extra}"
    )
}

fn folder_with(text: &str, model: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(MANIFEST_FILE), text).unwrap();
    std::fs::write(dir.path().join("a.onnx"), model).unwrap();
    dir
}

fn refusal(text: &str) -> String {
    Manifest::parse(text, Path::new("m")).unwrap_err().to_string()
}

#[test]
fn a_good_manifest_gives_default_name_and_path() {
    let dir = folder_with(&manifest("a", ""), "abc");
    for asked in [None, Some("a")] {
        let entry = resolve(asked, Some(dir.path())).unwrap();
        assert_eq!((entry.input_size, entry.feature_width, entry.precision), (32, 8, Precision::Fp32));
        assert_eq!(entry.read().unwrap(), b"abc");
    }
    let by_path = resolve(Some(dir.path().join("a.onnx").to_str().unwrap()), None).unwrap();
    assert_eq!(by_path.name, "a");
}

#[test]
fn what_is_wrong_in_a_manifest_is_named() {
    for (text, named) in [
        (manifest("a", "colour = 3\n"), "colour"),
        (manifest("b", ""), "default `b`"),
        (manifest("a", "").replace(HASH, "ABC"), "sha256"),
        (manifest("a", "").replace("\"nchw\"", "\"nhwc\""), "nhwc"),
        (manifest("a", "").replace("\"rgb\"", "\"bgr\""), "bgr"),
        (manifest("a", "").replace("fp32", "fp8"), "fp8"),
        (manifest("a", "").replace("a.onnx", "../a.onnx"), "../a.onnx"),
        (manifest("a", "").replace("licence = \"MIT\"\n", ""), "licence"),
        (manifest("a", "").replace("128.0, 128.0, 128.0", "128.0, 0.0, 128.0"), "std"),
        (manifest("a", "").replace("input_size = 32", "input_size = 0"), "input_size"),
        (manifest("a", "").replacen("default", "defualt", 1), "defualt"),
        (manifest("a", "tail_file = \"t.onnx\"\ncut = \"x\"\n"), "tail_sha256"),
        (manifest("a", &format!("tail_sha256 = \"{HASH}\"\ncut = \"x\"\n")), "tail_file"),
        (manifest("a", &format!("tail_file = \"t.onnx\"\ntail_sha256 = \"{HASH}\"\n")), "need a `cut`"),
        (
            manifest("a", "tail_file = \"t.onnx\"\ntail_sha256 = \"ABC\"\ncut = \"x\"\n"),
            "`tail_sha256` is `ABC`",
        ),
        ("not toml".into(), "manifest"),
    ] {
        let message = refusal(&text);
        assert!(message.contains(named) && message.contains("manifest.toml"), "{named}: {message}");
    }
    let twice = manifest("a", "");
    let (_, entry) = twice.split_once('\n').unwrap();
    assert!(refusal(&format!("{twice}{entry}")).contains("twice"));
}

#[test]
fn a_wrong_hash_names_both_hashes_and_the_way_out() {
    let dir = folder_with(&manifest("a", ""), "abcd");
    let error = resolve(None, Some(dir.path())).unwrap().read().unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::Model { .. }));
    assert!(message.contains(HASH) && message.contains(&sha256_hex(b"abcd")), "{message}");
    assert!(message.contains("fetch the file again"), "{message}");
}

#[test]
fn an_unknown_name_lists_the_known_ones_and_an_unlisted_file_shows_its_entry() {
    let dir = folder_with(&manifest("a", ""), "abc");
    let message = resolve(Some("z"), Some(dir.path())).unwrap_err().to_string();
    assert!(message.contains("no model `z`; there are: a"), "{message}");

    let other = dir.path().join("other.onnx");
    std::fs::write(&other, "abc").unwrap();
    let message = resolve(Some(other.to_str().unwrap()), None).unwrap_err().to_string();
    assert!(message.contains(HASH) && message.contains("[[model]]"), "{message}");
    assert!(!message.contains("default = "), "the manifest has a default already: {message}");

    let missing = dir.path().join("missing.onnx");
    assert!(matches!(resolve(Some(missing.to_str().unwrap()), None), Err(Error::Io { .. })));
}

#[test]
fn models_are_found_in_the_crate_then_above_the_program_then_system_wide_and_never_where_one_stands() {
    let root = tempfile::tempdir().unwrap();
    let environment = Environment::below(root.path());
    let here = root.path().join("cwd/models");
    std::fs::create_dir_all(&here).unwrap();
    std::fs::write(here.join(MANIFEST_FILE), "").unwrap();
    let message = locate_in(None, &environment).unwrap_err().to_string();
    assert!(!message.contains("cwd") && message.contains("crate/models"), "{message}");
    assert!(message.contains("usr/share/kaizen-edge/models"), "{message}");

    // From the last place that is looked at to the first, each wins over those before it in this
    // list.
    let system = "system/usr/share/kaizen-edge/models";
    for place in ["source/models", system, "data/models", "repo/models", "crate/models"] {
        let folder = root.path().join(place);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(MANIFEST_FILE), "").unwrap();
        assert_eq!(locate_in(None, &environment).unwrap(), folder);
    }
    let given = root.path().join("given");
    assert!(locate_in(Some(&given), &environment).is_err(), "a given folder is not replaced by another");
}
