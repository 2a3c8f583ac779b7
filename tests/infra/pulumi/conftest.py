"""What a module needs and this machine lacks is said in one line, not for every test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from infra.pulumi.settings import ROOT

LEFT_OUT = shutil.ignore_patterns("ansible", "__pycache__", "rendered", ".secrets")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A module says by `LACKING` why it cannot run here."""
    if reason := getattr(getattr(item, "module", None), "LACKING", None):
        pytest.skip(reason)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What `infra/pulumi/stack` needs, in a place of its own: nobody's stack, and no tracked file, is touched."""
    for part in ("infra", "scripts", "relier", "tests/infra/pulumi"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=LEFT_OUT)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path
