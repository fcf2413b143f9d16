"""The index that `my3dis view` serves of many runs: how long requests take, how large the page is.

``python benchmarks/run_index.py [--runs N] [--check]``

Run folders are written for so many scenes with made-up figures, as a sweep leaves them; then the index is
asked for over a connection until every run is read, again with nothing changed, and again after the folder
has to be listed anew. With ``--check`` it exits 1 when a bound is broken.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.request import urlopen

from my3dis.serving.catalog import LIST_EVERY_S, READ_FOR_S, Catalog, open_root
from my3dis.serving.pages import Pages
from my3dis.serving.server import listen
from sweep_page import write_sweep

REQUEST_BOUND_S, KEPT_BOUND_S, SIZE_BOUND_MB, RSS_BOUND_MB = READ_FOR_S + 1.5, 1.0, 2.0, 400.0


def main() -> int:
    """Write, ask, print and compare with the bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=1500)
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound is broken")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        write_sweep(Path(scratch), arguments.runs)
        catalog = Catalog(open_root(Path(scratch)))
        with listen(Pages(catalog), 0) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            reading = [asked(server.address)]
            while catalog.listing().waiting:
                reading.append(asked(server.address))
            drawn = asked(server.address)
            kept = asked(server.address)
            time.sleep(LIST_EVERY_S)
            listed = asked(server.address)
            sweep = asked(f"{server.address}/sweep.html")
            server.shutdown()
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    slowest_s = max(seconds for seconds, _ in reading)
    print(f"{arguments.runs:,} runs: read in {len(reading)} requests of {slowest_s:.2f} s at most")
    print(f"drawn: {drawn[0]:.3f} s; nothing changed: {kept[0]:.3f} s; listed anew: {listed[0]:.3f} s")
    print(f"the page: {kept[1]:.2f} MiB")
    print(f"page of the sweep, made where none lies: {sweep[0]:.2f} s, {sweep[1]:.2f} MiB")
    print(f"memory: {rss_mb:.0f} MiB at most")
    holds = (
        slowest_s <= REQUEST_BOUND_S
        and max(kept[0], listed[0]) <= KEPT_BOUND_S
        and kept[1] <= SIZE_BOUND_MB
        and rss_mb <= RSS_BOUND_MB
    )
    print("bounds hold" if holds else "a bound is BROKEN")
    return 0 if holds or not arguments.check else 1


def asked(address: str) -> tuple[float, float]:
    """Return the seconds that an answer takes and its size in MiB."""
    begun = time.perf_counter()
    with urlopen(address) as answer:  # noqa: S310 - our own server
        data = answer.read()
    return time.perf_counter() - begun, len(data) / 2**20


if __name__ == "__main__":
    sys.exit(main())
