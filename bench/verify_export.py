#!/usr/bin/env python3
"""Checks that what `bidst export` writes gives the same answers elsewhere, by the recipes of docs/export.md.

    cargo build --release
    python3 bench/verify_export.py

Needs onnx, onnxruntime, torch, torchvision, numpy and safetensors.

* Every network of the zoo, narrow and briefly trained on random images, gives logits for 256 other ones that differ from
  those of bidst by less than 1e-4 (and 1e-4 of the largest logit), in onnxruntime (dense and sparse file) and in PyTorch.
* A run of the demo (or `--run`, of a model on fashion-mini) has the same accuracy and loss there on all test images.
* States of torchvision's ResNets come in with `bidst import`, give the same logits, and go back as they were.
"""
import argparse
import gzip
import json
import os
import re
import subprocess
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
import torchvision
from safetensors.torch import load_file, save_file

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
NETWORKS = {
    "small-cnn": 0.25, "mlp": 0.25, "resnet20": 0.5, "resnet32": 0.5, "resnet56": 0.25, "vgg19": 0.125,
    "mobilenet-v2": 0.25, "resnet34": 0.125, "resnet50": 0.125,
}  # fmt: skip
IMAGES = 256
TOLERANCE = 1e-4


def recipe(title, number, **names):
    """Runs a Python block below the heading `title` of the guide with some names set; returns all its names."""
    with open(os.path.join(ROOT, "docs", "export.md"), encoding="utf-8") as file:
        sections = re.split(r"^#+ ", file.read(), flags=re.M)
    section = next(section for section in sections if section.startswith(title + "\n"))
    block = re.findall(r"```python\n(.*?)```", section, flags=re.S)[number]
    exec(compile(block, f"docs/export.md: {title}", "exec"), names)
    return names


def bidst(*arguments):
    """Runs bidst and returns what it prints."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def export(model):
    """Writes the files that the recipes read."""
    bidst("export", model, "--format", "onnx", "--out", "model.onnx")
    bidst("export", model, "--format", "onnx", "--layout", "sparse", "--out", "model.sparse.onnx")
    bidst("export", model, "--format", "safetensors", "--out", "model.dense.safetensors")
    bidst("export", model, "--format", "npz", "--layout", "sparse", "--out", "model.npz")
    bidst("export", model, "--format", "npz", "--layout", "dense", "--out", "model.dense.npz")
    onnx.checker.check_model("model.onnx", full_check=True)
    onnx.checker.check_model("model.sparse.onnx")  # the full check infers shapes, which it cannot with sparse tensors


def check_arrays():
    """Dense and sparse arrays are the same weights, and those of the safetensors file."""
    weights, state = recipe("NumPy", 0)["weights"], load_file("model.dense.safetensors")
    with np.load("model.dense.npz") as dense:
        assert set(dense.files) == set(weights) | {"about"} and set(weights) == set(state)
        assert all(np.array_equal(dense[name], weights[name]) for name in weights)
    assert all(np.array_equal(state[name].numpy(), weights[name]) for name in weights)


def answers(pixels):
    """Logits by runtime, from the exported files; and the module that gave those of PyTorch."""
    theirs = recipe("onnxruntime", 0, pixels=pixels)
    session = onnxruntime.InferenceSession("model.sparse.onnx")
    ours = recipe("PyTorch", 0, pixels=pixels)
    found = {
        "onnxruntime": theirs["logits"],
        "onnxruntime, sparse file": session.run(["logits"], {"images": theirs["images"]})[0],
        "PyTorch": ours["logits"],
    }
    return found, ours


def compare(title, found, expected):
    differences = {name: float(np.abs(logits - expected).max()) for name, logits in found.items()}
    largest = np.abs(expected).max()
    shown = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
    print(f"{title}, logits up to {largest:.2g}: {shown}", flush=True)
    assert max(differences.values()) < TOLERANCE * min(1, largest), "the answers differ"


def random_cifar():
    """CIFAR-10 files with random pixels in the current folder; returns those of the test images."""
    generator = np.random.default_rng(0)
    for name in [*(f"data_batch_{part}.bin" for part in range(1, 6)), "test_batch.bin"]:
        labels = generator.integers(0, 10, (IMAGES, 1), np.uint8)
        pixels = generator.integers(0, 256, (IMAGES, 3072), np.uint8)
        np.concatenate([labels, pixels], 1).tofile(name)
    return pixels.reshape(IMAGES, 3, 32, 32)


def check_zoo():
    pixels = random_cifar()
    for name, width in NETWORKS.items():
        settings = ["--width", width, "--sparsity", 0.8, "--epochs", 2, "--lr", 0.02, "--progress", "none"]
        bidst("train", "--model", name, *settings, "--dataset", "cifar10", "--data-dir", ".", "--output", name)
        run = os.path.join(name, os.listdir(name)[0])
        bidst("eval", run, "--no-latency", "--logits", "logits.npy")
        export(run)
        check_arrays()
        compare(f"{name} x{width}, {IMAGES} images", answers(pixels)[0], np.load("logits.npy"))


def fashion_mini():
    """Pixels and labels of the built-in test images."""
    folder = os.path.join(ROOT, "crates", "data", "assets", "fashion-mini")
    read = lambda name, skip: np.frombuffer(gzip.open(os.path.join(folder, name)).read(), np.uint8, offset=skip)
    images, labels = read("t10k-images-idx3-ubyte.gz", 16), read("t10k-labels-idx1-ubyte.gz", 8)
    return images.reshape(-1, 1, 28, 28).copy(), labels


def check_accuracy(run):
    """The demo's network has the accuracy that bidst measures, and its class by hand gives the same logits."""
    if not run:
        bidst("--output", "demo", "--progress", "none")
        run = os.path.join("demo", os.listdir("demo")[0])
    evaluation = json.loads(bidst("eval", run, "--json", "--no-latency", "--logits", "logits.npy"))
    export(run)
    check_arrays()
    pixels, labels = fashion_mini()
    found, names = answers(pixels)
    if names["about"]["model"] == "small-cnn" and names["about"]["width"] == 1:
        names["net"] = recipe("PyTorch", 2, **names)["net"].eval()
        with torch.no_grad():
            images = (torch.tensor(pixels) / 255 - names["mean"]) / names["std"]
            found["PyTorch, class by hand"] = names["net"](images).numpy()
    compare(f"{run}, {len(pixels)} test images", found, np.load("logits.npy"))
    for name, logits in found.items():
        right = int((logits.argmax(1) == labels).sum())
        loss = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels).long()).item()
        print(f"  {name}: {right} of {len(labels)} right, loss {loss:.6f}")
        assert right == round(evaluation["accuracy"] * len(labels)) and abs(loss - evaluation["loss"]) < 1e-4
    print(f"  bidst: accuracy {evaluation['accuracy']}, loss {evaluation['loss']:.6f}")


def check_torchvision():
    """A state comes in, goes out as ONNX, and goes back. The statistics of batch norm are those of random images."""
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (8, 3, 224, 224), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = (pixels / 255 - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)
    for name in ["resnet34", "resnet50"]:
        net = torchvision.models.get_model(name, weights=None)
        for _ in range(5):
            net(images)
        save_file(net.state_dict(), f"{name}.safetensors")
        how = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
        bidst("import", f"{name}.safetensors", "--model", name, *how, "--out", "imported.safetensors")
        export("imported.safetensors")
        found, names = answers(pixels.numpy())
        with torch.no_grad():
            compare(f"torchvision's {name}", found, net.eval()(images).numpy())
        back = recipe("PyTorch", 1, **names)["net"].state_dict()
        state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
        assert all(torch.equal(back[key], value) for key, value in state.items())
        print(f"  {len(state)} tensors came back as they were")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bidst", default=os.path.join(ROOT, "target", "release", "bidst"), help="the program")
    parser.add_argument("--run", help="a run folder of a model on fashion-mini, instead of a new run of the demo")
    arguments = parser.parse_args()
    PROGRAM = os.path.abspath(arguments.bidst)
    RUN = arguments.run and os.path.abspath(arguments.run)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        check_zoo()
        check_accuracy(RUN)
        check_torchvision()
