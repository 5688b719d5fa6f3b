"""What the comparisons share: running a command on given cores, naming the machine, writing Markdown."""
import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys

# What a careful user of PyTorch sets: let the C library keep freed memory.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}


def run(command, cores):
    """Runs `command` on these cores, one thread each, and returns the JSON object of its last line."""
    threads = str(len(cores))
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    pin = (lambda: os.sched_setaffinity(0, cores)) if hasattr(os, "sched_setaffinity") else None
    result = subprocess.run(command, env=environment, preexec_fn=pin, capture_output=True, text=True, check=False)
    if result.returncode:
        ended = f"{os.path.basename(command[0])} ended with {result.returncode}"
        raise RuntimeError(last_error(result.stderr) or ended)
    return json.loads(result.stdout.strip().splitlines()[-1])


def last_error(text):
    """The last line that names an error, or the last line of all."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b\w*[Ee]rror\b", line)]
    return (errors or lines or [""])[-1]


def progress(text):
    print(text, file=sys.stderr, flush=True)


def table(head, rows):
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def circumstances(bidst, cores, torch_version, notes=()):
    """Date, machine, versions and command, for the head of a report."""
    version = output([bidst, "--version"])
    commit = output(["git", "rev-parse", "--short", "HEAD"])
    parts = [
        str(datetime.date.today()),
        f"{cpu_name()}, {len(cores)} of {os.cpu_count()} cores",
        f"{platform.system()} {platform.release()}",
        f"{version} {commit}".strip(),
        f"PyTorch {torch_version}",
        f"Python {platform.python_version()}",
    ]
    lines = [" · ".join(parts), "", f"    {command()}", "", *(f"{note}\n" for note in notes)]
    return "\n".join(lines)


def command():
    """This command without the paths that belong to one machine."""
    kept, arguments = [], iter(sys.argv[1:])
    for argument in arguments:
        if argument.split("=")[0] in ("--bidst", "--out", "--sparseprop"):
            if "=" not in argument:
                next(arguments, None)
            continue
        kept.append(argument)
    return shlex.join(["python3", "bench/" + os.path.basename(sys.argv[0]), *kept])


def output(arguments):
    try:
        return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    except OSError:
        return platform.processor() or "unknown CPU"
