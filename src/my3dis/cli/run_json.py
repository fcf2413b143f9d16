"""What run, report and compare print with ``--json``: one document, whatever becomes of the command."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.errors import EXIT_INTERRUPTED, My3DISError

if TYPE_CHECKING:
    from my3dis.pipeline import RunResult
    from my3dis.scheduling.jobs import SweepPlan

__all__ = ["JsonOutput"]


class JsonOutput:
    """Prints one document, or none where it is not wanted.

    Attributes:
        wanted: whether JSON was asked for.
    """

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted
        self._printed = False

    @contextlib.contextmanager
    def telling_errors(self) -> Iterator[None]:
        """Print an error as a document of its own, unless a result was printed already; it goes on."""
        try:
            yield
        except My3DISError as error:
            self._error(str(error), error.exit_code)
            raise
        except KeyboardInterrupt:
            self._error("stopped; the same command goes on from there", EXIT_INTERRUPTED)
            raise

    def print_run(self, result: RunResult, *, planned: bool) -> None:
        """Print one run, or what would be done about it."""
        stages = [asdict(stage) for stage in result.stages]
        if planned:
            self.print({"kind": "plan", "run_dir": str(result.run_dir), "stages": stages})
            return
        from my3dis.runs.overview import read_overview

        self.print(
            {
                "kind": "run",
                **read_overview(result.run_dir).as_json(),
                "report": str(result.report) if result.report else None,
                "did_nothing": result.did_nothing,
                "warnings": [asdict(warning) for warning in result.warnings],
            }
        )

    def print_plan(self, plan: SweepPlan, notes: Sequence[str]) -> None:
        """Print what a sweep would do."""
        jobs = [
            {
                "id": job.id,
                "scene": job.scene,
                "scan": str(job.scan),
                "stages": list(job.stages),
                "need": asdict(job.need),
                "expected_seconds": round(job.seconds, 1),
                "after": list(job.after),
                "why": job.why,
            }
            for job in plan.jobs
        ]
        self.print(
            {
                "kind": "plan",
                "output_root": str(plan.output_root),
                "scenes": list(plan.scenes),
                "jobs": jobs,
                "reused": [asdict(reused) for reused in plan.reused],
                "notes": list(notes),
            }
        )

    def print_sweep(self, output_root: Path) -> None:
        """Print what became of a sweep."""
        from my3dis.scheduling.sweep_report import as_json
        from my3dis.scheduling.sweep_state import read_state

        self.print(as_json(read_state(output_root)))

    def _error(self, message: str, exit_code: int) -> None:
        if self.wanted and not self._printed:
            self.print({"kind": "error", "message": message, "exit_code": exit_code})

    def print(self, content: Mapping[str, object]) -> None:
        """Print a document."""
        self._printed = True
        print(json.dumps(content, indent=2, ensure_ascii=False, default=str), flush=True)
