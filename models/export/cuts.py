#!/usr/bin/env python3
"""Where a backbone can be cut into a trunk and a trainable tail, with sizes; and whether a cut gives the whole again.

    pip install numpy onnx onnxruntime
    python models/export/cuts.py models/efficientnet-lite0-features-160.onnx [--check CUT]

A value can be cut behind if nothing computed before it is used after it, and if all behind it can be trained: Conv
(pointwise; depthwise, odd and square, stride 1 or 2), BatchNormalization behind one, Relu, Clip to 0..6, Add,
GlobalAveragePool, Flatten of a pooled map, Identity. Sizes are for one picture; the latent's bytes are those of 8 bits
with a scale of 16 bits a channel, as a state keeps it.
"""
import argparse, tempfile
import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference, utils

SHARE = 1 / 3        # of the multiply-adds that the proposed tail has at most
BYTES = 16 * 1024    # that the proposed latent has at most


def attributes(node):
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def fault(node, constants, pooled):
    """What keeps a node from being trained, if anything does."""
    a, kind = attributes(node), node.op_type
    if kind == "Conv":
        out, per_group, rows, columns = constants[node.input[1]].shape if node.input[1] in constants else (0, 0, 0, 0)
        strides, pads, groups = a.get("strides", [1, 1]), a.get("pads", [0] * 4), a.get("group", 1)
        plain = a.get("auto_pad", b"NOTSET") == b"NOTSET" and a.get("dilations", [1, 1]) == [1, 1]
        pointwise = groups == 1 and rows * columns == 1 and strides == [1, 1] and not any(pads)
        depthwise = groups == out and per_group == 1 and rows == columns and rows % 2 == 1 and strides in ([1, 1], [2, 2])
        return None if plain and (pointwise or depthwise) else "a Conv that is neither pointwise nor depthwise"
    if kind == "Clip":
        bounds = [constants[i].item() for i in node.input[1:] if i in constants] or [a.get("min"), a.get("max")]
        return None if bounds == [0.0, 6.0] else f"Clip to {bounds}"
    if kind == "Flatten":
        return None if node.input[0] in pooled else "Flatten of a map"
    if kind == "Add":
        return "Add of a constant" if any(i in constants for i in node.input) else None
    return None if kind in ("BatchNormalization", "Relu", "GlobalAveragePool", "Identity") else kind


def cuts(model):
    """Every value that the graph can be cut behind: name, shape [C, H, W], bytes, multiply-adds, parameters; and the
    multiply-adds of the whole."""
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in (n for n in graph.node if n.op_type == "Constant"):
        constants[node.output[0]] = numpy_helper.to_array(attributes(node)["value"])
    inferred = shape_inference.infer_shapes(model).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in [*inferred.value_info, *inferred.output]}
    pooled = set()
    for node in graph.node:
        if node.op_type == "GlobalAveragePool" or (node.op_type == "Identity" and node.input[0] in pooled):
            pooled.update(node.output)

    def multiply_adds(node):
        if node.op_type != "Conv" or node.input[1] not in constants:
            return 0
        return int(np.prod(shapes[node.output[0]][2:])) * constants[node.input[1]].size

    found = []
    for at, node in enumerate(graph.node):
        cut, inside, tail = node.output[0], {node.output[0]}, []
        if cut in constants:
            continue
        for later in graph.node[at + 1:]:
            data = [i for i in later.input if i and i not in constants]
            if not any(i in inside for i in data):
                continue
            if not all(i in inside for i in data) or fault(later, constants, pooled):
                tail = None
                break
            tail.append(later)
            inside.update(later.output)
        shape = shapes.get(cut, [])
        if not tail or len(shape) != 4 or tail[-1].output[0] != graph.output[0].name:
            continue
        _, c, h, w = shape
        parameters = sum(constants[i].size for n in tail for i in n.input if i in constants)
        found.append((cut, [c, h, w], c * h * w + 2 * c, sum(map(multiply_adds, tail)), parameters))
    return found, sum(map(multiply_adds, graph.node))


def proposal(found, whole):
    """The cut with the longest tail that is still cheap enough to train and to store."""
    cheap = [cut for cut in found if 0 < cut[3] <= SHARE * whole and cut[2] <= BYTES]
    return cheap[0] if cheap else None


def table(found, whole, chosen):
    lines = [f"{'cut':24} {'latent':>16} {'as int8':>10} {'tail: M multiply-adds (of %.0f)' % (whole / 1e6):>36} {'parameters':>12}"]
    for cut, shape, size, adds, parameters in found:
        mark = "*" if chosen and cut == chosen[0] else " "
        text = " x ".join(map(str, shape))
        lines.append(f"{mark}{cut:23} {text:>16} {size / 1000:8.1f}kB {adds / 1e6:36.1f} {parameters / 1e6:11.2f}M")
    return "\n".join(lines)


def split_error(path, cut, images):
    """Largest difference between trunk and tail one after the other and the whole, over the largest feature."""
    import onnxruntime

    model = onnx.load(path)
    [image], [features] = [i.name for i in model.graph.input], [o.name for o in model.graph.output]
    run = lambda file, name, x: onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {name: x})[0]
    with tempfile.TemporaryDirectory() as folder:
        trunk, tail = f"{folder}/trunk.onnx", f"{folder}/tail.onnx"
        utils.extract_model(str(path), trunk, [image], [cut])
        utils.extract_model(str(path), tail, [cut], [features])
        want = run(str(path), image, images)
        got = run(tail, cut, run(trunk, image, images))
    return float(np.abs(got - want).max() / np.abs(want).max())


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model", help="an ONNX file with one image in and one row of features out")
    a.add_argument("--check", metavar="CUT", help="compares trunk and tail of this cut with the whole")
    a = a.parse_args()
    model = onnx.load(a.model)
    found, whole = cuts(model)
    chosen = proposal(found, whole)
    print(table(found, whole, chosen))
    print(f'proposed: cut = "{chosen[0]}"' if chosen else "nothing to propose: leave `cut` out, an adapter learns behind the features")
    cut = a.check or (chosen and chosen[0])
    if cut:
        side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
        images = np.random.default_rng(1).uniform(-1, 1, (2, 3, side, side)).astype(np.float32)
        error = split_error(a.model, cut, images)
        print(f"trunk and tail of {cut} against the whole: {error:.1e} of the largest feature")
        if error > 1e-5:
            raise SystemExit("the split is not the whole")


if __name__ == "__main__":
    main()
