#!/usr/bin/env python3
"""Runs the snippets of docs/logs.md on a finished run, and compares what W&B and MLflow then hold with metrics.jsonl.

    python3 bench/check_logs.py RUN

Needs `pip install pandas wandb mlflow`. Nothing leaves the machine: W&B works offline, MLflow in a database in a temporary folder.
Exits with 1 if a snippet fails, or if a number is missing or differs.
"""

import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def snippet(title):
    """The Python block below the heading `title` of the page."""
    sections = re.split(r"^## ", (ROOT / "docs" / "logs.md").read_text(encoding="utf-8"), flags=re.M)
    section = next(section for section in sections if section.startswith(title + "\n"))
    return re.search(r"```python\n(.*?)```", section, flags=re.S).group(1)


def run_snippet(title, run, folder):
    """What the snippet prints, run in `folder` as a program with the run folder as its argument."""
    environment = {**os.environ, "WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": store(folder)}
    command = [sys.executable, "-c", snippet(title), str(run)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{title}: {done.stderr}"
    return done.stdout


def store(folder):
    return f"sqlite:///{folder}/mlflow.db"


def expected(run):
    """(name, step) -> value of every number of metrics.jsonl that is no part of a list or an object."""
    points = {}
    for record in map(json.loads, open(run / "metrics.jsonl", encoding="utf-8")):
        kind, step = record.pop("kind"), record.get("step", record.get("steps", 1) - 1)
        points.update({(f"{kind}/{key}", step): value for key, value in record.items() if isinstance(value, float)})
    return points


def in_mlflow(folder):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store(folder))
    (found,) = client.search_runs(["0"])
    histories = {name: client.get_metric_history(found.info.run_id, name) for name in found.data.metrics}
    files = [file.path for file in client.list_artifacts(found.info.run_id)]
    assert files == ["report.html"], files
    assert found.data.params["run.seed"].isdigit(), found.data.params
    return {(name, point.step): point.value for name, history in histories.items() for point in history}


def wandb_records(data):
    """Records of an offline run: a header of 7 bytes, then LevelDB's log format."""
    block, header, at, whole = 32768, 7, 7, b""
    assert data[:4] == b":W&B", data[:4]
    while at + header <= len(data):
        left = block - at % block
        if left < header:  # zeros fill the block up
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + header : at + header + length]
        at += header + length
        if kind in (1, 4):  # the whole of a record, or its last part
            yield whole
            whole = b""


def in_wandb(folder):
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = pathlib.Path(folder).glob("wandb/offline-run-*/*.wandb")
    points = {}
    for data in wandb_records(file.read_bytes()):
        record = Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            points.update({(name, items["_step"]): value for name, value in items.items()})
    return points


def compare(title, found, points):
    wrong = [key for key, value in points.items() if found.get(key) != value]
    for key in wrong[:20]:
        print(f"{title}: {key} is {found.get(key)} instead of {points[key]}")
    print(f"{title}: {len(points)} numbers compared, {len(wrong)} wrong")
    return not wrong


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run = pathlib.Path(sys.argv[1]).resolve()
    points = expected(run)
    assert points, "the run recorded nothing"
    with tempfile.TemporaryDirectory() as folder:
        print(run_snippet("pandas", run, folder).rstrip())
        run_snippet("MLflow", run, folder)
        run_snippet("Weights & Biases", run, folder)
        right = [compare("MLflow", in_mlflow(folder), points), compare("W&B", in_wandb(folder), points)]
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
