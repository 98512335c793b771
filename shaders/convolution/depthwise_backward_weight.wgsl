// Gradients of filters and bias of a depthwise convolution, all channels and taps in one launch.
//
//   d_weight[a, b, c] = sum_{n, i, j} x[n, k, l, c] d_y[n, i, j, c]
//   k = s i + a - top, l = s j + b - left, s is the stride; positions outside the map count as 0
//   d_bias[c]         = sum_{n, i, j} d_y[n, i, j, c]
//
//   0 params
//   1 d_y       [images, out_rows, out_columns, channels]
//   2 x         [images, rows, columns, channels]
//   3 d_weight  [kernel, kernel, channels]
//   4 d_bias    [channels]
//
// Dispatch: one workgroup of 256 per tap (one more for the bias) and 32 channels; workgroups are
// numbered tap by tap. Numerics: eight lanes a channel take every eighth image in ascending order;
// their sums meet in a fixed tree.

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
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_bias: array<f32>;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn convolution_depthwise_backward_weight(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = workgroup_number(workgroup, workgroups);
    let blocks = (params.channels + 31u) / 32u;
    let tap = number / blocks;
    let c = (number % blocks) * 32u + lane % 32u;
    let slice = lane / 32u;
    let taps = params.kernel * params.kernel;
    let a = tap / params.kernel;
    let b = tap % params.kernel;
    var sum = 0.0;
    if (c < params.channels && tap <= taps) {
        for (var n = slice; n < params.images; n = n + 8u) {
            for (var i = 0u; i < params.out_rows; i = i + 1u) {
                // Above the map the difference wraps around and is beyond its rows.
                let row = i * params.stride + a - params.top;
                if (row < params.rows || tap == taps) {
                    for (var j = 0u; j < params.out_columns; j = j + 1u) {
                        let output = ((n * params.out_rows + i) * params.out_columns + j) * params.channels + c;
                        let column = j * params.stride + b - params.left;
                        if (tap == taps) {
                            sum = sum + d_y[output];
                        } else if (column < params.columns) {
                            let input = ((n * params.rows + row) * params.columns + column) * params.channels + c;
                            sum = sum + x[input] * d_y[output];
                        }
                    }
                }
            }
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var width = 128u; width >= 32u; width = width >> 1u) {
        if (lane < width) {
            sums[lane] = sums[lane] + sums[lane + width];
        }
        workgroupBarrier();
    }
    if (lane < 32u && c < params.channels) {
        if (tap < taps) {
            d_weight[tap * params.channels + c] = sums[lane];
        } else if (tap == taps) {
            d_bias[c] = sums[lane];
        }
    }
}
