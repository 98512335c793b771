#!/usr/bin/env python3
"""Export a backbone of your own, from timm or any PyTorch module, as a feature extractor this crate can load.

    pip install torch timm onnx onnxruntime
    python models/export/export_timm.py mobilenetv3_small_100 --size 160 --licence Apache-2.0 \\
        --out models/mobilenetv3-small-160.onnx
    python models/export/export_timm.py package.module:build --size 96 --licence MIT --out models/mine-96.onnx \\
        --weights mine.pth --mean 127.5 127.5 127.5 --std 127.5 127.5 127.5

The contract: one float32 input "image" [N, 3, S, S] (RGB, NCHW, (pixel - mean) / std with pixel in 0..255), one float32
output "features" [N, D], the globally pooled map before any classifier. N is symbolic, S and D are fixed.
Prints the lines for models/manifest.toml, with the cut into trunk and trainable tail that cuts.py proposes (--cut for
another one), after the table of all cuts on standard error.
"""
import argparse, hashlib, importlib, pathlib, sys
import numpy as np
import onnx
import onnxruntime
import torch

import cuts

OPSET = 17


def backbone(name, weights):
    """The module and its timm preprocessing in pixel units (None for a module of your own)."""
    if ":" in name:
        module, build = name.split(":")
        net, mean, std = getattr(importlib.import_module(module), build)(), None, None
    else:
        import timm
        net = timm.create_model(name, pretrained=weights is None, num_classes=0, global_pool="avg")
        data = timm.data.resolve_model_data_config(net)
        mean, std = [255 * v for v in data["mean"]], [255 * v for v in data["std"]]
    if weights:
        net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return net.eval(), mean, std


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("backbone", help="a timm name, or package.module:function that returns a torch.nn.Module")
    a.add_argument("--out", type=pathlib.Path, required=True)
    a.add_argument("--size", type=int, required=True, help="S, the side of the square input in pixels")
    a.add_argument("--weights", help="state dict to load instead of timm's pretrained one")
    a.add_argument("--mean", type=float, nargs=3)
    a.add_argument("--std", type=float, nargs=3)
    a.add_argument("--cut", help="the value to cut behind [default: the proposal]; `none` leaves the backbone whole")
    a.add_argument("--licence", required=True, help="licence of the weights, as it goes into the manifest")
    a = a.parse_args()
    net, mean, std = backbone(a.backbone, a.weights)
    mean, std = a.mean or mean, a.std or std
    if mean is None or std is None:
        raise SystemExit("a module of your own needs --mean and --std: what it was trained with, in 0..255 pixel units")

    two = torch.randn(2, 3, a.size, a.size)
    with torch.no_grad():
        expected = net(two)
    if expected.ndim != 2:
        raise SystemExit(f"the output has shape {list(expected.shape)}, wanted [N, D]: pool the map and drop the classifier")
    torch.onnx.export(net, (two,), str(a.out), input_names=["image"], output_names=["features"], opset_version=OPSET,
                      dynamic_axes={"image": {0: "N"}, "features": {0: "N"}}, dynamo=False)

    model = onnx.load(a.out)
    del model.graph.value_info[:]            # inner shapes carry the symbolic N; a loader that fixes N to 1 would refuse them
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, a.out)

    session = onnxruntime.InferenceSession(str(a.out), providers=["CPUExecutionProvider"])
    for rows in (two[:1], two):              # both batch sizes: a batch baked into a Reshape shows here
        got = session.run(None, {"image": rows.numpy()})[0]
        want = expected[:len(rows)].numpy()
        worst = np.abs(got - want).max() / np.abs(want).max()
        if worst > 1e-4:
            raise SystemExit(f"batch of {len(rows)}: the exported file differs from PyTorch by {worst:.1e} of the largest feature")

    found, whole = cuts.cuts(model)
    chosen = cuts.proposal(found, whole)
    print(cuts.table(found, whole, chosen), file=sys.stderr)
    cut = a.cut or (chosen[0] if chosen else "none")
    if cut != "none":
        if cut not in [name for name, *_ in found]:
            raise SystemExit(f"it cannot be cut behind `{cut}`: take one of the table")
        error = cuts.split_error(a.out, cut, two.numpy())
        if error > 1e-5:
            raise SystemExit(f"cut behind `{cut}` trunk and tail differ from the whole by {error:.1e} of the largest feature")

    print(f'''[[model]]
name = "{a.out.stem}"
file = "{a.out.name}"
sha256 = "{hashlib.sha256(a.out.read_bytes()).hexdigest()}"
licence = "{a.licence}"
origin = "{a.backbone}"
input_size = {a.size}
mean = {[round(float(v), 4) for v in mean]}
std = {[round(float(v), 4) for v in std]}
layout = "nchw"
channels = "rgb"
feature_width = {expected.shape[1]}
precision = "fp32"''' + (f'\ncut = "{cut}"' if cut != "none" else ""))


if __name__ == "__main__":
    main()
