"""Features of a slice of tests/data/recording-fashion, and what scikit-learn and NumPy make of them.

    python tools/bakeoff_slice.py

needs numpy, pillow, onnxruntime, scikit-learn, safetensors and models/efficientnet-lite0-features-160-int8.onnx.
Writes tests/data/bakeoff/slice.safetensors (every fourth feature in half precision) and expected.json.
Five tasks of two classes in the order of their numbers; `final` is the accuracy over all ten.
"""

import csv
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from safetensors.numpy import save_file
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestCentroid

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "tests/data/recording-fashion"
OUT = ROOT / "tests/data/bakeoff"
MODEL = ROOT / "models/efficientnet-lite0-features-160-int8.onnx"
STRIDE = 4
WIDTH, LAMBDA, DRAWS = 5000, 100.0, 10


def embed():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    sides = {"train": ([], []), "test": ([], [])}
    rows = list(csv.DictReader((RECORDING / "labels.csv").open()))
    names = list(dict.fromkeys(row["label"] for row in rows if row["split"] == "train"))
    for row in rows:
        image = Image.open(RECORDING / row["frame"]).convert("RGB").resize((160, 160), Image.Resampling.BILINEAR)
        pixels = (np.asarray(image, np.float32).transpose(2, 0, 1)[None] - 127) / 128
        features, labels = sides[row["split"]]
        features.append(session.run(None, {name: pixels})[0].reshape(-1)[::STRIDE])
        labels.append(names.index(row["label"]))
    return {side: (np.stack(f).astype(np.float16), np.array(y, np.int32)) for side, (f, y) in sides.items()}


def power(h):
    root = np.sqrt(np.maximum(h, 0))
    return root / np.linalg.norm(root, axis=1, keepdims=True)


def main():
    sides = embed()
    (train, labels), (test, truth) = sides["train"], sides["test"]
    OUT.mkdir(exist_ok=True)
    tensors = {"train": train, "train_labels": labels, "test": test, "test_labels": truth}
    save_file(tensors, OUT / "slice.safetensors")
    train, test = train.astype(np.float64), test.astype(np.float64)
    u, v = power(train), power(test)
    deviation = train.std(axis=0)
    deviation[deviation < 1e-9] = np.inf
    share = lambda named: round(float((named == truth).mean()), 6)
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3, priors=np.full(10, 0.1)).fit(u, labels)
    ncm = NearestCentroid().fit(train / deviation, labels)
    # scikit-learn's C weighs the summed loss against half the squared norm: 1 / (0.01 N).
    scale = np.sqrt(u.shape[1])
    logistic = LogisticRegression(C=1 / (0.01 * len(u)), max_iter=2000).fit(scale * u, labels)
    ranpac = []
    for seed in range(DRAWS):
        projection = np.random.default_rng(seed).standard_normal((u.shape[1], WIDTH))
        ridge = Ridge(alpha=LAMBDA, fit_intercept=False)
        ridge.fit(np.maximum(u @ projection, 0), np.eye(10)[labels])
        ranpac.append(share(ridge.predict(np.maximum(v @ projection, 0)).argmax(axis=1)))
    final = {
        "slda": share(lda.predict(v)),
        "ncm": share(ncm.predict(test / deviation)),
        "joint": share(logistic.predict(scale * v)),
        "ranpac": round(float(np.mean(ranpac)), 6),
    }
    (OUT / "expected.json").write_text(json.dumps({"final": final}, indent=2) + "\n")
    print(final, "ranpac deviation", np.std(ranpac))


if __name__ == "__main__":
    main()
