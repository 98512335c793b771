// What follows a layer, and what of a gradient passes it. Kinds: 0 nothing, 1 ReLU, 2 ReLU6.
fn activated(kind: u32, x: f32) -> f32 {
    var y = x;
    if (kind != 0u) {
        y = select(y, 0.0, y < 0.0); // max() may drop a NaN
    }
    if (kind == 2u) {
        y = select(y, 6.0, y > 6.0);
    }
    return y;
}

// The gradient behind an activation that gave y: 0 at its bounds.
fn passed(kind: u32, y: f32, gradient: f32) -> f32 {
    let shut = (kind != 0u && y <= 0.0) || (kind == 2u && y >= 6.0);
    return select(gradient, 0.0, shut);
}
