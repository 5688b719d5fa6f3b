#!/usr/bin/env python3
"""Times training steps of a dense network in PyTorch and prints one JSON object; `compare_step.py` starts it.

One step = forward, cross-entropy, backward, SGD with momentum and weight decay, on random data that is made beforehand.
"""
import argparse
import json
import resource
import time

import torch
from networks import NETWORKS, build


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=NETWORKS, default="resnet32")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--image", type=int, default=32, help="side of the images")
    parser.add_argument("--layout", choices=["channels_last", "NCHW"], default="channels_last")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--compile", action="store_true", help="torch.compile; needs a C++ compiler")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    return parser.parse_args()


def main(args):
    torch.set_num_threads(args.threads)
    layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
    model = build(args.model, args.width).to(memory_format=layout)
    run = torch.compile(model) if args.compile else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(args.batch_size, 3, args.image, args.image).to(memory_format=layout)
    labels = torch.randint(10, (args.batch_size,))
    cpu_ms, wall_ms = [], []
    for _ in range(args.warmup + args.steps):
        cpu, wall = time.process_time(), time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            logits = run(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        cpu_ms.append(1e3 * (time.process_time() - cpu))
        wall_ms.append(1e3 * (time.perf_counter() - wall))
    result = {
        "cpu_ms": cpu_ms[args.warmup :],
        "wall_ms": wall_ms[args.warmup :],
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "params": sum(p.numel() for p in model.parameters()),
        "version": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(parse())
