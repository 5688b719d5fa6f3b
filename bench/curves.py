#!/usr/bin/env python3
"""Prints the accuracy and loss of finished runs, epoch by epoch, as a Markdown table.

    python3 bench/curves.py runs/RUN_A runs/RUN_B > bench/results/NAME.md
"""
import json
import pathlib
import sys
import tomllib


def load(run):
    run = pathlib.Path(run)
    config = tomllib.loads((run / "config.toml").read_text())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return config, [line for line in lines if line["kind"] == "epoch"]


def main(paths):
    runs = [load(path) for path in paths]
    names = [config["algorithm"]["name"] for config, _ in runs]
    print("| epoch | " + " | ".join(f"{name}: train loss | train % | test % | swaps" for name in names) + " |")
    print("|---" * (1 + 4 * len(runs)) + "|")
    for epoch in range(max(len(epochs) for _, epochs in runs)):
        cells = []
        for _, epochs in runs:
            if epoch >= len(epochs):
                cells.append("– | – | – | –")
                continue
            record = epochs[epoch]
            accuracies = f"{100 * record['train_accuracy']:.2f} | {100 * record['test_accuracy']:.2f}"
            cells.append(f"{record['train_loss']:.3f} | {accuracies} | {record['swaps']:,}")
        print(f"| {epoch + 1} | " + " | ".join(cells) + " |")
    print()
    for name, (_, epochs) in zip(names, runs):
        train = sum(record["timing"]["train_s"] for record in epochs) / 60
        test = sum(record["timing"]["test_s"] for record in epochs) / 60
        mask = sum(record["timing"]["topology_s"] for record in epochs)
        print(f"* {name}: {train:.1f} min of training ({mask:.1f} s of them scores and decisions), {test:.1f} min of", end=" ")
        print(f"testing; {epochs[-1]['itop']:.3f} of all positions were active at some time (ITOP).")


if __name__ == "__main__":
    main(sys.argv[1:])
