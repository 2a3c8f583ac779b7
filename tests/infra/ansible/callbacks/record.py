"""An Ansible callback: one JSON line a result into the file that RELIER_RECORD names. Ansible loads it by path."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: notification
short_description: results as JSON lines
description: For tests that ask what a run changed.
"""


def _words(said: dict[str, Any]) -> str:
    """Why it failed; of a loop, what its failed items say."""
    failed = [
        row for row in said.get("results", []) if row.get("failed") or "exception" in row
    ]  # newer cores: no "failed"
    items = [str(row.get("msg", "")) for row in failed]
    return "\n".join(dict.fromkeys(items)) or str(said.get("msg", ""))


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, **row: Any) -> None:
        with Path(os.environ["RELIER_RECORD"]).open("a") as out:
            out.write(json.dumps(row, default=str) + "\n")

    def _result(self, kind: str, result: Any, **more: Any) -> None:
        said = {} if result._result.get("censored") else result._result
        self._write(
            kind=kind,
            task=result._task.get_name(),
            host=result._host.get_name(),
            changed=bool(result._result.get("changed")),
            msg=_words(said),
            diff=said.get("diff"),
            items=[str(row.get("item")) for row in said.get("results", []) if row.get("changed")],
            **more,
        )

    def v2_runner_on_ok(self, result: Any) -> None:
        self._result("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._result("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result("unreachable", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._write(kind="stats", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})
