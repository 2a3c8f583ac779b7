"""A task whose function has the same name as one in `feature_tasks`."""

from __future__ import annotations

from relier import rl_task
from tests.lib.feature_tasks import note


@rl_task(idempotent=True)
def twin(token: str) -> str:
    note(token, "twin")
    return "twin"
