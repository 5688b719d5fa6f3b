"""Single layers: bidst beside PyTorch dense, PyTorch's sparse CSR matrices (MKL) and SparseProp's kernels.

Part of `compare_step.py --rows layers`. Times are the fastest of all repetitions in all rounds, on the wall.
"""
import os
import sys

from report import circumstances, progress, run, table

HERE = os.path.dirname(os.path.abspath(__file__))

# Layers of ResNet-32 at width 2, VGG-19 (two sizes), 1x1 layers of MobileNet-v2 and ResNet-50, and a linear one.
SHAPES = [
    "32x32x3x3@32",
    "64x64x3x3@16",
    "128x128x3x3@8",
    "64x32x3x3@32/2",
    "128x64x3x3@16/2",
    "512x512x3x3@4",
    "512x512x3x3@2",
    "32x192x1x1@16",
    "192x32x1x1@16",
    "64x256x1x1@56",
    "1024x1024",
]
# Images in a batch; fewer where they are large.
BATCH, SMALL_BATCH, LARGE_SIDE = 128, 16, 56
# Densities of the tables, and those at which the crossover with dense is looked for.
DENSITIES = [0.2, 0.1, 0.05, 0.02]
CROSSOVER = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
PASSES = ["forward", "backward"]


class Layer:
    """The fastest milliseconds of each side, by pass (and density)."""

    def __init__(self, shape):
        self.shape, self.ours, self.peer, self.sparseprop, self.gflops = shape, {}, {}, {}, {}

    def batch(self):
        side = int(self.shape.split("@")[1].split("/")[0]) if "@" in self.shape else 1
        return SMALL_BATCH if side >= LARGE_SIDE else BATCH

    def is_linear(self):
        return "@" not in self.shape

    def measure_ours(self, args):
        # One density at a time, as the others: networks that take turns would drive each other out of the caches.
        for density in sorted({*DENSITIES, *CROSSOVER}):
            work = ["--shape", self.shape, "--sparsity", f"{1 - density:.4g}", "--batch-size", str(self.batch())]
            measure = ["--threads", str(len(args.cores)), "--rounds", str(args.steps), "--json"]
            [row] = run([args.bidst, "bench", "conv", *work, *measure], args.cores)["rows"]
            for name in PASSES:
                keep(self.ours, (density, name), row[name]["min_ms"])
                self.gflops[density, name] = max(self.gflops.get((density, name), 0), row[name]["gflops"])

    def measure_peer(self, args):
        densities = [str(density) for density in DENSITIES]
        work = ["--shape", self.shape, "--batch-size", str(self.batch()), "--densities", *densities]
        measure = ["--threads", str(len(args.cores)), "--repetitions", str(args.steps)]
        result = run([sys.executable, os.path.join(HERE, "peer", "layer.py"), *work, *measure], args.cores)
        for name, samples in result["times"].items():
            keep(self.peer, name, min(samples))
        return result["version"]

    def measure_sparseprop(self, args, folder):
        densities = [str(density) for density in DENSITIES]
        work = ["--folder", folder, "--shape", self.shape, "--batch-size", str(self.batch()), "--densities", *densities]
        script = os.path.join(HERE, "peer", "sparseprop_kernels.py")
        try:
            result = run([sys.executable, script, *work, "--repetitions", str(max(2, args.steps // 2))], args.cores)
        except RuntimeError as error:
            progress(f"SparseProp, {self.shape}: {error}")
            return
        for name, samples in result["times"].items():
            density, pass_, _ = name.split(" ", 2)
            keep(self.sparseprop, (float(density), pass_), min(samples))

    def dense(self, pass_):
        """PyTorch's fastest, in its better layout."""
        return min(time for name, time in self.peer.items() if name.endswith(pass_) and not name.startswith("csr"))

    def crossover(self, pass_):
        """The density at which our time equals PyTorch's dense one, linear between the measured densities."""
        target, points = self.dense(pass_), [(density, self.ours[density, pass_]) for density in CROSSOVER]
        if points[0][1] >= target:
            return f"< {points[0][0]:g}"
        for (low, before), (high, after) in zip(points, points[1:]):
            if after >= target:
                return f"{low + (high - low) * (target - before) / (after - before):.2f}"
        return f"> {points[-1][0]:g}"


def keep(best, key, time):
    best[key] = min(time, best.get(key, time))


def build_sparseprop(args, folder):
    """Why SparseProp is left out, or nothing if it is ready."""
    if args.no_sparseprop:
        return "SparseProp was left out."
    if any(name.startswith("backend.") for name in os.listdir(folder)):
        return ""
    progress("building SparseProp")
    try:
        run([sys.executable, os.path.join(HERE, "peer", "sparseprop_kernels.py"), "--build", folder], args.cores)
        return ""
    except RuntimeError as error:
        return f"SparseProp was left out, because it could not be built: {error}"


def ratio(other, ours):
    return f"{other / ours:.1f}" if other else "-"


def rows_of(layer):
    for density in DENSITIES:
        cells = [layer.shape, f"{density:g}"]
        for pass_ in PASSES:
            ours = layer.ours[density, pass_]
            cells += [f"{ours:.2f}", f"{layer.gflops[density, pass_]:.0f}", ratio(layer.dense(pass_), ours)]
            cells += [ratio(layer.sparseprop.get((density, pass_)), ours)]
        yield cells


def dense_row(layer):
    layouts = ["dense"] if layer.is_linear() else ["channels_last", "NCHW"]
    cells = [layer.shape]
    for pass_ in PASSES:
        cells.append(" / ".join(f"{layer.peer[f'{layout} {pass_}']:.2f}" for layout in layouts))
    return [*cells, *(layer.crossover(pass_) for pass_ in PASSES)]


def csr_rows(layer):
    for density in DENSITIES:
        cells = [layer.shape, f"{density:g}"]
        for pass_ in PASSES:
            sparseprop = layer.sparseprop.get((density, pass_))
            times = [layer.ours[density, pass_], layer.peer[f"csr {density} {pass_}"], sparseprop]
            cells += [f"{time:.2f}" if time else "-" for time in times]
        yield cells


def report(args, folder):
    """The report on `args.shapes`; SparseProp is compiled in `folder` unless it is there already."""
    os.makedirs(folder, exist_ok=True)
    left_out = build_sparseprop(args, folder)
    layers, version = [Layer(shape) for shape in args.shapes], ""
    for round_ in range(args.rounds):
        for layer in layers:
            progress(f"round {round_ + 1} of {args.rounds}: {layer.shape}")
            version = layer.measure_peer(args)
            layer.measure_ours(args)
            if not left_out:
                layer.measure_sparseprop(args, folder)
    notes = [
        f"The fastest of {args.rounds} rounds in turn, {args.steps} repetitions each, in milliseconds on the wall. Backward "
        "is the gradient of the input and of the weights. GF/s count non-zeros only. ×: how many times as long PyTorch "
        "(dense, its better layout) and SparseProp's bare kernels (the better variant) take.",
        "A shape is out×in×kernel@side/stride; the batch is "
        f"{BATCH}, or {SMALL_BATCH} where the side is {LARGE_SIDE} or more.",
        left_out,
    ]
    head = ["layer", "density"]
    for name in ("fwd", "bwd"):
        head += [f"{name} ms", "GF/s", "× PyTorch", "× SparseProp"]
    parts = [
        f"# Layers of bidst, PyTorch and SparseProp, {len(args.cores)} thread(s)\n",
        circumstances(args.bidst, args.cores, version, [note for note in notes if note]),
        table(head, [row for layer in layers for row in rows_of(layer)]),
        "PyTorch dense (`channels_last` / NCHW), and the density from which on it is faster than bidst:\n",
        table(["layer", "fwd ms", "bwd ms", "crossover fwd", "crossover bwd"], [dense_row(layer) for layer in layers]),
    ]
    linear = [row for layer in layers if layer.is_linear() for row in csr_rows(layer)]
    if linear:
        sides = ["bidst", "PyTorch CSR (MKL)", "SparseProp"]
        head = ["linear layer", "density", *(f"{side} {name} ms" for name in ("fwd", "bwd") for side in sides)]
        parts += ["Linear layers, sparse everywhere:\n", table(head, linear)]
    return "\n".join(parts)
