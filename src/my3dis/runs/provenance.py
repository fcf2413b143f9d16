"""Which code and which machine made a run; nothing heavy is imported to find out."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import my3dis

__all__ = ["Environment", "environment_snapshot", "file_digest", "git_commit", "tree_digest"]

_PACKAGES = (
    "numpy",
    "scipy",
    "opencv-python-headless",
    "higra",
    "rlemasklib",
    "trimesh",
    "pydantic",
    "pydantic-settings",
    "PyYAML",
    "rich",
    "Jinja2",
    "psutil",
    "torch",
    "torchvision",
    "transformers",
    "sam2",
    "pyarrow",
    "ray",
    "rerun-sdk",
)
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Versions and hardware; absent things are None or left out.

    Attributes:
        my3dis: version of this package.
        commit: of the checkout that it runs from.
        python, os, machine: interpreter, operating system, processor architecture.
        cpu: its name. cpu_count: processors that this process may use. memory_mb: of the machine.
        packages: (name, version) of the libraries that can change results.
        torch, cuda, driver: versions of PyTorch, of the CUDA that it was built for, of the NVIDIA driver.
    """

    my3dis: str
    commit: str | None
    python: str
    os: str
    machine: str
    cpu: str
    cpu_count: int
    memory_mb: int
    packages: tuple[tuple[str, str], ...]
    torch: str | None
    cuda: str | None
    driver: str | None

    def as_json(self) -> dict[str, object]:
        """Return plain data for a JSON file."""
        return {**asdict(self), "packages": dict(self.packages)}


def environment_snapshot() -> Environment:
    """Return what this process runs on."""
    import psutil

    packages = tuple((name, version) for name in _PACKAGES if (version := _version(name)))
    torch = dict(packages).get("torch")
    return Environment(
        my3dis=my3dis.__version__,
        commit=git_commit(Path(my3dis.__file__).resolve().parent),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        os=platform.platform(),
        machine=platform.machine(),
        cpu=_cpu_name(),
        cpu_count=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_mb=psutil.virtual_memory().total >> 20,
        packages=packages,
        torch=torch,
        cuda=_cuda_version(torch),
        driver=_driver_version(),
    )


def git_commit(package: Path) -> str | None:
    """Return the commit of the checkout that a source folder belongs to, or None outside of one.

    Reads ``.git`` itself, so that no git program is needed. Only a source tree counts (``src/<package>``):
    an installed package inside some other project's checkout has no commit of its own.
    """
    if package.parent.name != "src":
        return None
    folder = package.parents[1] / ".git"
    try:
        if folder.is_file():  # a worktree: the file names the folder
            folder = (folder.parent / folder.read_text().partition("gitdir:")[2].strip()).resolve()
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head
        name = head.partition(":")[2].strip()
        common = folder / "commondir"
        shared = (folder / common.read_text().strip()).resolve() if common.is_file() else folder
        for place in (folder, shared):
            if (place / name).is_file():
                return (place / name).read_text().strip()
        for line in (shared / "packed-refs").read_text().splitlines():
            commit, _, reference = line.partition(" ")
            if reference == name:
                return commit
    except OSError:
        return None
    return None


@functools.lru_cache(maxsize=16)
def _digest_of(path: Path, size: int, mtime_ns: int) -> str:
    del size, mtime_ns  # part of the key: a changed file is read again
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's content; OSError when it cannot be read."""
    found = path.stat()
    return _digest_of(path.resolve(), found.st_size, found.st_mtime_ns)


def tree_digest(folder: Path) -> str:
    """Return a digest of names, sizes and times of the files below a folder; no file is opened.

    A missing folder has a digest too, so that its appearing is noticed. A file stands for itself alone.
    """
    total = hashlib.sha256()
    if folder.is_file():
        found = folder.stat()
        total.update(f"{folder.name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file():
            found = path.stat()
            total.update(f"{path.relative_to(folder)}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return total.hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _cuda_version(torch: str | None) -> str | None:
    """Return the CUDA version that the installed PyTorch names: ``2.9.0+cu126`` means 12.6."""
    if torch is None:
        return None
    found = re.search(r"\+cu(\d+)(\d)$", torch)
    if found:
        return f"{found[1]}.{found[2]}"
    if torch.endswith("+cpu"):
        return None
    return next((v for n in ("13", "12", "11") if (v := _version(f"nvidia-cuda-runtime-cu{n}"))), None)


def _driver_version() -> str | None:
    try:
        found = re.search(r"Module\s+([\d.]+)", _DRIVER.read_text())
    except OSError:
        return None
    return found[1] if found else None
