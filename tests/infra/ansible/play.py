"""`ansible-playbook` for real, and what it said: the recap, what changed something, the sentence of a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
KIT = ROOT / "infra" / "ansible"
BIN = Path(sys.executable).parent
SETTINGS = {
    "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callbacks"),
    "ANSIBLE_CALLBACKS_ENABLED": "record",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_TIMEOUT": "60",
    "ANSIBLE_LOCALHOST_WARNING": "false",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a playbook, result by result."""

    code: int
    text: str
    seconds: float
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def changed(self) -> list[str]:
        """`host: role : task` of everything that was, or in check mode would be, changed."""
        return [f"{row['host']}: {row['task']}" for row in self._results("ok", "failed", "ignored") if row["changed"]]

    @property
    def failures(self) -> list[str]:
        """Each failure's own words."""
        return [row["msg"] for row in self._results("failed", "unreachable")]

    @property
    def stats(self) -> dict[str, dict[str, int]]:
        """Host → ok, changed, unreachable, failures, …"""
        return next((row["hosts"] for row in self.rows if row["kind"] == "stats"), {})

    def _results(self, *kinds: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["kind"] in kinds]

    def expect_success(self) -> Run:
        assert self.code == 0, self.story()
        return self

    def story(self) -> str:
        """For a failed assertion: what went wrong and the end of the output."""
        return "\n".join([*self.failures, self.text[-3000:]])


def playbook(name: str, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 900) -> Run:
    """Run a playbook of the kit from its folder. `name` is relative to it."""
    with tempfile.NamedTemporaryFile(prefix="ansible-", suffix=".jsonl") as record:
        began = time.monotonic()
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), *arguments, name],
            cwd=KIT,
            env=environment() | SETTINGS | {"RELIER_RECORD": record.name} | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        rows = [json.loads(line) for line in record.read().splitlines()]
    return Run(done.returncode, done.stdout, time.monotonic() - began, rows)


def environment() -> dict[str, str]:
    """This process's, with the tools of this environment first and no Ansible settings of the reader's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "RELIER_"))}
    return kept | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
