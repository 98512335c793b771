// Depthwise convolution of maps in channels-last order, with its activation.
//
//   y[n, i, j, c] = activation(bias[c] + sum_{a, b} weight[a, b, c] x[n, k, l, c])
//   k = s i + a - top, l = s j + b - left, s is the stride; positions outside the map count as 0
//
//   0 params
//   1 x       [images, rows, columns, channels]
//   2 weight  [kernel, kernel, channels]
//   3 bias    [channels]
//   4 y       [images, out_rows, out_columns, channels]
//
// Dispatch: one thread of 64 per element of y, neighbours along the channels. Numerics: bias first,
// then the taps row by row, in f32.

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
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn convolution_depthwise_forward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = workgroup_number(workgroup, workgroups) * 64u + lane;
    if (at < params.images * params.out_rows * params.out_columns * params.channels) {
        let c = at % params.channels;
        let position = at / params.channels;
        let j = position % params.out_columns;
        let i = (position / params.out_columns) % params.out_rows;
        let n = position / (params.out_columns * params.out_rows);
        var sum = bias[c];
        for (var a = 0u; a < params.kernel; a = a + 1u) {
            // Above the map the difference wraps around and is beyond its rows.
            let row = i * params.stride + a - params.top;
            if (row < params.rows) {
                for (var b = 0u; b < params.kernel; b = b + 1u) {
                    let column = j * params.stride + b - params.left;
                    if (column < params.columns) {
                        let input = ((n * params.rows + row) * params.columns + column) * params.channels + c;
                        sum = sum + weight[(a * params.kernel + b) * params.channels + c] * x[input];
                    }
                }
            }
        }
        y[at] = activated(params.activation, sum);
    }
}
