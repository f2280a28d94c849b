"""The package as one installs it: what it needs, and its wheel in an environment of its own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, PathDistribution, distribution, packages_distributions
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sklearn.datasets import load_digits

from sbs.errors import EXTRAS, SBSError, naming_extras
from sbs.runtime.cache import CACHE_VARIABLE
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_IN_CORE = ("dvc", "onnx", "onnxruntime", "pyarrow", "scipy", "seaborn", "sklearn", "snakemake")


def declared(lines: Iterable[str]) -> set[str]:
    return {Requirement(line).name for line in lines}


def imported_packages() -> set[str]:
    """Packages of others that a module of this one imports, anywhere in it."""
    found: set[str] = set()
    for path in (ROOT / "sbs").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    return found - {"sbs"} - sys.stdlib_module_names


def test_imported_packages_are_in_the_core_or_in_the_extra_that_an_error_names() -> None:
    core = declared(PROJECT["dependencies"])
    named = {package: extra for extra, packages in EXTRAS.items() for package in packages}
    providers = packages_distributions()
    optional = {}
    for package in imported_packages():
        names = {canonicalize_name(name) for name in providers[package]}
        if not names & core:
            extras = PROJECT["optional-dependencies"]
            optional[package] = [name for name in EXTRAS if names & declared(extras[name])]
    assert optional == {package: [extra] for package, extra in named.items()}


def test_a_missing_package_of_an_extra_ends_with_the_command_that_installs_it() -> None:
    remedy = r"needs onnx_ir, .*: pip install 'sbs\[export\]'$"
    with pytest.raises(SBSError, match=remedy), naming_extras():
        raise ModuleNotFoundError("No module named 'onnx_ir.passes'", name="onnx_ir.passes")
    with pytest.raises(ModuleNotFoundError, match="theirs"), naming_extras():
        raise ModuleNotFoundError("No module named 'theirs'", name="theirs")


# The wheel.


def closure(lines: Iterable[str], extra: str = "") -> dict[str, Distribution]:
    """Installed distributions that requirements need, directly or through others."""
    found: dict[str, Distribution] = {}
    waiting = [(line, extra) for line in lines]
    seen = set()
    while waiting:
        line, extra = waiting.pop()
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        one = distribution(requirement.name)
        assert requirement.specifier.contains(one.version), line
        for wanted in ("", *requirement.extras):
            if (requirement.name, wanted) not in seen:
                seen.add((requirement.name, wanted))
                found[requirement.name] = one
                waiting += [(each, wanted) for each in one.requires or ()]
    return found


def link(one: Distribution, site: Path) -> None:
    """Put an installed distribution into another environment, without a copy.

    Its scripts would start the environment that they come from. So only programs are linked.
    """
    for file in one.files or ():
        top, source = file.parts[0], Path(str(one.locate_file(file)))
        if top == "..":
            is_program = source.parent.name == "bin" and source.read_bytes()[:2] != b"#!"
            target = site.parents[2] / "bin" / source.name
        else:
            is_program, source = top != "__pycache__", Path(str(one.locate_file(top)))
            target = site / top
        if is_program and not target.exists():
            target.symlink_to(source.resolve())


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel, what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([*pip, *build], check=True)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "env")
    [site] = (folder / "env").glob("lib/python*/site-packages")
    info = zipfile.Path(wheel, f"{'-'.join(wheel.stem.split('-')[:2])}.dist-info/")
    for one in closure(PathDistribution(info).requires or ()).values():
        link(one, site)
    installed = folder / "env" / "bin" / "python"
    install = ["--python", str(installed), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    return installed


def run(
    python: Path, words: list[str], folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment in a folder outside of the repository."""
    command = [str(python.parent / words[0]), *words[1:]]
    kept = {
        name: os.environ[name] for name in ("HOME", "PATH", CACHE_VARIABLE) if name in os.environ
    }
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=kept | variables
    )


@pytest.mark.end_to_end
def test_the_core_is_small_and_comes_from_the_wheel(python: Path, tmp_path: Path) -> None:
    code = f"""
import importlib.util, sbs
print([name for name in {NOT_IN_CORE} if importlib.util.find_spec(name)], sbs.__file__)
"""
    done = run(python, ["python", "-c", code], tmp_path)
    assert done.stdout.startswith(f"[] {python.parents[1]}"), done.stderr


@pytest.mark.end_to_end
def test_its_commands_run_or_name_the_extra(python: Path, tmp_path: Path) -> None:
    words = ["inspect", "torchvision.models:resnet18", "--shape", "3,64,64"]
    done = run(python, ["sbs", *words], tmp_path)
    assert "layer4.1.conv2" in done.stdout, done.stderr
    done = run(python, ["sbs", "fetch", "digits", "--output", "digits.safetensors"], tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("sbs: this needs sklearn, ")
    assert done.stderr.endswith(": pip install 'sbs[workflow]'\n")


COMPRESS = """
import sbs, torch

torch.set_num_threads(1)
torch.manual_seed(0)
images, labels = torch.load("digits.pt")
model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3),
    torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(128, 10),
)
batches = list(zip(images.split(32), labels.split(32)))
result = sbs.compress(model, batches, "4-bit", search_epochs=5, epochs=1, verbose=False)
result.save("network.sbs")
again = sbs.load("network.sbs", model)
# A value on the edge of two codes can be rounded to either.
torch.testing.assert_close(again(images), result.model(images), atol=1e-2, rtol=0)
print(result)
front = sbs.front(model, batches, [0.05], val_loader=batches, search_epochs=5, epochs=0)
front.plot("front.svg")
try:
    result.export("network.onnx")
except sbs.SBSError as error:
    print(error)
"""


@pytest.mark.end_to_end
@pytest.mark.parametrize("compiler", [True, False])
def test_it_compresses_with_and_without_a_compiler(
    python: Path, tmp_path: Path, compiler: bool
) -> None:
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:640, None] / 16
    torch.save((images, torch.tensor(digits.target)[:640]), tmp_path / "digits.pt")
    variables = {} if compiler else {"PATH": str(tmp_path), CACHE_VARIABLE: str(tmp_path)}
    done = run(python, ["python", "-c", COMPRESS], tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert "target 4-bit: the search got there" in done.stdout
    assert done.stdout.endswith("pip install 'sbs[export]'\n")
    assert done.stderr.count("the fast kernels could not be built") == (not compiler)
    assert (tmp_path / "front.svg").is_file()
