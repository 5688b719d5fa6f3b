#!/usr/bin/env python3
"""Compares bidst with PyTorch on the same work, in turn on the same cores, and writes a report in Markdown.

    cargo build --release
    python3 bench/compare_step.py --out bench/results/step.md                    whole training steps
    python3 bench/compare_step.py --rows layers --out bench/results/layers.md    single layers

Needs a Python with torch (and numpy for the layers) and a release build of bidst. `bench/README.md` says what is measured
and how to read it.
"""
import argparse
import itertools
import os
import statistics
import sys
import tempfile

import compare_layers
from report import circumstances, progress, run, table

HERE = os.path.dirname(os.path.abspath(__file__))

# Name of a row: model, width, batch size, side of the images.
MODELS = {
    "resnet32-w2": ("resnet32", 2.0, 128, 32),
    "vgg19": ("vgg19", 1.0, 128, 32),
    "mobilenet-v2": ("mobilenet-v2", 1.0, 128, 32),
    "resnet50": ("resnet50", 1.0, 16, 224),
}
LAYOUTS = {"fp32 channels_last": "channels_last", "fp32 NCHW": "NCHW"}


class Side:
    """Times and memory of one row of a table, over all rounds."""

    def __init__(self):
        self.rounds, self.peak_rss_mb = [], 0

    def add(self, milliseconds, peak_rss_mb):
        self.rounds.append(milliseconds)
        self.peak_rss_mb = max(self.peak_rss_mb, peak_rss_mb or 0)

    def middle(self):
        return statistics.median(self.rounds)


def ours(args, model, sparsity, activations):
    name, width, batch, _ = MODELS[model]
    work = ["--model", name, "--width", str(width), "--batch-size", str(batch), "--threads", str(len(args.cores))]
    pattern = ["--sparsity", str(sparsity), "--distribution", "uniform"] if sparsity else ["--algorithm", "dense"]
    storage = ["--set", f"engine.activations={activations}"]
    measure = ["--steps", str(args.steps), "--json"]
    result = run([args.bidst, "bench", "step", *work, *pattern, *storage, *measure], args.cores)
    time = result["median_cpu_ms"] if len(args.cores) == 1 else None
    return time or result["median_ms"], result


def theirs(args, model, flags):
    name, width, batch, image = MODELS[model]
    work = ["--model", name, "--width", str(width), "--batch-size", str(batch), "--image", str(image)]
    measure = ["--threads", str(len(args.cores)), "--steps", str(args.steps)]
    result = run([sys.executable, os.path.join(HERE, "peer", "step.py"), *work, *measure, *flags], args.cores)
    return statistics.median(result["cpu_ms" if len(args.cores) == 1 else "wall_ms"]), result


def modes(args, layout):
    """PyTorch's ways of running a step beyond plain fp32, with `layout` for torch.compile."""
    chosen = {"bf16 autocast": ["--bf16"]}
    if not args.no_compile:
        chosen["fp32 torch.compile"] = ["--compile", "--layout", layout]
    return chosen


def compare(args, model):
    """Rows of one model, `(title, side, is_ours)`, and notes."""
    dense, sparse, failed, params, version = {}, {}, {}, {}, ""
    for round_ in range(args.rounds):
        progress(f"{model}: round {round_ + 1} of {args.rounds}")
        best = "channels_last"
        for name, layout in LAYOUTS.items():
            time, result = theirs(args, model, ["--layout", layout])
            dense.setdefault(name, Side()).add(time, result["peak_rss_mb"])
            version, params["PyTorch"] = result["version"], result["params"]
        best = LAYOUTS[min(LAYOUTS, key=lambda name: dense[name].middle())]
        for name, flags in modes(args, best).items():
            if name in failed:
                continue
            try:
                time, result = theirs(args, model, flags)
                dense.setdefault(name, Side()).add(time, result["peak_rss_mb"])
            except RuntimeError as error:
                failed[name] = str(error)
                progress(failed[name])
        for row in itertools.product(args.activations, args.sparsities):
            activations, sparsity = row
            time, result = ours(args, model, sparsity, activations)
            sparse.setdefault(row, Side()).add(time, result["peak_rss_mb"])
            params["bidst"] = result["params"]
        if params["PyTorch"] != params["bidst"]:
            raise SystemExit(f"{model}: not the same network, {params} parameters")
    notes = [f"Left out: {name}, because {reason}" for name, reason in failed.items()]
    return dense, sparse, notes, params["bidst"], version


def section(args, model):
    name, width, batch, image = MODELS[model]
    dense, sparse, notes, params, version = compare(args, model)
    plain = min(LAYOUTS, key=lambda name: dense[name].middle())
    columns = [mode for mode in dense if mode == plain or mode not in LAYOUTS]
    rows = []
    for key, side in {**dense, **sparse}.items():
        title = f"PyTorch, dense, {key}"
        if key in sparse:
            activations, sparsity = key
            storage = "" if activations == "f32" else f", activations stored as {activations}"
            title = f"**bidst, {100 * sparsity:g}% zeros**{storage}" if sparsity else f"bidst, dense{storage}"
        spread = f"{side.middle():.1f} ({min(side.rounds):.1f}–{max(side.rounds):.1f})"
        ratios = [f"{dense[mode].middle() / side.middle():.2f}" for mode in columns]
        rows.append([title, spread, *ratios, f"{side.peak_rss_mb:.0f}"])
    head = ["", "ms a step", *(f"× {mode}" for mode in columns), "peak RSS, MB"]
    lines = [f"## {name}, width {width:g}, batch {batch}, images {image}×{image}, {params:,} parameters when dense\n"]
    return "\n".join([*lines, table(head, rows), *(f"{note}\n" for note in notes)]), version


def step_report(args):
    sections = [section(args, model) for model in args.models]
    clock = "processor time of the process" if len(args.cores) == 1 else "time on the wall"
    notes = [
        f"Medians of {clock} over {args.rounds} rounds in turn, each the median of {args.steps} steps; in brackets the "
        "fastest and the slowest round. Columns with × say how many times faster than that way of running PyTorch.",
        "A step is forward, cross-entropy, backward and SGD with momentum and weight decay, on random data with 10 "
        "classes. Sparsity is uniform over the layers that bidst sparsifies by default; the others are dense. Arithmetic of "
        "bidst is fp32 whatever activations are stored as.",
    ]
    head = f"# Training steps of bidst and PyTorch, {len(args.cores)} thread(s)\n"
    about = circumstances(args.bidst, args.cores, sections[0][1], notes)
    return "\n".join([head, about, *(text for text, _ in sections)])


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", choices=["step", "layers"], default="step", help="what is compared")
    parser.add_argument("--bidst", default="target/release/bidst", help="the binary")
    parser.add_argument("--out", help="file for the report; left out: standard output")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="steps or repetitions in a round")
    parser.add_argument("--cores", type=numbers(int), default=[0], help="cores to run on, one thread each")
    parser.add_argument("--models", type=numbers(str), default=list(MODELS), help="of " + ",".join(MODELS))
    parser.add_argument("--sparsities", type=numbers(float), default=[0.8, 0.9, 0.95, 0.98], help="0 is dense")
    parser.add_argument("--activations", type=numbers(str), default=["f32", "bf16"], help="what ours are stored as")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    shapes = compare_layers.SHAPES
    parser.add_argument("--shapes", type=numbers(str), default=shapes, help="layers, as `bidst bench conv` takes them")
    parser.add_argument("--sparseprop", metavar="FOLDER", help="where SparseProp is compiled; left out: a temporary one")
    parser.add_argument("--no-sparseprop", action="store_true", help="leave SparseProp out")
    args = parser.parse_args()
    unknown = [model for model in args.models if model not in MODELS]
    if unknown:
        parser.error(f"--models: there is no {', '.join(unknown)}, but {', '.join(MODELS)}")
    if args.rounds < 1 or args.steps < 1:
        parser.error("--rounds and --steps must be at least 1")
    if not os.path.isfile(args.bidst):
        parser.error(f"{args.bidst}: no such file; build it with `cargo build --release`, or name it with --bidst")
    return args


def numbers(kind):
    """Reads a list separated by commas."""
    return lambda text: [kind(part) for part in text.split(",")]


def main(args):
    if args.rows == "step":
        report = step_report(args)
    else:
        with tempfile.TemporaryDirectory() as folder:
            report = compare_layers.report(args, args.sparseprop or folder)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            file.write(report)
    else:
        print(report)


if __name__ == "__main__":
    main(parse())
