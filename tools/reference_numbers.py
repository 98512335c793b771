#!/usr/bin/env python3
"""Accuracy on the two recordings of what this crate is measured against, computed without it.

    .venv/bin/pip install numpy pillow onnxruntime scikit-learn
    .venv/bin/python tools/reference_numbers.py [--model models/efficientnet-lite0-features-160.onnx] [--json FILE]

Features h [N, D] come from ONNX Runtime: RGB, bilinear resize straight to S x S, (pixel - 127) / 128, NCHW.
  joint        multinomial logistic regression on all training rows of standardised h at once: the upper bound
  lda          class means and one shared covariance shrunk by 0.1 towards its mean variance, arg max
  class means  nearest mean of standardised h
  naive        one linear softmax head on L2-normalised h, SGD 0.1 with momentum 0.9, 20 epochs a task on that task's rows
               only: the lower bound. On h as it is the same head saturates early, which reads as less forgetting
`final` is the accuracy on all test rows after the last task; `forgetting` the mean over all tasks but the last of
(best accuracy so far on that task - accuracy at the end). `shuffled` repeats joint and lda with permuted training labels: it must
fall to chance, or the harness leaks.
"""
import argparse, csv, json, pathlib
import numpy as np
import onnxruntime as ort
from PIL import Image
from sklearn.linear_model import LogisticRegression

RECORDINGS = {"recording-fashion": 2, "recording-objects": 1}      # classes a task


def recording(folder):
    with open(folder / "labels.csv", newline="") as f:
        return list(csv.DictReader(f))


def embed(model, folder, rows):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    size, out = entry.shape[2], []
    for row in rows:
        image = Image.open(folder / row["frame"]).convert("RGB").resize((size, size), Image.BILINEAR)
        pixels = (np.asarray(image, np.float32) - 127) / 128
        out.append(session.run(None, {entry.name: pixels.transpose(2, 0, 1)[None]})[0][0])
    return np.stack(out)


def standardise(x, *others):
    mean, std = x.mean(0), x.std(0) + 1e-6
    return [(v - mean) / std for v in (x, *others)]


def joint(x, y, test):
    x, test = standardise(x, test)
    return LogisticRegression(C=0.01, max_iter=2000).fit(x, y).predict(test)


def class_means(x, y, test):
    x, test = standardise(x, test)
    classes = np.unique(y)
    means = np.stack([x[y == c].mean(0) for c in classes])
    return classes[((test[:, None] - means) ** 2).sum(-1).argmin(1)]


def lda(x, y, test, shrinkage=0.1):
    classes = np.unique(y)
    means = np.stack([x[y == c].mean(0) for c in classes])
    within = x - means[np.searchsorted(classes, y)]
    cov = within.T @ within / len(x)
    cov = (1 - shrinkage) * cov + shrinkage * np.trace(cov) / len(cov) * np.eye(len(cov))
    weight = np.linalg.solve(cov, means.T)
    return classes[(test @ weight - 0.5 * (means.T * weight).sum(0)).argmax(1)]


def unit_rows(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def naive(x, y, tests, tasks, epochs=20, batch=32, rate=0.1, momentum=0.9):
    """Predictions for `tests` after each task."""
    rng, classes = np.random.RandomState(0), int(y.max()) + 1
    w, b = np.zeros((x.shape[1], classes)), np.zeros(classes)
    vw, vb, after = np.zeros_like(w), np.zeros_like(b), []
    for task in tasks:
        rows = np.flatnonzero(np.isin(y, task))
        for _ in range(epochs):
            order = rng.permutation(rows)
            for start in range(0, len(order), batch):
                pick = order[start:start + batch]
                logits = x[pick] @ w + b
                p = np.exp(logits - logits.max(1, keepdims=True))
                p /= p.sum(1, keepdims=True)
                p[np.arange(len(pick)), y[pick]] -= 1
                vw, vb = momentum * vw + x[pick].T @ p / len(pick), momentum * vb + p.mean(0)
                w, b = w - rate * vw, b - rate * vb
        after.append((tests @ w + b).argmax(1))
    return after


def accuracy(predicted, y):
    return float((predicted == y).mean())


def forgetting(matrix):
    """`matrix[t][k]`: accuracy on task k after task t."""
    m = np.array(matrix)
    return float(np.mean([m[:, k].max() - m[-1, k] for k in range(len(m) - 1)]))


def by_task(predictions, truth, tasks):
    """The accuracy matrix of `predictions[t]`; what was not taught yet counts as 0."""
    return [[accuracy(p[np.isin(truth, task)], truth[np.isin(truth, task)]) if k <= t else 0.0
             for k, task in enumerate(tasks)] for t, p in enumerate(predictions)]


def refitted(method, x, y, tests, tasks):
    """Predictions after each task of a method fitted on all rows seen so far."""
    seen = [np.isin(y, np.concatenate(tasks[:t + 1])) for t in range(len(tasks))]
    return [method(x[s], y[s], tests) for s in seen]


def measure(x, y, tests, truth, per_task):
    classes = int(y.max()) + 1
    tasks = [np.arange(c, min(c + per_task, classes)) for c in range(0, classes, per_task)]
    runs = {
        "lda": refitted(lda, x, y, tests, tasks),
        "class means": refitted(class_means, x, y, tests, tasks),
        "naive": naive(unit_rows(x), y, unit_rows(tests), tasks),
        "naive, h as it is": naive(x, y, tests, tasks),
    }
    report = {"classes": classes, "tasks": len(tasks), "train": len(y), "test": len(truth),
              "joint": {"final": accuracy(joint(x, y, tests), truth)}}
    for name, predictions in runs.items():
        report[name] = {"final": accuracy(predictions[-1], truth), "forgetting": forgetting(by_task(predictions, truth, tasks))}
    wrong = np.random.RandomState(1).permutation(y)
    report["shuffled"] = {"joint": accuracy(joint(x, wrong, tests), truth), "lda": accuracy(lda(x, wrong, tests), truth)}
    return report


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--model", default="models/efficientnet-lite0-features-160.onnx")
    a.add_argument("--data", type=pathlib.Path, default=pathlib.Path("tests/data"))
    a.add_argument("--json", type=pathlib.Path)
    a = a.parse_args()
    reports = {}
    for name, per_task in RECORDINGS.items():
        rows = recording(a.data / name)
        h = embed(a.model, a.data / name, rows).astype(np.float64)
        names = list(dict.fromkeys(r["label"] for r in rows))      # numbered as first seen, so tasks are neighbours
        y = np.array([names.index(r["label"]) for r in rows])
        train = np.array([r["split"] == "train" for r in rows])
        reports[name] = measure(h[train], y[train], h[~train], y[~train], per_task)
        print(name)
        for key, value in reports[name].items():
            print(f"  {key:18}", value if isinstance(value, int) else "  ".join(f"{k} {v:.3f}" for k, v in value.items()))
    if a.json:
        a.json.write_text(json.dumps({"model": a.model, "recordings": reports}, indent=1) + "\n")


if __name__ == "__main__":
    main()
