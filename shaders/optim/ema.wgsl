// Moving average of a parameter: its momentum copy.
//
//   m = hyper.momentum_decay * m + (1 - hyper.momentum_decay) * w
//
//   0 params
//   1 hyper
//   2 online    [len]  w
//   3 momentum  [len]  m, in place
//
// Dispatch: one thread of 64 per element. Numerics: element by element.

//#include common/hyper.wgsl
//#include common/index.wgsl

struct Params {
    len: u32,
    _pad0: u32,
    _pad1: u32,
    _pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> hyper: Hyper;
@group(0) @binding(2) var<storage, read> online: array<f32>;
@group(0) @binding(3) var<storage, read_write> momentum: array<f32>;

@compute @workgroup_size(64)
fn optim_ema(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (i < params.len) {
        let decay = hyper.momentum_decay;
        momentum[i] = decay * momentum[i] + (1.0 - decay) * online[i];
    }
}
