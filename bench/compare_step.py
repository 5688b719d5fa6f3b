#!/usr/bin/env python3
"""Times a whole training step of bidst beside the same network dense in PyTorch, interleaved on one core.

One step = forward, cross-entropy, backward, SGD with momentum, on random data. Needs a Python with torch and a release
build of bidst. Rounds alternate between both sides, so that neighbours on a shared machine disturb both alike; the table
compares the medians of CPU time over all rounds and names the spread.

    cargo build --release
    python3 bench/compare_step.py --bidst target/release/bidst > bench/results/step.md
"""
import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time

MODES = {"fp32 channels_last": ["--channels-last"], "fp32 NCHW": [], "bf16 autocast": ["--channels-last", "--bf16"]}
SPARSITIES = ["0.9", "0.95", "0.98"]
# What a careful user of PyTorch sets: let the C library keep freed memory.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def resnet32(torch, width, classes=10):
    """He et al.'s ResNet-32 for CIFAR with projection shortcuts, as `bidst` builds it."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, i, o, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
            self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
            project = stride != 1 or i != o
            shortcut = [nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)] if project else []
            self.shortcut = nn.Sequential(*shortcut)

        def forward(self, x):
            y = nn.functional.relu(self.bn1(self.conv1(x)), inplace=True)
            return nn.functional.relu(self.bn2(self.conv2(y)).add_(self.shortcut(x)), inplace=True)

    widths = [round(channels * width) for channels in (16, 32, 64)]
    stem = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
    layers, i = [stem, nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)], widths[0]
    for stage, o in enumerate(widths):
        for block in range(5):
            layers.append(Block(i, o, 2 if stage and not block else 1))
            i = o
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(i, classes))


def peer(args):
    """Times PyTorch; prints one JSON object."""
    import resource

    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    model = resnet32(torch, args.width).train().to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    x = torch.randn(args.batch_size, 3, 32, 32).to(memory_format=layout)
    y = torch.randint(10, (args.batch_size,))
    times = []
    for _ in range(args.steps + 2):
        started = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            out = model(x)
        torch.nn.functional.cross_entropy(out.float(), y).backward()
        optimizer.step()
        times.append(1e3 * (time.process_time() - started))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"cpu_ms": times[2:], "peak_rss_mb": peak, "params": parameters, "version": torch.__version__}))


def run(command, core):
    command = ["taskset", "-c", str(core), *command]
    result = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.strip().splitlines()[-1])


def ours(args, sparsity):
    size = ["--model", "resnet32", "--width", str(args.width), "--batch-size", str(args.batch_size)]
    work = ["--sparsity", sparsity, "--distribution", "uniform", "--threads", "1", "--steps", str(args.steps)]
    return run([args.bidst, "bench", "step", *size, *work, "--json"], args.core)


def theirs(args, flags):
    size = ["--width", str(args.width), "--batch-size", str(args.batch_size), "--steps", str(args.steps)]
    return run([sys.executable, __file__, "--peer", *size, *flags], args.core)


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def main(args):
    dense = {name: [] for name in MODES}
    sparse = {sparsity: [] for sparsity in SPARSITIES}
    rss, version = {}, ""
    for _ in range(args.rounds):
        for name, flags in MODES.items():
            result = theirs(args, flags)
            dense[name].append(statistics.median(result["cpu_ms"]))
            rss[name], version = result["peak_rss_mb"], result["version"]
        for sparsity in SPARSITIES:
            result = ours(args, sparsity)
            sparse[sparsity].append(result["median_cpu_ms"])
            rss[sparsity] = result["peak_rss_mb"]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"# Training step, ResNet-32 width {args.width:g}, batch {args.batch_size}, one thread\n")
    print(f"{datetime.date.today()} · {cpu_name()}, one of {os.cpu_count()} cores · bidst {commit.stdout.strip()} · ", end="")
    print(f"PyTorch {version} · Python {platform.python_version()}\n")
    print(f"`python3 bench/compare_step.py --rounds {args.rounds} --steps {args.steps}`: medians of CPU time over")
    print(f"{args.rounds} interleaved rounds of {args.steps} steps, in brackets the fastest and the slowest round.\n")
    middle = {name: statistics.median(times) for name, times in {**dense, **sparse}.items()}
    print("| | ms | × " + " | × ".join(MODES) + " | peak RSS, MB |")
    print("|---" * (len(MODES) + 3) + "|")
    for name, times in {**dense, **sparse}.items():
        title = f"**bidst, {100 * float(name):g}% zeros**" if name in sparse else f"PyTorch dense, {name}"
        ratios = " | ".join(f"{middle[mode] / middle[name]:.2f}" for mode in MODES)
        print(f"| {title} | {middle[name]:.0f} ({min(times):.0f}–{max(times):.0f}) | {ratios} | {rss[name]:.0f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bidst", default="target/release/bidst", help="the binary")
    parser.add_argument("--width", type=float, default=2.0)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--core", type=int, default=0)
    for flag in ("--peer", "--channels-last", "--bf16"):
        parser.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    peer(arguments) if arguments.peer else main(arguments)
