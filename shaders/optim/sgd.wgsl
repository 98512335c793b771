// Momentum SGD as PyTorch defines it: no dampening, no look-ahead.
//
//   v = momentum * v + (g + weight_decay * w),  w = w - rate * v
//   rate = rate_scale * (classifier == 1 ? hyper.classifier_rate : hyper.learning_rate)
//
//   0 params
//   1 hyper
//   2 grad      [len]
//   3 weight    [len]  in place
//   4 velocity  [len]  in place
//
// Dispatch: one thread of 64 per element. Numerics: element by element.

//#include common/hyper.wgsl
//#include common/index.wgsl

struct Params {
    len: u32,
    classifier: u32,
    momentum: f32,
    weight_decay: f32,
    rate_scale: f32,
    _pad0: u32,
    _pad1: u32,
    _pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> hyper: Hyper;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> velocity: array<f32>;

fn rate() -> f32 {
    return params.rate_scale * select(hyper.learning_rate, hyper.classifier_rate, params.classifier == 1u);
}

@compute @workgroup_size(64)
fn optim_sgd(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (i < params.len) {
        let v = params.momentum * velocity[i] + (grad[i] + params.weight_decay * weight[i]);
        velocity[i] = v;
        weight[i] = weight[i] - rate() * v;
    }
}
