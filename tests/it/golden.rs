//! Expected values from PyTorch autograd, met by the definitions in f64, the CPU engine and the GPU
//! kernels. Reads every file of `$KAIZEN_GOLDEN_DIR` if set, else of `tests/data/golden`; all sizes
//! and settings come from the file.

mod cases;
mod file;
mod known;
mod run;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use file::File;
use run::{Case, Runner};

/// Relative and absolute tolerance.
type Tolerance = (f64, f64);
const DOUBLE: Tolerance = (1e-9, 1e-11);
const SINGLE: Tolerance = (2e-4, 2e-5);

fn ours() -> PathBuf {
    crate::support::data("golden")
}

fn files(folder: &Path) -> Vec<File> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no golden vector in {}", folder.display());
    paths.iter().map(|path| File::read(path)).collect()
}

/// Every disagreement of one case on one runner. Roundings of f32 grow with what is summed, so
/// where gradients are beyond those of this repository's vectors (2), the absolute tolerance grows
/// along.
fn faults(case: &Case, runner: &Runner, (relative, absolute): Tolerance) -> Vec<String> {
    let absolute = absolute * (case.largest_gradient() / 2.0).max(1.0);
    let mut faults = Vec::new();
    for (what, got, want) in runner.run(case) {
        assert_eq!(got.len(), want.len(), "{} {what}", case.name);
        let excess = |(g, w): (&f64, &f64)| (g - w).abs() - (relative * w.abs() + absolute);
        let excess: Vec<f64> = got.iter().zip(&want).map(excess).collect();
        let worse = |a: &usize, b: &usize| excess[*a].abs().total_cmp(&excess[*b].abs());
        let outside = (0..got.len()).filter(|&i| excess[i] > 0.0 || excess[i].is_nan());
        if let Some(i) = outside.max_by(worse) {
            let (name, on, got, want) = (&case.name, runner.name(), got[i], want[i]);
            faults.push(format!("{name} [{on}] {what}[{i}]: got {got:e}, expected {want:e}"));
        }
    }
    faults
}

fn check(runner: &Runner, tolerance: Tolerance) {
    let folder = std::env::var_os("KAIZEN_GOLDEN_DIR").map_or_else(ours, Into::into);
    let cases: Vec<_> = files(&folder).iter().map(cases::case).collect();
    let all: Vec<_> = cases.iter().flat_map(|case| faults(case, runner, tolerance)).collect();
    assert!(all.is_empty(), "{} faults in {} cases:\n{}", all.len(), cases.len(), all.join("\n"));
    println!("{} golden cases met on {}", cases.len(), runner.name());
}

/// What the comparison must see: any gradient of another sign, and a swapped operand.
fn check_the_check(runner: &Runner) {
    for file in files(&ours()) {
        let mut case = cases::case(&file);
        if case.negate_gradients() {
            assert!(!faults(&case, runner, SINGLE).is_empty(), "{}: a wrong sign was missed", case.name);
        }
        if file.meta("op") == "kaizen_step" || file.meta("op") == "kaizen_tail_step" {
            let mut case = cases::case(&file);
            case.swap_states("classifier.0.weight", "teacher.classifier.0.weight");
            assert!(!faults(&case, runner, SINGLE).is_empty(), "{}: a swap was missed", case.name);
        }
    }
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
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn golden_vectors_hold_on_the_gpu_kernels() {
    check(&Runner::Gpu(crate::support::gpu()), SINGLE);
}

#[test]
fn golden_vectors_meet_a_gpu_where_one_is_required() {
    let is_required = crate::support::required("gpu");
    assert!(cfg!(kaizen_gpu) || !is_required, "KAIZEN_REQUIRE names gpu: `touch build.rs`, build anew");
}

#[test]
fn golden_known_values_hold_on_the_definitions_and_the_cpu_engine() {
    known::check(&Runner::Definition, (1e-6, 1e-6));
    known::check(&Runner::Cpu, SINGLE);
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn golden_known_values_hold_on_the_gpu_kernels() {
    known::check(&Runner::Gpu(crate::support::gpu()), SINGLE);
}

#[test]
fn golden_comparison_sees_a_wrong_sign_and_a_swapped_operand() {
    check_the_check(&Runner::Definition);
    check_the_check(&Runner::Cpu);
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn golden_comparison_sees_them_on_the_gpu_too() {
    check_the_check(&Runner::Gpu(crate::support::gpu()));
}

#[test]
fn golden_vectors_of_this_repository_cover_every_op() {
    let files = files(&ours());
    let covered: BTreeSet<_> = files.iter().map(|file| file.meta("op")).collect();
    assert_eq!(covered, BTreeSet::from(cases::OPS));
}

#[test]
fn golden_reader_refuses_an_unknown_op() {
    for op in cases::OPS.into_iter().chain(["cosine_margin"]) {
        let file = File::new(op, &[], &[]);
        let message = std::panic::catch_unwind(|| cases::case(&file)).err().unwrap();
        let message = message.downcast_ref::<String>().unwrap();
        assert_eq!(message.contains("unknown op"), op == "cosine_margin", "{message}");
    }
}
