"""Open a run in Rerun: written as a recording into a temporary folder, shown by the viewer of its package."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from my3dis import plugins
from my3dis.errors import PluginError

__all__ = ["check_rerun", "recording_of", "show"]

_LOG = logging.getLogger(__name__)


def check_rerun() -> None:
    """Make sure that Rerun is installed, before anything is written.

    Raises:
        PluginError: if it is not.
    """
    if importlib.util.find_spec("rerun") is None:
        raise PluginError(
            "--rerun: expected Rerun, found it not installed; pip install 'my3dis[rerun]', or leave --rerun "
            "out and look at the report"
        )


@contextlib.contextmanager
def recording_of(run_dir: Path) -> Iterator[Path]:
    """Write a run as a recording and give its path; it is gone after the block.

    Raises:
        PluginError: if there is no exporter to Rerun here.
        My3DISError: as the exporter does.
    """
    export = plugins.exporter("rerun").export
    with tempfile.TemporaryDirectory(prefix="my3dis-rerun-", ignore_cleanup_errors=True) as folder:
        written = export(run_dir, Path(folder) / f"{run_dir.parent.name}-{run_dir.name}.rrd")
        yield written[0]


def show(recording: Path) -> None:
    """Show a recording until its window is closed.

    Raises:
        PluginError: if the window cannot be opened.
    """
    # -P: a file in the working directory must not stand in for the package. The window takes recordings over
    # the network too, by default from everywhere; from this machine is enough.
    command = [sys.executable, "-P", "-m", "rerun", "--bind", "127.0.0.1", "--port", "auto", str(recording)]
    _LOG.info("opening Rerun; it counts its use unless told not to (rerun analytics disable)")
    done = subprocess.run(command, check=False)  # noqa: S603 - this interpreter and a file of ours
    if done.returncode != 0:
        raise PluginError(
            f"Rerun ended with {done.returncode}: it needs a screen and a graphics driver; without them "
            "write the recording (my3dis export RUN_DIR --to rerun FILE.rrd) and open it on another machine"
        )
