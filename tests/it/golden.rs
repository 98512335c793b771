//! Expected values from PyTorch autograd, met by the definitions in f64, the CPU engine and the GPU kernels. Reads
//! every file of `$KAIZEN_GOLDEN_DIR` if set, else of `tests/data/golden`.

mod cases;
mod file;
mod run;

use file::File;
use run::{Case, Runner};

/// Relative and absolute tolerance.
const DOUBLE: (f64, f64) = (1e-9, 1e-11);
const SINGLE: (f64, f64) = (2e-4, 2e-5);

fn folder() -> std::path::PathBuf {
    std::env::var_os("KAIZEN_GOLDEN_DIR").map_or_else(|| crate::support::data("golden"), Into::into)
}

fn files() -> Vec<File> {
    let folder = folder();
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no golden vector in {}", folder.display());
    paths.iter().map(|path| File::read(path)).collect()
}

/// Every disagreement of one case on one runner.
fn faults(case: &Case, runner: &Runner, (relative, absolute): (f64, f64)) -> Vec<String> {
    let mut faults = Vec::new();
    for (what, got, want) in runner.run(case) {
        assert_eq!(got.len(), want.len(), "{what}");
        let scale = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let excess = |g: f64, w: f64| (g - w).abs() - (relative * w.abs() + absolute);
        let worst =
            got.iter().zip(&want).map(|(&g, &w)| (excess(g, w), g, w)).fold(
                None,
                |worst, next| match worst {
                    Some((e, _, _)) if e >= next.0 && !next.0.is_nan() => worst,
                    _ => Some(next),
                },
            );
        if let Some((excess, g, w)) = worst
            && (excess.is_nan() || excess > 0.0)
        {
            faults.push(format!(
                "{} [{}] {what}: got {g:e}, expected {w:e}, scale {scale:e}",
                case.name,
                runner.name()
            ));
        }
    }
    faults
}

fn check(runner: &Runner, tolerance: (f64, f64)) {
    let mut all = Vec::new();
    let mut count = 0;
    for file in files() {
        let case = cases::case(&file);
        all.extend(faults(&case, runner, tolerance));
        count += 1;
    }
    assert!(all.is_empty(), "{} of {count} cases:\n{}", all.len(), all.join("\n"));
    println!("{count} golden cases met on {}", runner.name());
}

#[test]
fn golden_vectors_hold_on_the_definitions_in_f64() {
    check(&Runner::Definition, DOUBLE);
}

#[test]
fn golden_vectors_hold_on_the_cpu_engine() {
    check(&Runner::Cpu, SINGLE);
}

#[test]
fn golden_vectors_hold_on_the_gpu_kernels() {
    if let Some(device) = crate::support::gpu() {
        check(&Runner::Gpu(device), SINGLE);
    }
}

#[test]
fn golden_comparison_sees_a_wrong_sign_and_swapped_views() {
    let mut runners = vec![Runner::Definition, Runner::Cpu];
    runners.extend(crate::support::gpu().map(Runner::Gpu));
    let files: Vec<_> = files();
    let step = files.iter().find(|file| file.meta("op") == "kaizen_step").expect("a kaizen_step case");
    for runner in &runners {
        let mut wrong_sign = cases::case(step);
        wrong_sign.negate_gradients();
        assert!(!faults(&wrong_sign, runner, SINGLE).is_empty(), "{} missed a sign", runner.name());
        let mut swapped = cases::case(step);
        swapped.swap_states("classifier.0.weight", "teacher.classifier.0.weight");
        assert!(!faults(&swapped, runner, SINGLE).is_empty(), "{} missed a swapped operand", runner.name());
    }
}

#[test]
fn golden_reader_refuses_an_unknown_op() {
    let file = File::with_op("cosine_margin");
    assert!(std::panic::catch_unwind(|| cases::case(&file)).is_err());
}
