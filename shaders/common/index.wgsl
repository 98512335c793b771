// More than 65 535 workgroups are folded into two dimensions; this is the way back.
fn workgroup_number(id: vec3<u32>, count: vec3<u32>) -> u32 {
    return id.x + id.y * count.x;
}
