#!/usr/bin/env python3
"""Prints what finished comparisons say of each algorithm beside one of them, as a Markdown table for every sparsity.

    python3 bench/differences.py --base bidst studies/ablation [STUDY ...]

Runs of several folders with one grid are put together. `less` is the algorithm's mean accuracy less the base's in points, over the
seeds that both have, ± one standard error of that difference (none with a single seed). Variants at a sparsity of their own are
compared with every base. The grid may have other sparsities, algorithms and seeds, and no other list.
"""
import argparse
import collections
import json
import pathlib
import statistics
import sys
import tomllib


def load(folders):
    """Results by (sparsity, name), in the order of the grid, and the options of every name."""
    runs, options = collections.defaultdict(dict), {}
    for folder in map(pathlib.Path, folders):
        for algorithm in tomllib.loads((folder / "compare.toml").read_text())["grid"]["algorithm"]:
            if isinstance(algorithm, dict):
                options[algorithm["name"]] = algorithm
        for run in json.loads((folder / "table.json").read_text())["runs"]:
            if more := run["cell"].keys() - {"sparsity", "algorithm"}:
                sys.exit(f"{folder}: its runs also differ in {', '.join(sorted(more))}, which this table does not tell apart")
            if run["result"]:
                key = (run["cell"]["sparsity"], run["cell"]["algorithm"])
                runs[key][run["seed"]] = run["result"]
    return runs, options


def described(name, options):
    """The algorithm behind a name, and what differs from its defaults."""
    row = options.get(name, {})
    changed = {key: value for key, value in row.items() if key not in ("name", "algorithm", "options")}
    changed |= row.get("options", {})
    text = ", ".join(f"{key} = {json.dumps(value)}" for key, value in changed.items())
    return row.get("algorithm", name), f"`{text}`" if text else "defaults"


def mean_and_error(values):
    """Mean, sample standard deviation and standard error; the latter two are None for a single value."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return mean, None, None
    deviation = statistics.stdev(values)
    return mean, deviation, deviation / len(values) ** 0.5


def plus_minus(value, error, sign=""):
    return f"{value:{sign}.1f}" + ("" if error is None else f" ± {error:.1f}")


def accuracies(results, seeds):
    return [100 * results[seed]["last"]["test_accuracy"] for seed in seeds]


def difference(results, base):
    """Mean accuracy less the base's over the seeds that both have, and its standard error."""
    seeds = sorted(results.keys() & base.keys())
    if results is base or not seeds:
        return "–"
    ours, _, error = mean_and_error(accuracies(results, seeds))
    theirs, _, base_error = mean_and_error(accuracies(base, seeds))
    both = None if error is None else (error**2 + base_error**2) ** 0.5
    return plus_minus(ours - theirs, both, "+")


def row(name, results, base, options):
    last = [result["last"] for result in results.values()]
    accuracy, deviation, _ = mean_and_error(accuracies(results, results))
    totals = [record["run"] for record in last]
    mean = statistics.mean
    probes = mean(100 * total["flops"]["probes"] / total["static_flops"] for total in totals)
    cells = [
        *described(name, options),
        str(len(results)),
        plus_minus(accuracy, deviation),
        difference(results, base),
        f"{mean(100 * record['train_accuracy'] for record in last):.1f}",
        f"{mean(total['decisions'] for total in totals):.0f}",
        f"{mean(total['swaps'] for total in totals):,.0f}",
        f"{probes:.0f}%",
        f"{mean(record['inference_flops'] for record in last) / 1e6:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="bidst", help="the algorithm that the others are compared with")
    parser.add_argument("folders", nargs="+", metavar="STUDY")
    arguments = parser.parse_args()
    runs, options = load(arguments.folders)
    bases = {sparsity: results for (sparsity, name), results in runs.items() if name == arguments.base}
    if not bases:
        names = ", ".join(sorted({name for _, name in runs})) or "none is"
        sys.exit(f"--base {arguments.base}: no run of that name is finished; there are: {names}")
    for sparsity, base in bases.items():
        print(f"\nBeside {arguments.base} at a sparsity of {sparsity}:\n")
        print("| algorithm | options | seeds | test % | less | train % | decisions | swaps | probes | MFLOPs |")
        print("| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |")
        for (own, name), results in runs.items():
            if own == sparsity or own not in bases:
                print(row(name, results, base, options))


if __name__ == "__main__":
    main()
