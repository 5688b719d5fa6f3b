#!/usr/bin/env python3
"""Times one convolution or linear layer in PyTorch and prints one JSON object; `compare_step.py` starts it.

Dense: forward, and backward for the gradients of input and weight, in both layouts of memory. Linear layers also as a
sparse CSR matrix (MKL): forward; backward as the transposed product and the gradient at the non-zeros.
"""
import argparse
import json
import time

import torch
from shapes import parse_shape, random_weight

aten = torch.ops.aten


def timed(passes, repetitions):
    """Milliseconds of each pass, the passes taking turns; the first round warms up."""
    times = {name: [] for name in passes}
    for round_ in range(repetitions + 1):
        for name, run in passes.items():
            started = time.perf_counter()
            run()
            if round_:
                times[name].append(1e3 * (time.perf_counter() - started))
    return times


def conv_passes(shape, batch):
    passes, padding = {}, [side // 2 for side in shape.kernel]
    channels = shape.inputs * shape.groups
    for name, layout in (("channels_last", torch.channels_last), ("NCHW", torch.contiguous_format)):
        x = torch.randn(batch, channels, shape.side, shape.side).to(memory_format=layout)
        w = torch.randn(shape.outputs, shape.inputs, *shape.kernel).to(memory_format=layout)
        stride = [shape.stride] * 2
        y = torch.conv2d(x, w, None, stride, padding, groups=shape.groups)
        g = torch.randn_like(y)

        def forward(x=x, w=w):
            return torch.conv2d(x, w, None, stride, padding, groups=shape.groups)

        def backward(x=x, w=w, g=g):
            mask = [True, True, False]
            return aten.convolution_backward(g, x, w, None, stride, padding, [1, 1], False, [0, 0], shape.groups, mask)

        passes[f"{name} forward"], passes[f"{name} backward"] = forward, backward
    return passes


def linear_passes(shape, batch, densities):
    x, w = torch.randn(batch, shape.inputs), torch.randn(shape.outputs, shape.inputs)
    g = torch.randn(batch, shape.outputs)
    passes = {"dense forward": lambda: x @ w.t(), "dense backward": lambda: (g @ w, g.t() @ x)}
    # Batch innermost, as the sparse product wants it.
    xt, gt = x.t().contiguous(), g.t().contiguous()
    for density in densities:
        dense = torch.from_numpy(random_weight(shape, density))
        csr, transposed = dense.to_sparse_csr(), dense.t().contiguous().to_sparse_csr()
        torch.testing.assert_close(csr @ xt, dense @ xt, rtol=1e-3, atol=1e-3)

        def backward(csr=csr, transposed=transposed):
            return transposed @ gt, torch.sparse.sampled_addmm(csr, gt, x, beta=0.0)

        passes[f"csr {density} forward"] = lambda csr=csr: csr @ xt
        passes[f"csr {density} backward"] = backward
    return passes


def main(args):
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    shape = parse_shape(args.shape)
    with torch.no_grad():
        conv = shape.kernel is not None
        passes = conv_passes(shape, args.batch_size) if conv else linear_passes(shape, args.batch_size, args.densities)
        print(json.dumps({"version": torch.__version__, "times": timed(passes, args.repetitions)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", required=True, help="as `bidst bench conv` takes it")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--densities", type=float, nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=5)
    main(parser.parse_args())
