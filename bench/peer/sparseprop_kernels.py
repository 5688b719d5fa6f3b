#!/usr/bin/env python3
"""Times SparseProp's C++ kernels on one layer and prints one JSON object; `compare_step.py` starts it.

SparseProp (Nikdan et al., ICML 2023) is the package `sparseprop` on PyPI. Its bare kernels are timed: the conversion
between layouts and the zeroing of outputs, which its PyTorch modules add, are left out. Convolutions have a variant that
puts the batch innermost and one over the width of the output (forward for stride 1 only); both are timed.

    python3 bench/peer/sparseprop_kernels.py --build FOLDER     compiles the package; needs a C++ compiler and pip
    python3 bench/peer/sparseprop_kernels.py --folder FOLDER --shape 64x64x3x3@16 --densities 0.1 0.05
"""
import argparse
import importlib
import json
import subprocess
import sys

import numpy
from shapes import parse_shape, random_weight

PACKAGE = "sparseprop==0.1.14"


def build(folder):
    """Installs the package alone into `folder`; its own setup compiles with -O3 -march=native -ffast-math -fopenmp."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, PACKAGE]
    if subprocess.run(install, check=False, stdout=sys.stderr).returncode:
        raise SystemExit(f"error: pip could not get and compile {PACKAGE}; it needs a C++ compiler")


def conv_calls(backend, shape, batch, weight):
    """Forward and backward of each variant, as functions without arguments, with the arrays they write."""
    (kernel, width), padding = shape.kernel, shape.kernel[0] // 2
    if kernel != width or shape.stride not in (1, 2):
        raise SystemExit("square kernels with stride 1 or 2 only")
    nnz, outputs, inputs, side = int(numpy.count_nonzero(weight)), shape.outputs, shape.inputs, shape.side
    values = numpy.zeros(nnz, numpy.float32)
    index = [
        numpy.zeros(outputs + 1, numpy.int32),
        numpy.zeros((inputs + 1) * outputs, numpy.int16),
        numpy.zeros(nnz, numpy.uint8),
        numpy.zeros(nnz, numpy.uint8),
    ]
    backend.sparsify_conv2d(outputs, inputs, kernel, weight, *index, values)
    out = (side + 2 * padding - kernel) // shape.stride + 1
    x = random_array(batch, inputs, side, side)
    gradient = random_array(batch, outputs, out, out)
    inner = lambda array: numpy.ascontiguousarray(array.transpose(1, 2, 3, 0))  # noqa: E731
    stride = f"stride_{shape.stride}"

    def calls(x, gradient, forward, backward):
        y, dx, dw = numpy.zeros_like(gradient), numpy.zeros_like(x), numpy.zeros_like(values)
        run = {"backward": lambda: backward(x, *index, values, gradient, dx, dw, kernel, padding)}
        if forward is not None:
            run["forward"] = lambda: forward(x, *index, values, y, kernel, padding)
        return run, (x, y)

    kernels = lambda name: getattr(backend, f"sparse_conv2d_vectorized_{name}_{stride}", None)  # noqa: E731
    return {
        "batch innermost": calls(inner(x), inner(gradient), kernels("forward"), kernels("backward")),
        "over width": calls(x, gradient, kernels("forward_over_on"), kernels("backward_over_on")),
    }


def linear_calls(backend, shape, batch, weight):
    rows, columns = numpy.nonzero(weight)
    values = weight[rows, columns].astype(numpy.float32)
    starts = numpy.searchsorted(rows, numpy.arange(shape.outputs + 1)).astype(numpy.int32)
    columns = columns.astype(numpy.int32)
    x, gradient = random_array(shape.inputs, batch), random_array(shape.outputs, batch)
    y, dx, dw = numpy.zeros_like(gradient), numpy.zeros_like(x), numpy.zeros_like(values)
    run = {
        "forward": lambda: backend.sparse_linear_vectorized_forward(x, starts, columns, values, y),
        "backward": lambda: backend.sparse_linear_vectorized_backward(x, starts, columns, values, gradient, dx, dw),
    }
    return {"batch innermost": (run, (x, y))}


def random_array(*shape):
    return numpy.random.default_rng(1).standard_normal(shape, numpy.float32)


def check(shape, weight, variant, x, y):
    """That the forward pass has added to `y` what it should, at one image's top left pixel."""
    if shape.kernel is None:
        expected, found = weight @ x[:, 0], y[:, 0]
    else:
        image = x[..., 0] if variant == "batch innermost" else x[0]
        padding, kernel = shape.kernel[0] // 2, shape.kernel[0]
        window = numpy.pad(image, [(0, 0), (padding, padding), (padding, padding)])[:, :kernel, :kernel]
        expected = (weight * window).sum((1, 2, 3))
        found = y[:, 0, 0, 0] if variant == "batch innermost" else y[0, :, 0, 0]
    numpy.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def main(args):
    if args.build:
        build(args.build)
        print("{}")
        return
    sys.path.insert(0, args.folder)
    backend = importlib.import_module("backend")
    from layer import timed

    shape, times = parse_shape(args.shape), {}
    make = linear_calls if shape.kernel is None else conv_calls
    for density in args.densities:
        weight = random_weight(shape, density)
        for variant, (run, (x, y)) in make(backend, shape, args.batch_size, weight).items():
            if "forward" in run:
                run["forward"]()
                check(shape, weight, variant, x, y)
            for name, samples in timed(run, args.repetitions).items():
                times[f"{density} {name} {variant}"] = samples
    print(json.dumps({"version": PACKAGE, "times": times}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", metavar="FOLDER", help="compile the package into this folder and stop")
    parser.add_argument("--folder", help="where it has been compiled")
    parser.add_argument("--shape", default="64x64x3x3@16", help="as `bidst bench conv` takes it")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--densities", type=float, nargs="*", default=[0.1])
    parser.add_argument("--repetitions", type=int, default=3)
    main(parser.parse_args())
