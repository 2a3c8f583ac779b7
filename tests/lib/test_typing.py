"""The public API is typed: a user's strict code passes mypy, and a mistake in it does not."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from harness.process import REPO, clean_env

USAGE = """
    from typing import Any

    from relier import (
        AdmissionRejectedError, DeadLetterQueue, SchemaRegistry, SLOMetrics, TaskContext, TaskReceipt,
        get_settings, idempotency_lock, rl_task, task_context,
    )
    from relier.tasks.app import celery_app

    async def warn(ctx: TaskContext) -> None:
        await ctx.set_partial({"at": 1})

    @rl_task(queue="high_priority", idempotent=True, soft_timeout=1, hard_timeout=2, on_soft_timeout=warn)
    async def send(invoice: int, *, ctx: TaskContext) -> str:
        done: Any = ctx.partial_result
        return f"{ctx.task_id} {ctx.fence} {done} {invoice}"

    @rl_task(bind=True, autoretry_for=(ValueError,), retry_backoff=True, max_retries=3)
    def count(self: Any, words: list[str]) -> int:
        return len(words)

    @rl_task(max_resurrections=2, durability="replicated")
    def plain(x: int) -> int:
        with idempotency_lock(f"key-{x}", ttl=60) as lock:
            if lock.already_executed:
                return int(lock.cached_result)
            lock.set_result(x)
        return x

    @SchemaRegistry.register_migration(task_name="send", from_version=1)
    def lift(args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, kwargs

    async def main() -> None:
        try:
            receipt: TaskReceipt = await send.apush(7)
        except AdmissionRejectedError as error:
            wait: float = error.retry_after
            print(wait)
            return
        print(receipt.id, receipt.status, receipt.get(timeout=1), plain.push(1).ready(), plain(2) + 1)
        async with idempotency_lock("key") as lock:
            lock.commit({"any": "thing"})
        queue = DeadLetterQueue()
        for entry in await queue.list_tasks(limit=5):
            await queue.release(entry["task_id"])
        await SLOMetrics().record_event("failed")
        print(get_settings().heartbeat_ttl + 1, task_context.task_id, count.name, celery_app.main)
"""


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    folder = tmp_path_factory.mktemp("typing")

    def run(source):
        (folder / "usage.py").write_text(textwrap.dedent(source))
        (folder / "mypy.ini").write_text("[mypy]\nstrict = True\n[mypy-celery.*]\nignore_missing_imports = True\n")
        command = [sys.executable, "-m", "mypy", "--cache-dir", str(folder / "cache"), "usage.py"]
        return subprocess.run(
            command, cwd=folder, env=clean_env({"MYPYPATH": str(REPO)}), capture_output=True, text=True, timeout=150
        )

    return run


def test_code_that_uses_the_whole_public_api_passes_mypy_strict(check):
    done = check(USAGE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "mistake",
    [
        "from relier import nonsense",
        "from relier import rl_task\n@rl_task(idempotency_ttl='an hour')\ndef f() -> None: ...",
        "from relier import rl_task\n@rl_task()\ndef f(x: int) -> int: return x\nf('text')",
        "from relier import get_settings\nprint(get_settings().heartbeat)",
    ],
)
def test_a_mistake_in_the_use_of_the_api_is_a_type_error(check, mistake):
    assert check(mistake + "\n").returncode == 1
