// Momentum SGD whose gradient is scaled to the length of its weight.
//
//   local = trust * |w| / (|g| + weight_decay * |w| + eps);  factor = min(local / rate, 1)
//   v = momentum * v + factor * (g + weight_decay * w)
//   w = w - rate * v;  factor 1 and no decay if |w| or |g| is 0
//   rate = rate_scale * (classifier == 1 ? hyper.classifier_rate : hyper.learning_rate)
//
//   0 params
//   1 hyper
//   2 grad      [len]
//   3 norms     [2]    square sums of the weight and of the gradient
//   4 weight    [len]  in place
//   5 velocity  [len]  in place
//
// Dispatch: one thread of 64 per element. Numerics: never divides by a rate of 0.

//#include common/hyper.wgsl
//#include common/index.wgsl

struct Params {
    len: u32,
    classifier: u32,
    trust: f32,
    momentum: f32,
    weight_decay: f32,
    eps: f32,
    rate_scale: f32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> hyper: Hyper;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read> norms: array<f32>;
@group(0) @binding(4) var<storage, read_write> weight: array<f32>;
@group(0) @binding(5) var<storage, read_write> velocity: array<f32>;

fn rate() -> f32 {
    return params.rate_scale * select(hyper.learning_rate, hyper.classifier_rate, params.classifier == 1u);
}

@compute @workgroup_size(64)
fn optim_lars(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (i < params.len) {
        let weight_norm = sqrt(norms[0]);
        let grad_norm = sqrt(norms[1]);
        var factor = 1.0;
        var decay = 0.0;
        if (weight_norm != 0.0 && grad_norm != 0.0) {
            decay = params.weight_decay;
            let local = params.trust * weight_norm / (grad_norm + decay * weight_norm + params.eps);
            if (local < rate()) {
                factor = local / rate();
            }
        }
        let v = params.momentum * velocity[i] + (grad[i] + decay * weight[i]) * factor;
        velocity[i] = v;
        weight[i] = weight[i] - rate() * v;
    }
}
