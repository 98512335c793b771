use clap::Parser as _;

use super::*;

/// The models of this project, wherever the test program lies.
const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");

fn arguments(words: &[&str]) -> Arguments {
    let words = [&["kaizen-bench", "--models-dir", MODELS], words].concat();
    Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"))
}

/// Twelve tiny pictures of each of four classes, each class of its own colour.
fn pictures(folder: &Path) {
    for (class, name) in ["ash", "birch", "cedar", "date"].iter().enumerate() {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        for at in 0..12_u8 {
            let colour = [[200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40]][class];
            let pixel = image::Rgb(colour.map(|value: u8| value + at));
            image::RgbImage::from_pixel(8, 8, pixel)
                .save(folder.join(name).join(format!("{at}.png")))
                .unwrap();
        }
    }
}

#[test]
fn a_bake_off_reports_resumes_and_compares() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    pictures(data.path());
    let source = format!("folder:{}", data.path().display());
    let cache = data.path().join(".cache");
    let words = |methods: &str, out: &Path| {
        let (out, cache) = (out.display().to_string(), cache.display().to_string());
        let words =
            ["--data", &source, "--tasks", "2", "--methods", methods, "--out", &out, "--cache", &cache];
        arguments(&words)
    };
    run(&words("slda,kaizen", out.path())).unwrap();
    let first = Results::read(out.path()).unwrap();
    assert_eq!(first.runs.len(), 2);
    assert!(first.runs.iter().all(|run| run.last > 0.9), "{:?}", first.runs);
    let page = std::fs::read_to_string(out.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("kaizen"));
    // The finished runs stand as they are, bit for bit, and the new ones come after.
    run(&words("slda,kaizen,ncm,replay,kaizen-simclr", out.path())).unwrap();
    let second = Results::read(out.path()).unwrap();
    assert_eq!((second.runs.len(), &second.runs[..2]), (5, &first.runs[..]));
    let (text, _) = page::comparison(&first, &second);
    assert!(text.contains("+0.0") && text.contains("ncm"));
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(out.path().join("report.json"), other.path().join("report.json")).unwrap();
    let mut elsewhere = words("slda", other.path());
    elsewhere.tasks = 4;
    assert!(format!("{:#}", run(&elsewhere).unwrap_err()).contains("choose another --out"));
}

#[test]
fn what_cannot_be_leaves_nothing_behind() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    pictures(data.path());
    let source = format!("folder:{}", data.path().display());
    let target = out.path().join("report");
    let refusal = |words: &[&str]| {
        let shown = target.display().to_string();
        let all = [&["--data", &source, "--out", &shown, "--methods", "slda"], words].concat();
        let error = format!("{:#}", run(&arguments(&all)).unwrap_err());
        assert!(!target.exists(), "{error}");
        error
    };
    assert!(refusal(&["--tasks", "3"]).contains("divisor of the 4 classes"));
    assert!(refusal(&["--tasks", "2", "--labels", "1.0,0.01"]).contains("no label at all"));
    assert!(refusal(&["--tasks", "2", "--per-class", "50,2"]).contains("not 50"));
    assert!(refusal(&["--tasks", "2", "--seeds", "0"]).contains("seeds"));
    std::fs::remove_file(data.path().join("ash/0.png")).unwrap();
    std::fs::remove_file(data.path().join("ash/1.png")).unwrap();
    std::fs::remove_file(data.path().join("ash/2.png")).unwrap();
    assert!(refusal(&["--tasks", "2"]).contains("--unequal"));
}
