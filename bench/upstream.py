"""The package relier 0.1.7 from PyPI, in a virtual environment that nothing else uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from functools import partial
from pathlib import Path

from bench.errors import BenchError

WANTED = "relier==0.1.7"
PACKAGES = (WANTED, "celery==5.7.*", "redis[hiredis]==8.*")
VERSIONS = """
import importlib.metadata as m, json
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
print(json.dumps({n: version(n) for n in ("celery", "kombu", "redis", "hiredis", "relier")}))
"""


def versions(python: str) -> dict[str, str | None]:
    """Versions of what matters for the figures, as that interpreter sees them."""
    try:
        run = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True, cwd="/", check=False)
    except OSError as error:
        raise BenchError(f"{python} is not an interpreter ({error.strerror}).") from None
    if run.returncode:
        raise BenchError(f"{python} does not run: {run.stderr.strip()[-200:]}")
    found: dict[str, str | None] = json.loads(run.stdout)
    return found


def require(python: str, package: str, prefix: str) -> dict[str, str | None]:
    """Its versions, or a `BenchError` when `package` is not of the version that starts with `prefix`."""
    found = versions(python)
    if not (found[package] or "none").startswith(prefix):
        raise BenchError(f"{python} has {package} {found[package]}, and the comparison is with {prefix}.")
    return found


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "relier-bench" / f"upstream-0.1.7-py{sys.version_info[0]}.{sys.version_info[1]}"


def _create(home: Path) -> None:
    print(f"Installing {WANTED} into {home} (once; needs PyPI)", file=sys.stderr)
    venv.create(home, with_pip=True, clear=True)
    pip = [
        str(home / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        *PACKAGES,
    ]
    run = subprocess.run(pip, capture_output=True, text=True, check=False)
    if run.returncode:
        raise BenchError(
            f"pip could not install {WANTED}: {run.stderr.strip()[-300:]} "
            "Pass --upstream-python PATH, or --skip upstream to go without it."
        )
    (home / ".complete").touch()


def _interpreter(given: str | None) -> str:
    """An interpreter that has upstream; installs it into the cache directory when none is given."""
    if given is None:
        home = _cache()
        if not (home / ".complete").exists():
            _create(home)
        given = str(home / "bin" / "python")
    require(given, "relier", "0.1.7")
    return given


def finder(given: str | None) -> partial[str]:
    """A function that finds or makes upstream's interpreter, for whoever turns out to need it."""
    return partial(_interpreter, given)
