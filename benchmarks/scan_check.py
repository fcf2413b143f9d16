"""Put every known fault, and every two of different causes, into good scans: does the check name the cause?

    python benchmarks/scan_check.py [--scans SCAN ...] [--rooms SEED ...] [--pairs N] [--out FILE] [--check]

The faults are those that the tests hold the check to (`tests/datasets/faults.py`). Each goes into the two
public rooms and the kitchen, where that data is (MY3DIS_TEST_DATA, else ../shared/data), the built-in room
and rooms of other seeds; scans with a mesh are checked with it and without. A fault counts as recovered
when the cause that the command names in its last line is its own; of two faults either one will do, since
the other shows up once the first is mended. Good scans are checked in several selections of frames:
whatever is found there is a false alarm. Pairs of faults that come to the same as no fault, one fault or an
earlier pair are left out and counted. --out keeps every answer, and what is there already is not checked
again: take a new file after a change of the check. --check exits 1 below 95 % or with a false alarm.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from my3dis.datasets.check import check_scan
from my3dis.datasets.detect import open_scan
from my3dis.datasets.synthetic import RoomReader, make_room
from my3dis.protocols import SceneReader
from tests.datasets.faults import FAULTS, Fault, Faulty, Kept

DATA = Path(os.environ.get("MY3DIS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SCANS = ("synth/synth0000_00", "synth/synth0001_00", "rgbd_kitchen")
SEEDS = (5, 11, 23)
BOUND = 0.95
SELECTIONS = ("::", "::2", "::4", "::8", ":half", "half:")
Blamed = tuple[str, Fault]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What the check said of one case.

    Attributes:
        scan: name, with how it was checked.
        causes, faults: what was wrong; empty for a good scan.
        frames: which were selected.
        named: causes that the check named; the first is the one in the command's last line.
        seconds: wall time.
    """

    scan: str
    causes: tuple[str, ...]
    faults: tuple[str, ...]
    frames: str
    named: tuple[str, ...]
    seconds: float

    @property
    def key(self) -> tuple[str, tuple[str, ...], str]:
        """What tells cases apart."""
        return self.scan, self.faults, self.frames

    @property
    def is_right(self) -> bool:
        """Whether a good scan passed, or the first cause named is one of those there."""
        return (
            self.named[:1] == () if not self.causes else self.named[:1] != () and self.named[0] in self.causes
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Skipped:
    """A pair that comes to the same as something else."""

    scan: str
    faults: tuple[str, ...]
    same_as: tuple[str, ...]


def scans(paths: Sequence[Path], seeds: Iterable[int]) -> Iterator[tuple[str, SceneReader]]:
    """Open the scans one by one, with the mesh and without: folders, the built-in room, the seeds."""
    readers: list[tuple[str, SceneReader]] = [(path.name, open_scan(path)) for path in paths]
    readers.append(("built-in room", RoomReader(make_room())))
    readers += [(f"room {seed}", RoomReader(make_room(seed, frames=48))) for seed in seeds]
    for name, reader in readers:
        kept = Kept(reader)
        if reader.overview.has_cloud:
            yield f"{name}, mesh", kept
            bare = dataclasses.replace(reader.overview, has_cloud=False)
            yield f"{name}, no mesh", Faulty(kept, (), bare)
        else:
            yield f"{name}, no mesh", kept


def combinations(has_mesh: bool) -> list[tuple[Blamed, ...]]:
    """Return single faults, then two of different causes; changes of poses in either order."""
    usable = [item for item in FAULTS if has_mesh or item[0] != "alignment"]
    cases: list[tuple[Blamed, ...]] = [(item,) for item in usable]
    for first, second in itertools.combinations(usable, 2):
        if first[0] == second[0]:
            continue
        cases.append((first, second))
        if first[1].pose is not None and second[1].pose is not None:
            cases.append((second, first))
    return cases


def some_of(
    cases: Sequence[tuple[Blamed, ...]], most: int | None, scan: str, answered: Iterable[tuple[str, ...]]
) -> list[tuple[Blamed, ...]]:
    """Return all single faults, so many pairs, which are others in every scan, and those answered before."""
    pairs = [case for case in cases if len(case) > 1]
    drawn = np.random.default_rng(list(scan.encode())).permutation(len(pairs))[:most].tolist()
    wanted = {names(pairs[i]) for i in drawn} | set(answered)
    return [case for case in cases if len(case) == 1 or names(case) in wanted]


def names(case: Sequence[Blamed]) -> tuple[str, ...]:
    """Return the names of the faults."""
    return tuple(fault.name for _, fault in case)


def effect(reader: SceneReader, faults: Sequence[Fault]) -> list[NDArray[np.float64]]:
    """Return what a scan looks like with faults: some poses, readings, intrinsics and points."""
    faulty = Faulty(reader, faults)
    some = np.linspace(0, len(reader) - 1, 3).astype(int).tolist()
    found: list[NDArray[np.float64]] = []
    for index in some:
        frame = faulty.frame(index)
        cameras = (frame.depth_camera, frame.color_camera)
        assert frame.depth_m is not None
        pose = faulty.stored_pose(index)
        assert pose is not None
        found += [pose, frame.depth_m[::7, ::7].astype(np.float64)]
        found.append(np.array([(c.fx, c.fy, c.cx, c.cy) for c in cameras if c is not None]))
    cloud = faulty.cloud() if reader.overview.has_cloud else None
    found.append(np.zeros((0, 3)) if cloud is None else cloud.xyz_m[::1000].astype(np.float64))
    return found


def are_same(a: Sequence[NDArray[np.float64]], b: Sequence[NDArray[np.float64]]) -> bool:
    """Whether two effects differ by rounding at most."""
    return all(np.allclose(x, y, rtol=1e-5, atol=1e-6) for x, y in zip(a, b, strict=True))


def different(
    scan: str, reader: SceneReader, cases: Iterable[tuple[Blamed, ...]], skipped: list[Skipped]
) -> Iterator[tuple[Blamed, ...]]:
    """Leave out pairs that come to the same as no fault, one fault or an earlier pair."""
    known: list[tuple[tuple[str, ...], list[NDArray[np.float64]]]] = [((), effect(reader, ()))]
    for case in cases:
        looks = effect(reader, [fault for _, fault in case])
        twin = next((other for other, there in known if are_same(looks, there)), None)
        if twin is not None and len(case) > 1:
            skipped.append(Skipped(scan, names(case), twin))
            continue
        known.append((names(case), looks))
        yield case


def selected(text: str, count: int) -> range:
    """Return frames written as in Python, with ``half`` for the middle."""
    if text == ":half":
        return range(count // 2)
    return range(count // 2, count) if text == "half:" else range(0, count, int(text[2:] or 1))


def ask(scan: str, reader: SceneReader, case: Sequence[Blamed], frames: str) -> Answer:
    """Check one scan with faults."""
    began = time.perf_counter()
    found = check_scan(Faulty(reader, [fault for _, fault in case]), selected(frames, len(reader)))
    return Answer(
        scan=scan,
        causes=tuple(cause for cause, _ in case),
        faults=names(case),
        frames=frames,
        named=() if found.fits else tuple(found.causes),
        seconds=time.perf_counter() - began,
    )


def remembered(path: Path | None) -> dict[tuple[str, tuple[str, ...], str], Answer]:
    """Read answers of an earlier run."""
    if path is None or not path.is_file():
        return {}
    lists = ("causes", "faults", "named")
    lines = (json.loads(line) for line in path.read_text().splitlines())
    answers = [Answer(**(line | {name: tuple(line[name]) for name in lists})) for line in lines]
    return {answer.key: answer for answer in answers}


def go_through(args: argparse.Namespace, paths: Sequence[Path], skipped: list[Skipped]) -> Iterator[Answer]:
    """Check every case of every scan, or take over what is known of it."""
    known = remembered(args.out)
    for scan, reader in scans(paths, args.rooms):
        cases: list[tuple[tuple[Blamed, ...], str]] = [((), frames) for frames in SELECTIONS]
        made = list(different(scan, reader, combinations(reader.overview.has_cloud), skipped))
        answered = [faults for where, faults, _ in known if where == scan]
        cases += [(case, "::") for case in some_of(made, args.pairs, scan, answered)]
        for case, frames in cases:
            answer = known.get((scan, names(case), frames))
            if answer is None:
                answer = ask(scan, reader, case, frames)
                if args.out is not None:
                    with args.out.open("a") as file:
                        file.write(json.dumps(dataclasses.asdict(answer)) + "\n")
            if not answer.is_right:
                wrong = " + ".join(answer.faults) or f"good scan, frames {frames}"
                print(f"  missed  {scan}: {wrong} -> {', '.join(answer.named) or 'fits'}", flush=True)
            yield answer


def table(answers: Sequence[Answer], skipped: Sequence[Skipped]) -> tuple[list[str], bool]:
    """Return the Markdown table, and whether the bounds hold."""
    single, pair, good = ([a for a in answers if len(a.causes) == n] for n in (1, 2, 0))
    lines = ["| cause | alone | with another | scans |", "|---|---|---|---|"]
    for cause in dict.fromkeys(cause for cause, _ in FAULTS):
        cells = [share([a for a in some if cause in a.causes]) for some in (single, pair)]
        of = len({a.scan for a in answers if cause in a.causes})
        lines.append(f"| {cause} | {' | '.join(cells)} | {of} |")
    lines.append(f"| all | {share(single)} | {share(pair)} | {len({a.scan for a in answers})} |")
    lines += ["", "| scan | one fault | two faults | false alarms | s a check |", "|---|---|---|---|---|"]
    for scan in dict.fromkeys(a.scan for a in answers):
        own = [[a for a in some if a.scan == scan] for some in (single, pair, good)]
        seconds = np.median([a.seconds for some in own for a in some])
        false = f"{sum(not a.is_right for a in own[2])} of {len(own[2])}"
        lines.append(f"| {scan} | {share(own[0])} | {share(own[1])} | {false} | {seconds:.2f} |")
    alarms = sum(not a.is_right for a in good)
    both = sum(set(a.causes) <= set(a.named) for a in pair)
    recovered = [a.is_right for a in (*single, *pair)]
    rate = float(np.mean(recovered)) if recovered else 1.0
    lines += [
        "",
        f"{sum(recovered)} of {len(recovered)} recovered ({rate:.1%}); of {len(pair)} pairs {both} by both "
        f"causes; {alarms} false alarms in {len(good)} checks of good scans.",
        f"{len(skipped)} pairs left out, because they come to the same as something else: "
        + (
            "; ".join(f"{' + '.join(f)} = {' + '.join(s) or 'good'} ({n})" for (f, s), n in twins(skipped))
            or "none"
        )
        + ".",
    ]
    return lines, rate >= BOUND and alarms == 0


def twins(skipped: Sequence[Skipped]) -> list[tuple[tuple[tuple[str, ...], tuple[str, ...]], int]]:
    """Return pairs and what they are the same as, with the number of scans."""
    return sorted(Counter((item.faults, item.same_as) for item in skipped).items())


def share(answers: Sequence[Answer]) -> str:
    """Return how many are right, as text."""
    return f"{sum(a.is_right for a in answers)}/{len(answers)}" if answers else "-"


def main() -> None:
    """Go through all cases and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scans", nargs="*", type=Path, help="posed RGB-D scans known to be good")
    parser.add_argument("--rooms", nargs="*", type=int, default=list(SEEDS), help="seeds of generated rooms")
    parser.add_argument(
        "--pairs", type=int, help="only so many pairs a scan, drawn anew for each; default all"
    )
    parser.add_argument("--out", type=Path, help="file of answers, one JSON object a line")
    parser.add_argument(
        "--check", action="store_true", help=f"exit 1 below {BOUND:.0%} or with a false alarm"
    )
    args = parser.parse_args()
    paths = (
        args.scans if args.scans is not None else [DATA / name for name in SCANS if (DATA / name).is_dir()]
    )
    if args.scans is None and len(paths) < len(SCANS):
        print(
            f"{len(SCANS) - len(paths)} of {len(SCANS)} shared scans are not in {DATA}: generated rooms alone"
        )
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    skipped: list[Skipped] = []
    lines, holds = table(list(go_through(args, paths, skipped)), skipped)
    print("\n".join(lines))
    if args.check and not holds:
        sys.exit(f"broken: expected at least {BOUND:.0%} recovered and no false alarm")


if __name__ == "__main__":
    main()
