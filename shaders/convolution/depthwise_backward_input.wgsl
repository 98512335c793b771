// Gradient of the input of a depthwise convolution, behind the activation in front of it.
//
//   d_x[n, k, l, c] = sum_{a, b} weight[a, b, c] d_y[n, (k + top - a) / s, (l + left - b) / s, c]
//   over the taps whose quotients are whole and within the output; s is the stride
//   0 where activation is set and lets no gradient through at x
//
//   0 params
//   1 d_y     [images, out_rows, out_columns, channels]
//   2 weight  [kernel, kernel, channels]
//   3 x       [images, rows, columns, channels]   read if activation is set
//   4 d_x     [images, rows, columns, channels]
//
// Dispatch: one thread of 64 per element of d_x, neighbours along the channels. Numerics: the taps
// in descending order (outputs row by row), in f32.

//#include common/activation.wgsl
//#include common/index.wgsl

struct Params {
    images: u32,
    channels: u32,
    kernel: u32,
    stride: u32,
    top: u32,
    left: u32,
    rows: u32,
    columns: u32,
    out_rows: u32,
    out_columns: u32,
    activation: u32,
    _pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_x: array<f32>;

@compute @workgroup_size(64)
fn convolution_depthwise_backward_input(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (at < params.images * params.rows * params.columns * params.channels) {
        let c = at % params.channels;
        let position = at / params.channels;
        let l = position % params.columns;
        let k = (position / params.columns) % params.rows;
        let n = position / (params.columns * params.rows);
        var sum = 0.0;
        for (var a = params.kernel; a > 0u; a = a - 1u) {
            // Where the tap is beyond the position the difference wraps around: its quotient is
            // far beyond the output, whatever the remainder.
            let down = k + params.top + 1u - a;
            let i = down / params.stride;
            if (down % params.stride == 0u && i < params.out_rows) {
                for (var b = params.kernel; b > 0u; b = b - 1u) {
                    let right = l + params.left + 1u - b;
                    let j = right / params.stride;
                    if (right % params.stride == 0u && j < params.out_columns) {
                        let output = ((n * params.out_rows + i) * params.out_columns + j) * params.channels + c;
                        let tap = ((a - 1u) * params.kernel + b - 1u) * params.channels + c;
                        sum = sum + weight[tap] * d_y[output];
                    }
                }
            }
        }
        if (params.activation != 0u) {
            sum = passed(params.activation, x[at], sum);
        }
        d_x[at] = sum;
    }
}
