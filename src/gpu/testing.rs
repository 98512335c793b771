//! Shared device and comparison harness of the kernel tests.

use std::sync::OnceLock;

use crate::Result;
use crate::gpu::{Buffer, Device, Hyper, Recorder};

/// Words past the end of an output that no kernel may touch.
const GUARD_WORDS: usize = 8;
const GUARD: f32 = -7.25e18;
const GARBAGE: f32 = 3.5e33;

/// The process's device, software adapters welcome. Tests that call it are ignored by name where no
/// driver was found when they were built (see `build.rs`), so a device that does not open is a
/// failure. An adapter without `KAIZEN_ADAPTER` in its description is not the one that the tests
/// are meant for.
pub(crate) fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let device = Device::open(true).unwrap();
        let (asked, got) = (std::env::var("KAIZEN_ADAPTER").unwrap_or_default(), device.adapter());
        assert!(got.to_string().contains(&asked), "KAIZEN_ADAPTER asks for `{asked}`, this is {got}");
        device
    })
}

/// An output of `len` elements, full of garbage and followed by guard words.
pub(crate) fn output(device: &Device, len: usize) -> Buffer {
    let mut values = vec![GARBAGE; len];
    values.extend([GUARD; GUARD_WORDS]);
    Buffer::from_slice(device, "output", &values)
}

/// An in-place buffer holding `values`, followed by guard words.
pub(crate) fn in_place(device: &Device, values: &[f32]) -> Buffer {
    let mut values = values.to_vec();
    values.extend([GUARD; GUARD_WORDS]);
    Buffer::from_slice(device, "in_place", &values)
}

/// Reads an [`output`] or [`in_place`] buffer back; fails if a guard word was touched.
pub(crate) fn read_guarded(device: &Device, buffer: &Buffer) -> Vec<f32> {
    let mut values: Vec<f32> = buffer.read(device).unwrap();
    let guard = values.split_off(values.len() - GUARD_WORDS);
    assert!(guard.iter().all(|v| *v == GUARD), "a kernel wrote past the end: {guard:?}");
    values
}

/// Records with `record`, runs one step and waits.
pub(crate) fn run(device: &Device, record: impl FnOnce(&mut Recorder<'_>) -> Result<()>) {
    run_with(device, Hyper::default(), record);
}

/// As [`run`] with `hyper`.
pub(crate) fn run_with(device: &Device, hyper: Hyper, record: impl FnOnce(&mut Recorder<'_>) -> Result<()>) {
    let mut recorder = Recorder::new(device, 1).unwrap();
    record(&mut recorder).unwrap();
    recorder.finish().run(device, &[hyper]).unwrap();
    device.wait().unwrap();
}

/// How close two computations must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    /// Equal bit for bit.
    Exact,
    /// A handful of roundings of each value.
    Rounding,
    /// A sum of this many terms of about the size of the largest value.
    Accumulated(usize),
}

/// The worst difference beyond `level`, as a readable line; `None` if all agree. Non-finite values
/// never agree.
pub(crate) fn mismatch(what: &str, got: &[f32], want: &[f64], level: Level) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!("{what}: {} values, expected {}", got.len(), want.len()));
    }
    let scale = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let eps = f64::from(f32::EPSILON);
    let mut worst: Option<(f64, usize)> = None;
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let bound = match level {
            Level::Exact => 0.0,
            Level::Rounding => 16.0 * eps * w.abs() + 4.0 * eps * scale + 1e-30,
            Level::Accumulated(terms) => {
                16.0 * eps * w.abs() + 8.0 * eps * (terms.max(1) as f64).sqrt() * scale + 1e-30
            }
        };
        let excess = (f64::from(g) - w).abs() - bound;
        let excess = if excess.is_nan() { f64::INFINITY } else { excess };
        if excess > 0.0 && worst.is_none_or(|(e, _)| excess > e) {
            worst = Some((excess, i));
        }
    }
    worst.map(|(_, i)| {
        format!("{what}[{i}]: got {:e}, expected {:e} ({level:?}, scale {scale:e})", got[i], want[i])
    })
}

/// Fails with the worst difference.
#[track_caller]
pub(crate) fn assert_close(what: &str, got: &[f32], want: &[f64], level: Level) {
    if let Some(line) = mismatch(what, got, want, level) {
        panic!("{line}");
    }
}

/// Seeded values in -1..1.
pub(crate) fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = crate::rng::Rng::new(seed, 0);
    (0..len).map(|_| rng.between(-1.0, 1.0)).collect()
}

/// Converts values to double precision.
pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn a_gpu_that_is_required_was_there_when_the_tests_were_built() {
    let required = std::env::var("KAIZEN_REQUIRE").unwrap_or_default();
    let is_required = required.split(',').any(|part| part == "gpu");
    assert!(cfg!(kaizen_gpu) || !is_required, "KAIZEN_REQUIRE names gpu: `touch build.rs`, build anew");
}

#[test]
#[cfg_attr(not(kaizen_gpu), ignore = "needs a GPU adapter")]
fn the_adapter_is_the_one_that_was_asked_for() {
    let device = device();
    let info = device.raw.adapter_info();
    let (least, most) = (info.subgroup_min_size, info.subgroup_max_size);
    println!("adapter: {}, subgroups of {least}..{most}", device.adapter());
}

#[test]
fn the_harness_sees_wrong_signs_and_non_finite_values() {
    assert!(mismatch("same", &[1.0, -2.0], &[1.0, -2.0], Level::Exact).is_none());
    assert!(mismatch("sign", &[1.0, 2.0], &[1.0, -2.0], Level::Accumulated(64)).is_some());
    assert!(mismatch("nan", &[f32::NAN], &[1.0], Level::Accumulated(64)).is_some());
    assert!(mismatch("swapped", &[0.1, 0.2], &[0.2, 0.1], Level::Accumulated(64)).is_some());
}

/// Wrong on purpose: lanes read what others write to shared memory, with no barrier between. A
/// driver may well give the right result; `scripts/gpu-checks` holds that the layers see it.
#[test]
#[ignore = "wrong on purpose; scripts/gpu-checks runs it under the layers"]
fn fault_of_a_missing_barrier() {
    const SOURCE: &str = "
        @group(0) @binding(0) var<storage, read_write> values: array<f32>;
        var<workgroup> lanes: array<f32, 64>;
        @compute @workgroup_size(64)
        fn reverse(@builtin(local_invocation_index) lane: u32) {
            lanes[lane] = values[lane];
            values[lane] = lanes[63u - lane];
        }";
    let device = device();
    let module = device.raw.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("fault"),
        source: wgpu::ShaderSource::Wgsl(SOURCE.into()),
    });
    let pipeline = device.raw.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("fault"),
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let values = Buffer::zeroed(device, "fault", 64);
    let bind_group = device.raw.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("fault"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: values.raw.as_entire_binding() }],
    });
    let mut encoder = device.raw.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    device.queue.submit([encoder.finish()]);
    device.wait().unwrap();
}
