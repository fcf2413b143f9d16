"""How long `import my3dis` and `my3dis --help` take, and that neither torch nor OpenCV comes along.

``python benchmarks/startup.py [--check]``; with ``--check`` it exits 1 when a bound is broken.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

IMPORT_BOUND_S = 0.3
HELP_BOUND_S = 1.0
HEAVY = ("torch", "cv2", "higra", "trimesh", "pandas", "matplotlib")
FORBIDDEN = ("torch", "cv2")

_IMPORT = """
import json, sys, time
begun = time.perf_counter()
import my3dis
seconds = time.perf_counter() - begun
print(json.dumps([seconds, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
_EMPTY = "pass"


def import_once() -> tuple[float, list[str]]:
    """Return seconds of the import in a fresh process, and the top-level modules loaded after it."""
    done = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True)
    seconds, modules = json.loads(done.stdout)
    return float(seconds), list(modules)


def wall_s(*command: str) -> float:
    """Return wall seconds of a command that must succeed."""
    begun = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - begun


def main() -> int:
    """Measure, print and compare with the bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="best of how many")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound is broken")
    arguments = parser.parse_args()
    runs = [import_once() for _ in range(arguments.repeats)]
    import_s = min(seconds for seconds, _ in runs)
    loaded = [name for name in HEAVY if name in runs[0][1]]
    help_s = min(wall_s(sys.executable, "-m", "my3dis", "--help") for _ in range(arguments.repeats))
    bare_s = min(wall_s(sys.executable, "-c", _EMPTY) for _ in range(arguments.repeats))
    forbidden = [name for name in loaded if name in FORBIDDEN]
    verdicts = {
        "import": import_s < IMPORT_BOUND_S,
        "no torch, no cv2": not forbidden,
        "--help": help_s < HELP_BOUND_S,
    }
    print(f"best of {arguments.repeats}, {sys.executable}, Python {sys.version.split()[0]}")
    print(f"import my3dis       {import_s:7.3f} s   bound {IMPORT_BOUND_S} s   {_word(verdicts['import'])}")
    print(
        f"heavy modules       {', '.join(loaded) or 'none':>7}     without {', '.join(FORBIDDEN)}   "
        f"{_word(verdicts['no torch, no cv2'])}"
    )
    print(
        f"my3dis --help       {help_s:7.3f} s   bound {HELP_BOUND_S} s   {_word(verdicts['--help'])}   "
        f"(Python alone {bare_s:.3f} s)"
    )
    return 0 if all(verdicts.values()) or not arguments.check else 1


def _word(holds: bool) -> str:
    return "holds" if holds else "BROKEN"


if __name__ == "__main__":
    sys.exit(main())
