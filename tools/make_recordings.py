#!/usr/bin/env python3
"""Cut the two recordings under tests/data from packages of Debian 12. Nothing is fetched.

    apt-get install dataset-fashion-mnist opencv-doc ffmpeg
    python -m venv .venv && .venv/bin/pip install numpy==2.4.6 pillow==13.0.0
    .venv/bin/python tools/make_recordings.py [--out tests/data] [--datasets /usr/share] [--docs /usr/share/doc]

A recording is a folder of frames and a `labels.csv` (frame,timestamp_millis,label,split). All training frames
come first, task after task; all test frames follow. The same packages give the same files, byte for byte, with the
versions named above (another Pillow or ffmpeg may encode the same pixels differently).
"""
import argparse, csv, gzip, pathlib, shutil, subprocess, tempfile
import numpy as np
from PIL import Image

FRAME_MILLIS = 100
SEED = 5

# Fashion-MNIST, in the order of its own label numbers; two neighbours make a task.
FASHION = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]
FASHION_TRAIN, FASHION_TEST, CLASSES_PER_TASK = 60, 30, 2

# label, clip inside the docs folder, training frames, test frames: (first, stride, count) in decoded frames.
CLIPS = [
    ("box", "opencv-doc/opencv4/html/box.mp4.gz", (0, 4, 60), (325, 4, 30)),
    ("cup", "opencv-doc/opencv4/html/cup.mp4.gz", (0, 2, 60), (150, 2, 30)),
    ("tree", "opencv-doc/examples/data/tree.avi", (0, 1, 42), (48, 1, 20)),
    ("pedestrians", "opencv-doc/examples/data/vtest.avi", (0, 8, 60), (555, 8, 30)),
]
WIDTH, QUALITY = 224, 80


def idx(path):
    """One array of an IDX file (big-endian sizes, unsigned bytes)."""
    raw = gzip.decompress(path.read_bytes())
    sizes = np.frombuffer(raw, ">i4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


def write(folder, frames):
    """Writes `frames` (encoder, label, split), in this order, as a recording."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open(folder / "labels.csv", "w", newline="") as f:
        table = csv.writer(f, lineterminator="\n")
        table.writerow(["frame", "timestamp_millis", "label", "split"])
        for i, (save, label, split) in enumerate(frames):
            table.writerow([save(folder, f"{i:06}"), i * FRAME_MILLIS, label, split])
    size = sum(p.stat().st_size for p in folder.iterdir())
    print(f"{folder}: {len(frames)} frames, {size} bytes")


def png(pixels):
    def save(folder, stem):
        Image.fromarray(pixels, "L").save(folder / f"{stem}.png", optimize=True)
        return f"{stem}.png"
    return save


def jpeg(pixels):
    def save(folder, stem):
        Image.fromarray(pixels).save(folder / f"{stem}.jpg", quality=QUALITY, optimize=True)
        return f"{stem}.jpg"
    return save


def fashion(datasets):
    rng = np.random.RandomState(SEED)
    folder, frames = datasets / "datasets/fashion-mnist", []
    for split, stem, count in [("train", "train", FASHION_TRAIN), ("test", "t10k", FASHION_TEST)]:
        images, labels = idx(folder / f"{stem}-images-idx3-ubyte.gz"), idx(folder / f"{stem}-labels-idx1-ubyte.gz")
        for first in range(0, len(FASHION), CLASSES_PER_TASK):
            classes = range(first, first + CLASSES_PER_TASK)
            rows = np.concatenate([rng.choice(np.flatnonzero(labels == c), count, replace=False) for c in classes])
            frames += [(png(images[r]), FASHION[labels[r]], split) for r in rng.permutation(rows)]
    return frames


def decode(clip):
    """All frames of a clip, scaled to WIDTH, as [T, H, W, 3] bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        if clip.suffix == ".gz":
            plain = pathlib.Path(scratch) / clip.stem
            plain.write_bytes(gzip.decompress(clip.read_bytes()))
            clip = plain
        size = subprocess.run(
            ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height", "-of", "csv=p=0", clip],
            check=True, capture_output=True, text=True).stdout
        width, height = map(int, size.strip().split(","))
        height = 2 * round(height * WIDTH / width / 2)
        raw = subprocess.run(
            ["ffmpeg", "-v", "fatal", "-threads", "1", "-i", clip, "-vf",
             f"scale={WIDTH}:{height}:flags=area+accurate_rnd+bitexact", "-vsync", "passthrough",
             "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, WIDTH, 3)


def objects(docs):
    clips = [(label, decode(docs / name), train, test) for label, name, train, test in CLIPS]
    frames = []
    for split in ["train", "test"]:
        for label, clip, train, test in clips:
            first, stride, count = train if split == "train" else test
            last = first + stride * (count - 1)
            assert last < len(clip), f"{label}: frame {last} of {len(clip)}"
            frames += [(jpeg(p), label, split) for p in clip[first:last + 1:stride]]
    return frames


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--out", type=pathlib.Path, default=pathlib.Path("tests/data"))
    a.add_argument("--datasets", type=pathlib.Path, default=pathlib.Path("/usr/share"))
    a.add_argument("--docs", type=pathlib.Path, default=pathlib.Path("/usr/share/doc"))
    a = a.parse_args()
    write(a.out / "recording-fashion", fashion(a.datasets))
    write(a.out / "recording-objects", objects(a.docs))


if __name__ == "__main__":
    main()
