"""What a module needs and this machine lacks is said in one line, not for every test."""

from __future__ import annotations

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A module says by `LACKING` why it cannot run here."""
    if reason := getattr(getattr(item, "module", None), "LACKING", None):
        pytest.skip(reason)
