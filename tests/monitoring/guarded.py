"""Run eaters under the guard in a control group: ``python guarded.py GROUP MIB [MIB ...]``; prints JSON.

The process joins the group first, so that it and its jobs share the group's limit as a sweep's jobs do.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil

from my3dis.monitoring.guard import MemoryGuard, RunningJob
from my3dis.monitoring.host import read_host_memory

_EATER = Path(__file__).resolve().parents[1] / "scheduling" / "eater.py"
_MIB = 1 << 20


def main() -> None:
    """Start all eaters, look every 20 ms, obey the guard, and tell what became of each."""
    group, *sizes = sys.argv[1:]
    (Path(group) / "cgroup.procs").write_text(str(psutil.Process().pid))
    guard = MemoryGuard(read_host_memory)
    first = guard.host
    jobs: dict[str, tuple[float, subprocess.Popen[bytes]]] = {}
    for n, size in enumerate(sizes):
        command = [sys.executable, str(_EATER), size, "--seconds", "1.5", "--hold", "0.5"]
        jobs[f"job{n}"] = (time.monotonic(), subprocess.Popen(command))
    ends: dict[str, int] = {}
    stopped: dict[str, str] = {}
    evidence: dict[str, tuple[str, ...]] = {}
    while len(ends) < len(jobs):
        before = guard.host
        for name, (_, process) in jobs.items():
            code = process.poll()
            if code is not None and name not in ends:
                ends[name] = code
                exit_code, signal = (None, -code) if code < 0 else (code, None)
                evidence[name] = guard.explain(exit_code, signal, before, read_host_memory())
        running = [
            RunningJob(job_id=name, started=started, rss_mb=_rss_mb(process))
            for name, (started, process) in jobs.items()
            if name not in ends
        ]
        decision = guard.decide(running)
        if decision.stop is not None:
            stopped[decision.stop] = decision.reason
            jobs[decision.stop][1].terminate()
        time.sleep(0.02)
    last = read_host_memory()
    sys.stdout.write(
        json.dumps(
            {
                "source": first.source,
                "limit_mb": first.limit_mb,
                "group": first.group,
                "ends": ends,
                "stopped": stopped,
                "evidence": evidence,
                "kills": [first.oom_kills, last.oom_kills],
                "peak_mb": last.peak_mb,
                "missing": first.missing,
            }
        )
    )


def _rss_mb(process: subprocess.Popen[bytes]) -> float:
    try:
        return float(psutil.Process(process.pid).memory_info().rss / _MIB)
    except psutil.Error:
        return 0.0


if __name__ == "__main__":
    main()
