"""What the process of a job is to do, as it is handed over: light."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from my3dis.config import Config
from my3dis.config.load import load_config

__all__ = ["JobSpec", "spec_from_json", "spec_to_json", "thread_variables"]

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a worker is to do.

    Attributes:
        job_id: id of the job.
        scan: path of the scan.
        config: settings of the run, paths absolute.
        stages: to make, consecutive.
        keep: refuse to replace results that were made with other settings.
        profile_memory: keep the curve of every stage's memory.
        settings: (dotted key, value) for this attempt only.
        since: UTC time at which the sweep began.
        complete: make also the stages before, where they are not there with these settings; for the first
            job of a scene, since a plan does not look into the scan.
        threads: of the processor.
        events_fd: descriptor for events, one JSON object a line; None = none.
        driver: id of the process that started this one and without which it must not go on; None = none.
    """

    job_id: str
    scan: Path
    config: Config
    stages: tuple[str, ...]
    keep: bool = False
    profile_memory: bool = False
    settings: tuple[tuple[str, object], ...] = ()
    since: str | None = None
    complete: bool = False
    threads: int = 1
    events_fd: int | None = None
    driver: int | None = None


def spec_to_json(spec: JobSpec) -> str:
    """Return a specification as one line of JSON."""
    plain = {name: getattr(spec, name) for name in JobSpec.__dataclass_fields__}
    plain |= {"scan": str(spec.scan), "config": spec.config.model_dump(mode="json")}
    return json.dumps(plain)


def spec_from_json(text: str) -> JobSpec:
    """Return the specification of a line of JSON.

    Raises:
        ConfigError: if its settings are not valid.
    """
    plain = json.loads(text)
    plain["scan"] = Path(plain["scan"])
    plain["config"] = load_config(values=plain["config"], environment=False)
    plain["stages"] = tuple(plain["stages"])
    plain["settings"] = tuple((key, value) for key, value in plain["settings"])
    return JobSpec(**plain)


def thread_variables(threads: int) -> dict[str, str]:
    """Return the environment variables by which numeric libraries learn how many threads they may use."""
    return dict.fromkeys(_THREADS, str(threads))
