"""Runs the ARM programs under emulation beside the native ones and compares what they say.

    check.py --native KAIZEN --arm KAIZEN --run RUNNER --onnx NATIVE ARM --old-onnx ARM --work FOLDER

RUNNER is called as `RUNNER USERLAND PROGRAM ARGUMENT...`. Pictures and models come from the repository. Every line
that is printed is one comparison; the first one that fails ends the run.
"""

import argparse
import collections
import concurrent.futures
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4


class Machine:
    """A way to run `kaizen`: native, or emulated on one of the userlands, with ONNX Runtime or tract."""

    def __init__(self, name, prefix, provider, onnx):
        self.name, self.prefix, self.provider, self.onnx = name, prefix, provider, onnx

    def run(self, *arguments, ok=True, environment=None):
        variables = {**os.environ, "ORT_DYLIB_PATH": self.onnx, "ORT_DISABLE_TELEMETRY": "1", **(environment or {})}
        done = subprocess.run(
            [*self.prefix, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, env=variables
        )
        if ok and done.returncode:
            sys.exit(f"{self.name}: {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
        return done

    def lines(self, *arguments):
        return [json.loads(line) for line in self.run(*arguments, "--json").stdout.splitlines()]

    def with_backbone(self):
        return ["--provider", self.provider, "--models-dir", ROOT / "models"]


def recording(name):
    """Paths of a recording's pictures by side and label."""
    folder = ROOT / "tests/data" / name
    sides = collections.defaultdict(list)
    for row in csv.DictReader((folder / "labels.csv").open()):
        sides[row["split"], row["label"]].append(folder / row["frame"])
    return sides


def teach(machine, state, pictures):
    for (split, label), paths in pictures.items():
        if split == "train":
            machine.run("teach", label, *paths, "--state", state, *machine.with_backbone(), "--json")


def test_frames(pictures):
    return [path for (split, _), paths in pictures.items() if split == "test" for path in paths]


def predictions(machine, state, paths):
    answers = machine.lines("predict", *paths, "--state", state, *machine.with_backbone())
    if len(answers) != len(paths):
        sys.exit(f"{machine.name}: {len(answers)} answers for {len(paths)} pictures")
    return answers


def same(what, ours, theirs):
    """The same class for every picture, probabilities within the tolerance."""
    worst = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        if mine["class"] != other["class"] or mine.get("nearest") != other.get("nearest"):
            sys.exit(f"{what}: {mine} is not {other}")
        worst = max(worst, abs(mine["probability"] - other["probability"]))
    if worst > TOLERANCE:
        sys.exit(f"{what}: probabilities differ by {worst:.1e}")
    print(f"{what}: {len(ours)} pictures, same classes, probabilities within {worst:.1e}", flush=True)


def differs(what, ours, theirs):
    """The control: answers that must not pass for the same."""
    if all(a["class"] == b["class"] and abs(a["probability"] - b["probability"]) <= TOLERANCE for a, b in zip(ours, theirs)):
        sys.exit(f"{what}: the comparison cannot tell different states apart")
    print(f"{what}: told apart", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--native", required=True)
    parser.add_argument("--arm", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--onnx", nargs=2, required=True)
    parser.add_argument("--old-onnx", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    options = parser.parse_args()
    work = options.work
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    native_onnx, arm_onnx = options.onnx
    arm = lambda userland, provider: Machine(
        f"ARM, {userland} userland, {provider}", [options.run, userland, options.arm], provider, arm_onnx
    )
    native = {p: Machine(f"native, {p}", [options.native], p, native_onnx) for p in ("tract", "cpu")}

    pictures = recording("recording-objects")
    frames = test_frames(pictures)
    states, wanted = {}, {}
    for provider, machine in native.items():
        states[provider] = work / f"native-{provider}.kaizen"
        teach(machine, states[provider], pictures)
        before = predictions(machine, states[provider], frames)
        machine.run("learn", "--state", states[provider], "--steps", 0, *machine.with_backbone(), "--json")
        wanted[provider] = predictions(machine, states[provider], frames)
        differs(f"control, {provider}: before and after learning", before, wanted[provider])
    # Every frame with each provider and on each userland, every fourth in the other two pairings. Side by side: an emulated
    # machine uses one core.
    pairings = [("old", "tract", 1), ("new", "cpu", 1), ("new", "tract", 4), ("old", "cpu", 4)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ask = lambda pairing: predictions(arm(*pairing[:2]), states[pairing[1]], frames[:: pairing[2]])
        for (userland, provider, step), ours in zip(pairings, pool.map(ask, pairings)):
            same(f"{arm(userland, provider).name}: a native state", ours, wanted[provider][::step])
    # The other way round: taught, learned and exported on ARM, read here.
    machine = arm("old", "tract")
    there = work / "arm.kaizen"
    # An emulated machine augments and embeds slowly.
    few = {(split, label): paths[: 3 if split == "train" else 2] for (split, label), paths in pictures.items()}
    teach(machine, there, few)
    machine.run("learn", "--state", there, "--steps", 2, *machine.with_backbone(), "--json")
    same("native: an ARM state", predictions(native["tract"], there, test_frames(few)), predictions(machine, there, test_frames(few)))
    machine.run("check", there)
    machine.run("export", work / "arm.onnx", "--state", there, *machine.with_backbone())
    print(f"exported on ARM: {(work / 'arm.onnx').stat().st_size} bytes", flush=True)
    sentences(arm, there, options.old_onnx)


def sentences(arm, state, old_onnx):
    """What a device may lack is said, with the way out."""
    machine = arm("old", "cpu")
    picture = next(iter(recording("recording-fashion").values()))[0]
    predict = ["predict", picture, "--state", state, "--models-dir", ROOT / "models"]
    # What is lacking, the command, its variables, and the words that name it and the way out.
    cases = [
        ("no ONNX Runtime", [*predict, "--provider", "cpu"], {"ORT_DYLIB_PATH": "/nowhere/libonnxruntime.so"},
         ["/nowhere/libonnxruntime.so", "pip install onnxruntime"]),
        ("an ONNX Runtime that is too old", [*predict, "--provider", "cpu"], {"ORT_DYLIB_PATH": old_onnx},
         ["1.14", "1.17 or newer", "pip install onnxruntime"]),
        ("a library that is no ONNX Runtime", [*predict, "--provider", "cpu"], {"ORT_DYLIB_PATH": str(arm("old", "cpu").prefix[-1])},
         ["not a loadable ONNX Runtime", "pip install onnxruntime"]),
        ("no CUDA in the library", [*predict, "--provider", "cuda"], {}, ["cuda", "--ort-lib", "--provider auto"]),
        ("no TensorRT in the library", [*predict, "--provider", "tensorrt"], {}, ["tensorrt", "--ort-lib", "--provider auto"]),
        ("no Vulkan", ["learn", "--state", state, "--engine", "gpu", "--models-dir", ROOT / "models"],
         {"VK_ICD_FILENAMES": "/nowhere.json"}, ["Vulkan driver", "--engine cpu"]),
        ("no camera", ["observe", "/dev/video99", "--state", state, "--models-dir", ROOT / "models"], {},
         ["/dev/video99", "--features gstreamer"]),
    ]
    for what, arguments, environment, words in cases:
        done = machine.run(*arguments, ok=False, environment=environment)
        said = done.stderr.strip().splitlines()
        missing = [word for word in words if word not in done.stderr]
        if done.returncode != 1 or missing or "panicked" in done.stderr:
            sys.exit(f"{what}: exit {done.returncode}, {done.stderr!r} does not say {missing}")
        print(f"{what}: {said[-1]}", flush=True)


if __name__ == "__main__":
    main()
