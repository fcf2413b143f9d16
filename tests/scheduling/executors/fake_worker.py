"""A stand-in for the process of a job: it does at once what ``do.json`` in its scan says, by first stage.

``{"candidates": {"sleep_s": 0.1, "times": 1, "signal": 9 | "exit": 3}}``: in the first ``times`` starts it
ends like that. A folder with a ``sitecustomize.py`` on ``PYTHONPATH`` puts it in the place of the worker, so
that a test of executors costs no import of the pipeline. It needs nothing but Python.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    spec = json.loads(sys.stdin.readline())
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != spec["driver"]:
        os._exit(137)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(130))
    scan, first = Path(spec["scan"]), spec["stages"][0]
    starts = [line for line in told(scan) if (line["stage"], line["what"]) == (first, "begin")]
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    say(scan, what="begin", stage=first, gpus=seen, threads=os.environ["OMP_NUM_THREADS"])
    os.write(spec["events_fd"], b'{"event": "ready"}\n')
    todo = json.loads((scan / "do.json").read_text()).get(first, {})
    time.sleep(todo.get("sleep_s", 0.0))
    if len(starts) < todo.get("times", 0):
        if "signal" in todo:
            os.kill(os.getpid(), todo["signal"])
        end = {"event": "end", "code": todo["exit"], "error": "this scan cannot be used"}
        os.write(spec["events_fd"], (json.dumps(end) + "\n").encode())
        os._exit(todo["exit"])
    experiment = spec["config"]["experiment"]
    results = Path(experiment["output_root"]) / scan.name / experiment["name"]
    before = sorted(path.stem for path in results.glob("*.result"))
    (results / f"{first}.result").write_text(json.dumps({"stages": spec["stages"], "before": before}))
    say(scan, what="end", stage=first)
    os._exit(0)


def told(scan: Path) -> list[dict[str, object]]:
    path = scan / "told.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def say(scan: Path, **facts: object) -> None:
    with (scan / "told.jsonl").open("a") as handle:
        handle.write(json.dumps({"pid": os.getpid(), "time": time.time(), **facts}) + "\n")


if __name__ == "__main__":
    main()
