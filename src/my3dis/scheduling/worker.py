"""The process that makes the stages of one job: ``python -m my3dis.scheduling.worker SPEC.json`` (or ``-``).

With ``-`` the specification is the first line of the standard input, and the end of the input means that the
driver is gone: the process and all that it started end at once, so that a killed driver leaves nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from my3dis.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, OUT_OF_MEMORY, My3DISError, ResourceError
from my3dis.pipeline import Attempt, RunResult, run_scan
from my3dis.scheduling.job_spec import JobSpec, spec_from_json

__all__ = ["main"]

_LOG = logging.getLogger(__name__)
_PROGRESS_EVERY_S = 0.25
_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the job and return the exit code that `my3dis run` would have."""
    (source,) = sys.argv[1:] if arguments is None else arguments
    _log_to_stderr()
    signal.signal(signal.SIGTERM, _stop)
    text = sys.stdin.readline() if source == "-" else Path(source).read_text("utf-8")
    if source == "-":
        threading.Thread(target=_end_with_input, name="my3dis-driver", daemon=True).start()
    spec = spec_from_json(text)
    if spec.driver is not None:
        _end_with(spec.driver)
    events = _Events(spec.events_fd)
    code, facts = EXIT_OK, dict[str, object]()
    try:
        facts = _facts_of(_run(spec, events))
    except My3DISError as error:
        sys.stderr.write(f"my3dis: error: {error}\n")
        code, facts = error.exit_code, {"error": str(error)}
    except KeyboardInterrupt:
        code, facts = EXIT_INTERRUPTED, {"error": "stopped"}
    except MemoryError:
        sys.stderr.write(f"my3dis: error: {OUT_OF_MEMORY}\n")
        code, facts = ResourceError.exit_code, {"error": OUT_OF_MEMORY}
    except Exception as error:  # noqa: BLE001 (the outermost edge; the traceback is in the log)
        traceback.print_exc()
        code, facts = EXIT_BUG, {"error": f"a bug of ours: {error!r}"}
    events.tell("end", code=code, **facts)
    sys.stderr.flush()
    return code


def _run(spec: JobSpec, events: _Events) -> RunResult:
    import cv2

    cv2.setNumThreads(spec.threads)
    events.tell("ready")
    return run_scan(
        spec.scan,
        None,
        spec.config,
        keep=spec.keep,
        profile_memory=spec.profile_memory,
        display=_EventDisplay(events),
        stages=spec.stages,
        attempt=Attempt(settings=spec.settings, since=spec.since, complete=spec.complete),
    )


def _facts_of(result: RunResult) -> dict[str, object]:
    return {
        "run_dir": str(result.run_dir),
        "stages": [asdict(stage) for stage in result.stages],
        "warnings": len(result.warnings),
    }


class _Events:
    """Writes events to a descriptor; a reader that has gone is not missed."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    def tell(self, event: str, **facts: object) -> None:
        """Write one event."""
        if self._descriptor is None:
            return
        data = (json.dumps({"event": event, **facts}, default=str) + "\n").encode()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except BrokenPipeError:
            self._descriptor = None


class _EventDisplay:
    """Shows a run to its driver."""

    def __init__(self, events: _Events) -> None:
        self._events = events

    def say(self, heading: str, text: str) -> None:
        """Write one line of the overview into the log."""
        _LOG.info("%-10s %s", heading, text)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Tell when a stage begins and ends, and a few times a second how far it is."""
        self._events.tell("stage", stage=name, state="started")
        last = float("-inf")

        def show(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _PROGRESS_EVERY_S or done >= total:
                last = now
                self._events.tell("progress", stage=name, done=done, total=total)

        begun = time.monotonic()
        yield show
        self._events.tell("stage", stage=name, state="ended", seconds=round(time.monotonic() - begun, 3))


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("my3dis")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _stop(number: int, frame: FrameType | None) -> None:
    """Stop as Ctrl-C does, once: what is being written away must not be cut short by asking again."""
    del number, frame
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _end_with(driver: int) -> None:
    """Let the kernel end this process with its driver, even while no Python of it runs (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != driver:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
