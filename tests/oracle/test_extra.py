"""Without the extra `refbp[oracle]`: what works, and the sentence with which the rest ends."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import oracle
from oracle.wording import extra

ROOT = Path(oracle.__file__).parents[1]
INSTALLED = Path(sysconfig.get_path("purelib"))
# refbp's dependencies and pytest's; without a compiled core but NumPy's and SciPy's.
PRESENT = (
    "numpy",
    "numpy.libs",
    "scipy",
    "scipy.libs",
    "pytest",
    "_pytest",
    "pluggy",
    "iniconfig",
    "packaging",
    "py.py",
    "pygments",
)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that has refbp, NumPy, SciPy and pytest; for `python -S`, which sees no site-packages."""
    for name in PRESENT:
        (tmp_path / name).symlink_to(INSTALLED / name)
    (tmp_path / "test_theirs.py").write_text(
        "def test_passes(): pass\ndef test_asks(oracle_check): oracle_check.run('refbp')\n"
    )
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}


def python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_extra_is_what_is_looked_for() -> None:
    """What pyproject.toml lists and what a first use looks for are the same."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [line.partition(">=")[0] for line in extras["oracle"]] == list(extra.MODULES)


@pytest.mark.parametrize("module", extra.MODULES)
def test_each_one_that_lacks_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first use, not when a run has ended and the report wants it."""
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(vars(oracle), "run", raising=False)  # as before the first use
    message = rf"^oracle.run needs {module}, which is not installed: pip install 'refbp\[oracle\]'$"
    with pytest.raises(ImportError, match=message):
        _ = oracle.run
    with pytest.raises(AttributeError):
        _ = oracle.no_such_name  # type: ignore[attr-defined]
    assert "run" not in dict(inspect.getmembers(oracle))


def test_it_is_looked_for_at_the_first_use_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for eleven packages takes as long as a small check."""
    first = oracle.run
    monkeypatch.setattr(extra, "MODULES", ("no_such_package",))
    assert oracle.run is first


def test_import_help_and_version_need_nothing(bare: dict[str, str]) -> None:
    code = "import inspect, pydoc, refbp, oracle; pydoc.help(oracle); inspect.getmembers(oracle); print(oracle.__version__)"
    done = python(bare, "-c", code)
    assert done.returncode == 0 and done.stdout.endswith(f"{oracle.__version__}\n"), done.stderr


@pytest.mark.parametrize("code", ["oracle.check_op", "from oracle import *", "from oracle import Trace"])
def test_the_first_use_is_a_sentence(bare: dict[str, str], code: str) -> None:
    done = python(bare, "-c", f"import oracle\n{code}")
    (last,) = done.stderr.splitlines()[-1:]
    assert last.startswith("oracle.wording.extra.MissingExtra: oracle.") and last.endswith(
        "pip install 'refbp[oracle]'"
    )
    assert all(name in last for name in extra.MODULES)


def test_the_command_is_a_sentence(bare: dict[str, str]) -> None:
    """Alone: without a traceback, and with the status of what cannot be used."""
    done = python(bare, "-m", "oracle", "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("oracle: oracle needs allpairspy, ") and done.stderr.count("\n") == 1


def test_the_plugin_disturbs_no_tests(bare: dict[str, str], tmp_path: Path) -> None:
    """Everybody's tests run with it; only those that use it fail, with the sentence."""
    options = (
        "-m",
        "pytest",
        "-q",
        "-p",
        "oracle.pytest_plugin",
        "-p",
        "no:cacheprovider",
        str(tmp_path / "test_theirs.py"),
    )
    done = python(bare, *options)
    assert "1 passed, 1 error" in done.stdout
    assert "pip install 'refbp[oracle]'" in done.stdout
    done = python(bare, *options, "--oracle-subject", "refbp")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--oracle-subject needs allpairspy" in done.stderr


WITHOUT_JAX = """
import sys; sys.modules["jax"] = None
import inspect, oracle
from oracle import *
assert {"run", "from_jax"} <= dict(inspect.getmembers(oracle)).keys()
from_jax(lambda x: x)
"""


def test_jax_is_asked_for_when_it_is_used() -> None:
    """Completion and `from oracle import *` work without it; a call says what to install."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_JAX], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("\nImportError: oracle.from_jax needs jax: pip install 'refbp[jax]'\n")
