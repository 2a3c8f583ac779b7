"""The package relier 0.1.7 from PyPI; its interpreter never sees the `relier` of this repository."""

from __future__ import annotations

from typing import Any

from bench.contestants import bodies
from relier import rl_task
from relier.tasks.app import celery_app

app = celery_app
BODIES = (bodies.noop, bodies.anoop, bodies.big, bodies.nap, bodies.wait)
TASKS: dict[str, Any] = {body.__name__: rl_task(name=f"bench.{body.__name__}")(body) for body in BODIES}
