// AdamW with decoupled decay.
//
//   m = beta1 * m + (1 - beta1) * g,  s = beta2 * s + (1 - beta2) * g^2
//   w = w * (1 - rate * weight_decay) - rate / c1 * m / (sqrt(s) / sqrt(c2) + eps)
//   c = hyper.adam_correction
//   rate = rate_scale * (classifier == 1 ? hyper.classifier_rate : hyper.learning_rate)
//
//   0 params
//   1 hyper
//   2 grad     [len]
//   3 weight   [len]  in place
//   4 moment1  [len]  in place
//   5 moment2  [len]  in place
//
// Dispatch: one thread of 64 per element. Numerics: element by element.

//#include common/hyper.wgsl
//#include common/index.wgsl

struct Params {
    len: u32,
    classifier: u32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    weight_decay: f32,
    rate_scale: f32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> hyper: Hyper;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> moment1: array<f32>;
@group(0) @binding(5) var<storage, read_write> moment2: array<f32>;

fn rate() -> f32 {
    return params.rate_scale * select(hyper.learning_rate, hyper.classifier_rate, params.classifier == 1u);
}

@compute @workgroup_size(64)
fn optim_adamw(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (i < params.len) {
        let g = grad[i];
        let m = params.beta1 * moment1[i] + (1.0 - params.beta1) * g;
        let s = params.beta2 * moment2[i] + (1.0 - params.beta2) * g * g;
        moment1[i] = m;
        moment2[i] = s;
        let step = rate() / hyper.adam_correction1;
        let root = sqrt(hyper.adam_correction2);
        weight[i] = weight[i] * (1.0 - rate() * params.weight_decay) - step * m / (sqrt(s) / root + params.eps);
    }
}
