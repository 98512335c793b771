// Sum over a workgroup of 64 in a fixed tree, so that the same input gives the same bits.
const REDUCE_WIDTH: u32 = 64u;
var<workgroup> reduce_lane: array<f32, 64>;

// Every lane of the workgroup must call it, in uniform control flow.
fn reduce_sum(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    reduce_lane[lane] = value;
    workgroupBarrier();
    for (var width = 32u; width > 0u; width = width >> 1u) {
        if (lane < width) {
            reduce_lane[lane] = reduce_lane[lane] + reduce_lane[lane + width];
        }
        workgroupBarrier();
    }
    return reduce_lane[0];
}

fn reduce_max(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    reduce_lane[lane] = value;
    workgroupBarrier();
    for (var width = 32u; width > 0u; width = width >> 1u) {
        if (lane < width) {
            reduce_lane[lane] = max(reduce_lane[lane], reduce_lane[lane + width]);
        }
        workgroupBarrier();
    }
    return reduce_lane[0];
}
