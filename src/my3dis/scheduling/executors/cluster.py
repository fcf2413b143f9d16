"""What a cluster does for a sweep: it takes attempts, and says which of them are over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from my3dis.scheduling.jobs import Job, Need

__all__ = ["Cluster", "Gone", "Work"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An attempt to hand to a cluster.

    Attributes:
        key: of the attempt.
        job: that is attempted.
        need: what it occupies.
        alone: nothing may run beside it on its machine.
        order: an `Order` as JSON, for `carry_out` there.
        timeouts: how often the cluster ended the job because its time was up.
    """

    key: str
    job: Job
    need: Need
    alone: bool
    order: str
    timeouts: int = 0


@dataclass(frozen=True, slots=True)
class Gone:
    """An attempt that is over, as the cluster says.

    Attributes:
        kind: ``ended`` (its own word tells how), ``lost`` (its machine, or its place there), ``memory`` (the
            cluster ended it for that), ``time`` (its time was up), ``cancelled``, ``problem`` (its machine
            cannot make it) or ``failed`` (none can).
        text: a sentence.
    """

    kind: Literal["ended", "lost", "memory", "time", "cancelled", "problem", "failed"]
    text: str = ""


class Cluster(Protocol):
    """Somewhere to run attempts.

    Attributes:
        name: as in ``experiment.executor``.
        pace_s: seconds between two looks.
        settle_s: how long an attempt's last words may take over shared storage once it is over.
        gather_s: how long jobs are gathered before they are handed over together.
        ahead: how many jobs with a GPU, and without, may wait there; None = any number.
        capacity_mb: most host memory of a machine, None when unknown.
        keeps_files: what it writes into the sweep's folder helps to understand a failure.
    """

    name: str
    pace_s: float
    settle_s: float
    gather_s: float
    ahead: int | None
    capacity_mb: float | None
    keeps_files: bool

    def never(self, need: Need) -> str | None:
        """Return why a need can never be met, or None."""
        ...

    def submit(self, works: Sequence[Work]) -> None:
        """Take attempts.

        Raises:
            ResourceError: if the cluster refuses them.
        """
        ...

    def gone(self) -> Sequence[tuple[str, Gone]]:
        """Return the attempts that are over, each once."""
        ...

    def cancel(self, keys: Sequence[str], *, at_once: bool) -> None:
        """Take back attempts that have not begun, or end them whatever they do."""
        ...

    def close(self) -> None:
        """Leave nothing behind on this machine; called once everything is over or was cancelled."""
        ...

    def clear(self, folder: Path) -> None:
        """Take back what an earlier driver left in the queue; ``folder`` is that of its sweep."""
        ...
