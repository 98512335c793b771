"""Runs the ARM programs under emulation beside the native ones and compares what they say.

    check.py --native KAIZEN --arm KAIZEN --run RUNNER --onnx NATIVE ARM --work FOLDER
             [--every N]

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


def recording(name, every):
    """Paths of a recording's pictures by label and side, every so many-th of each."""
    folder = ROOT / "tests/data" / name
    sides = collections.defaultdict(list)
    for row in csv.DictReader((folder / "labels.csv").open()):
        sides[row["split"], row["label"]].append(folder / row["frame"])
    return {key: paths[::every] for key, paths in sides.items()}


def teach(machine, state, pictures):
    for (split, label), paths in pictures.items():
        if split == "train":
            machine.run("teach", label, *paths, "--state", state, *machine.with_backbone(), "--json")


def predictions(machine, state, pictures):
    paths = [path for (split, _), paths in pictures.items() if split == "test" for path in paths]
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
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--every", type=int, default=12)
    options = parser.parse_args()
    work = options.work
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    native_onnx, arm_onnx = options.onnx
    arm = lambda userland, provider: Machine(
        f"ARM, {userland} userland, {provider}", [options.run, userland, options.arm], provider, arm_onnx
    )
    native = {p: Machine(f"native, {p}", [options.native], p, native_onnx) for p in ("tract", "cpu")}

    pictures = recording("recording-fashion", options.every)
    for provider in ("tract", "cpu"):
        here = work / f"native-{provider}.kaizen"
        teach(native[provider], here, pictures)
        before = predictions(native[provider], here, pictures)
        native[provider].run("learn", "--state", here, "--steps", 0, *native[provider].with_backbone(), "--json")
        wanted = predictions(native[provider], here, pictures)
        differs(f"control, {provider}: before and after learning", before, wanted)
        # Side by side: an emulated machine uses one core.
        machines = [arm(userland, provider) for userland in ("old", "new")]
        with concurrent.futures.ThreadPoolExecutor(len(machines)) as pool:
            answers = pool.map(lambda machine: predictions(machine, here, pictures), machines)
            for machine, ours in zip(machines, answers):
                same(f"{machine.name}: a native state", ours, wanted)
    # The other way round: taught, learned and exported on ARM, read here.
    machine = arm("old", "tract")
    there = work / "arm.kaizen"
    # An emulated machine augments and embeds slowly.
    few = {key: paths[:2] for key, paths in pictures.items()}
    teach(machine, there, few)
    machine.run("learn", "--state", there, "--steps", 2, *machine.with_backbone(), "--json")
    same("native: an ARM state", predictions(native["tract"], there, few), predictions(machine, there, few))
    machine.run("check", there)
    machine.run("export", work / "arm.onnx", "--state", there, *machine.with_backbone())
    print(f"exported on ARM: {(work / 'arm.onnx').stat().st_size} bytes", flush=True)
    sentences(arm, there)


def sentences(arm, state):
    """What a device may lack is said, with the way out."""
    machine = arm("old", "cpu")
    picture = next(iter(recording("recording-fashion", 50).values()))[0]
    predict = ["predict", picture, "--state", state, "--models-dir", ROOT / "models"]
    cases = [
        ("no ONNX Runtime", [*predict, "--provider", "cpu"], {"ORT_DYLIB_PATH": "/nowhere/libonnxruntime.so"}, "ORT_DYLIB_PATH"),
        ("no CUDA in the library", [*predict, "--provider", "cuda"], {}, "cuda"),
        ("no TensorRT in the library", [*predict, "--provider", "tensorrt"], {}, "tensorrt"),
        ("no Vulkan", ["learn", "--state", state, "--engine", "gpu", "--models-dir", ROOT / "models"],
         {"VK_ICD_FILENAMES": "/nowhere.json"}, "--engine"),
        ("no camera", ["observe", "/dev/video99", "--state", state, "--models-dir", ROOT / "models"], {}, "video99"),
    ]
    for what, arguments, environment, word in cases:
        done = machine.run(*arguments, ok=False, environment=environment)
        said = done.stderr.strip().splitlines()
        if done.returncode == 0 or not said or word not in done.stderr or "panicked" in done.stderr:
            sys.exit(f"{what}: exit {done.returncode}, {done.stderr!r} does not name {word}")
        print(f"{what}: {said[-1]}", flush=True)


if __name__ == "__main__":
    main()
