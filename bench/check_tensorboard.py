#!/usr/bin/env python3
"""Compares the TensorBoard event files of runs with their metrics.jsonl, as the tensorboard package reads them.

    python3 bench/check_tensorboard.py RUN ...

Needs `pip install tensorboard`. Exits with 1 if a point is missing, comes twice, or differs.
"""

import json
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def as_float(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def check(run):
    events = EventAccumulator(str(run / "tb"), size_guidance={"scalars": 0})
    events.Reload()
    wrong, points = [], {}
    for tag in events.Tags()["scalars"]:
        for point in events.Scalars(tag):
            if (tag, point.step) in points:
                wrong.append(f"{tag} at {point.step} comes twice")
            points[tag, point.step] = point.value
    expected = 0
    for line in open(run / "metrics.jsonl", encoding="utf-8"):
        record = json.loads(line)
        if record["kind"] not in ("step", "epoch"):
            continue
        step = record["step"] if record["kind"] == "step" else record["steps"] - 1
        names = ("loss", "accuracy", "learning_rate") if record["kind"] == "step" else (
            "train_loss", "train_accuracy", "test_loss", "test_accuracy")
        for name in names:
            expected += 1
            found = points.get((f"{record['kind']}/{name}", step))
            if found != as_float(record[name]):
                wrong.append(f"{record['kind']}/{name} at {step}: {found} instead of {record[name]}")
    for problem in wrong[:20]:
        print(f"{run}: {problem}")
    print(f"{run}: {len(events.Tags()['scalars'])} tags, {len(points)} points, {expected} compared, {len(wrong)} wrong")
    return not wrong and expected > 0


if __name__ == "__main__":
    runs = [pathlib.Path(argument) for argument in sys.argv[1:]]
    if not runs:
        sys.exit(__doc__)
    sys.exit(0 if all([check(run) for run in runs]) else 1)
