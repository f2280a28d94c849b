"""Compiled kernels for CPUs: built once on each machine, then loaded from a cache.

Use is ``if native.available(): torch.ops.sbs.quantize(...)``. `benchmarks/README.md` says why this
is C++ on CPUs and torch.compile on GPUs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from sbs.runtime.cache import cache_folder

SOURCES = sorted((Path(__file__).parent / "csrc").glob("*.cpp"))
HEADERS = sorted((Path(__file__).parent / "csrc").glob("*.h"))
# No contraction of a * b + c into one rounding: ties must fall as in the reference functions.
_FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
_LINUX_FLAGS = ["-fopenmp"]
_X86_FLAGS = ["-march=native"]


def available() -> bool:
    """Whether the kernels are there, after building them if need be; warns once if not.

    Not for a network under torch.compile, which makes kernels of the reference functions.
    """
    return not torch.compiler.is_compiling() and _built()


@cache
def _built() -> bool:
    try:
        _load()
    except Exception as error:  # a missing compiler shows itself in many ways
        warnings.warn(
            "the fast kernels could not be built, the slower reference functions stand in "
            f"(is a C++ compiler installed?): {_first_line(error)}",
            stacklevel=2,
        )
        return False
    return True


def _load() -> None:
    folder = cache_folder() / f"kernels-{_digest()}"
    library = folder / "sbs_kernels.so"
    folder.mkdir(parents=True, exist_ok=True)
    if not library.is_file():
        with (folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # one process builds, the others wait for it
            if not library.is_file():
                _build(library)
                return
    torch.ops.load_library(library)  # type: ignore[no-untyped-call]


def _build(library: Path) -> None:
    """Compile, load, and only then give the library its name: a killed build leaves none."""
    from torch.utils import cpp_extension  # takes a while, and only the first run needs it

    flags = _flags()
    with tempfile.TemporaryDirectory(dir=library.parent) as folder, _ninja_in_path():
        print(f"building the kernels for this machine in {library.parent}", file=sys.stderr)
        cpp_extension.load(
            library.stem,
            [str(source) for source in SOURCES],
            extra_cflags=flags,
            extra_ldflags=[flag for flag in flags if flag == "-fopenmp"],
            build_directory=folder,
            is_python_module=False,
        )
        shutil.move(Path(folder) / library.name, library)


@contextmanager
def _ninja_in_path() -> Iterator[None]:
    """Let PyTorch find ninja in an environment that is not activated."""
    import ninja

    before = os.environ["PATH"]
    os.environ["PATH"] = os.pathsep.join([before, ninja.BIN_DIR])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _flags() -> list[str]:
    linux = _LINUX_FLAGS if platform.system() == "Linux" else []
    x86 = _X86_FLAGS if platform.machine() in ("x86_64", "AMD64") else []
    vectors = torch.backends.cpu.get_cpu_capability().replace(" ", "_")
    names = [f"-DCPU_CAPABILITY={vectors}", f"-DCPU_CAPABILITY_{vectors}"]
    return [*_FLAGS, *names, *linux, *x86]


def _digest() -> str:
    """Of all that the library is made from, the processor's instructions too."""
    parts = [path.read_text() for path in (*SOURCES, *HEADERS)]
    parts += [*_flags(), torch.__version__, platform.machine(), _instructions()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _instructions() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
