"""`rl chaos`: do harm on purpose, and see what holds. Not for production."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import Annotated, Any

import typer

from relier.cli.errors import fail
from relier.cli.output import Json, show

app = typer.Typer(no_args_is_help=True, help="Do harm on purpose. Not for production.")
PATIENCE = 10.0
TICK = 0.05
State = tuple[str, str, int]


def _state(task_id: str) -> State:
    """A task's state, node and starts; the state is '' when it has ended."""
    from relier import keys
    from relier.cli.fleet import client

    state, holder, starts = client().hmget(keys.record(task_id), "state", "holder", "attempts")
    return (state or b"").decode(), (holder or b"").decode().rpartition("/")[0], int(starts or 0)


@app.command("worker-kill")
def worker_kill(
    worker: Annotated[str | None, typer.Option("--worker", "--worker-id", help="Which one; default: any.")] = None,
    seed: Annotated[bool, typer.Option("--seed", help="Push a long task first and kill its worker.")] = False,
    seed_duration: Annotated[float, typer.Option(min=0, max=100, help="Seconds that the seeded task runs.")] = 30.0,
    watch: Annotated[bool, typer.Option("--watch", help="Then show how its tasks come back.")] = False,
    watch_duration: Annotated[float, typer.Option(min=0, help="Seconds to watch.")] = 30.0,
) -> None:
    """SIGKILL a worker and its pool. A worker of this host is found by its pid, others as containers."""
    from relier.cli import faults, fleet

    seeded = _seed(seed_duration) if seed else None
    if worker and not _registered(worker) and (done := faults.kill_container(worker)):
        print(done)
        return
    node = fleet.resolve(worker) if worker else _victim(seeded)
    held = {row.task_id: _state(row.task_id) for row in fleet.running(node, limit=1_000_000)}
    print(f"{faults.kill_worker(node)}; it held {len(held)} tasks", flush=True)
    if watch:
        _watch(held, node, watch_duration)


def _registered(worker: str) -> bool:
    from relier.cli import fleet

    return any(worker in (node, node.partition("@")[0]) for node in fleet.entries())


def _seed(seconds: float) -> str:
    from relier.cli import faults
    from relier.tasks.chaos import chaos_sleep

    task_id = chaos_sleep.push(seconds).id
    if not faults.wait_for(lambda: _state(task_id)[0] == "running", PATIENCE):
        from relier.ledger import get_ledger

        get_ledger().call("cancel", task_id, "", "", 0)
        fail(f"No worker took the seeded task within {PATIENCE:g} s; start one that consumes 'default'.")
    print(f"seeded {task_id}; it runs on {_state(task_id)[1]}")
    return task_id


def _victim(seeded: str | None) -> str:
    from relier.cli import fleet

    if seeded:
        return _state(seeded)[1]
    online = [row.node for row in fleet.workers() if row.state == "ONLINE"]
    if not online:
        fail("No worker is online, so there is none to kill.")
    return random.choice(online)


def _watch(waiting: dict[str, State], node: str, seconds: float) -> None:
    """Report each task, given its state before the kill, until it runs elsewhere or has ended; else exit 1."""
    started, count = time.monotonic(), len(waiting)
    while waiting and time.monotonic() - started < seconds:
        for task, before in list(waiting.items()):
            now = _state(task)
            if now == before:
                continue
            print(f"{time.monotonic() - started:5.1f} s  {task}  {_news(task, now)}", flush=True)
            waiting[task] = now
            if now[0] in ("running", ""):
                del waiting[task]
        time.sleep(TICK)
    if waiting:
        fail(f"{len(waiting)} of {count} tasks of {node} did not run again within {seconds:g} s.")


def _news(task: str, now: State) -> str:
    from relier import keys
    from relier.cli.fleet import client

    if now[0] == "running":
        return f"runs again on {now[1]}"
    if now[0] == "queued":
        return f"resurrected (number {int(client().get(keys.RESURRECTIONS + task) or 0)}), in line"
    return f"is {now[0]}" if now[0] else "has ended"


@app.command("network-partition")
def network_partition(
    secs: Annotated[float, typer.Option("--secs", "--duration", min=0.1, help="Seconds without Redis.")] = 15.0,
) -> None:
    """Cut Redis off from everyone: its container by Docker, any other server by CLIENT PAUSE."""
    from redis.exceptions import RedisError

    from relier.cli import faults
    from relier.cli.fleet import client

    def answers() -> bool:
        """Asks once; a call to the ledger would wait for the outage to pass."""
        try:
            return bool(client().ping())
        except (RedisError, OSError):
            return False

    client().ping()
    with faults.partition(client(), secs) as done:
        print(f"{done} for {secs:g} s", flush=True)
        time.sleep(secs)
    if not faults.wait_for(answers, PATIENCE):
        fail(f"Redis does not answer {PATIENCE:g} s after the partition ended.")
    print("Redis answers again")


@app.command("load-spike")
def load_spike(
    rps: Annotated[int, typer.Option(min=1, help="Pushes per second.")] = 100,
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Push no-op tasks at a steady rate, to see admission control at work."""
    from relier.cli.fleet import client

    client().ping()
    counts = asyncio.run(_spike(rps, duration))
    show(counts, lambda: "  ".join(f"{name}: {count}" for name, count in counts.items()), as_json)


async def _spike(rps: int, duration: float) -> dict[str, int]:
    from redis.exceptions import RedisError

    from relier.errors import AdmissionRejectedError
    from relier.ledger import get_async_ledger
    from relier.tasks.chaos import chaos_noop

    counts, sent, started = {"accepted": 0, "rejected": 0, "errored": 0}, 0, time.monotonic()
    wanted = int(rps * duration)

    async def one() -> None:
        """An outage is counted and not raised, so that the spike outlives it."""
        try:
            await chaos_noop.apush()
            counts["accepted"] += 1
        except AdmissionRejectedError:
            counts["rejected"] += 1
        except (RedisError, OSError):
            counts["errored"] += 1

    while sent < wanted:
        due = min(wanted, int((time.monotonic() - started + TICK) * rps))
        await asyncio.gather(*(one() for _ in range(due - sent)))
        sent = due
        await asyncio.sleep(max(0.001, sent / rps - (time.monotonic() - started)))
    await get_async_ledger().client.aclose()
    return counts


@app.command("task-corrupt")
def task_corrupt() -> None:
    """Push a task whose arguments were changed after it was signed; it must end in the DLQ, unrun."""
    from relier import dispatch
    from relier.tasks.chaos import chaos_sleep

    push = dispatch.build(chaos_sleep, (0,), None)  # type: ignore[arg-type]
    dispatch.send(replace(push, envelope=push.envelope.replace("[0]", "[1]")), None, admit=False)
    _expect_quarantine(push.task_id, "PayloadIntegrityError", PATIENCE)


@app.command("slow-task")
def slow_task(
    duration: Annotated[float, typer.Option(min=0, help="Seconds that the body sleeps.")] = 35.0,
) -> None:
    """Push a task that sleeps past RELIER_HARD_TIMEOUT; it must end in the DLQ with HardTimeoutError."""
    from relier.settings import get_settings
    from relier.tasks.app import celery_app

    hard = get_settings().hard_timeout
    celery_app.loader.import_default_modules()
    task_id = celery_app.tasks["relier.chaos.slow"].push(duration).id
    print(f"pushed {task_id}; it sleeps {duration:g} s, the hard timeout is {hard:g} s", flush=True)
    if duration > hard:
        _expect_quarantine(task_id, "HardTimeoutError", hard + PATIENCE)


def _expect_quarantine(task_id: str, reason: str, seconds: float) -> None:
    from relier import dlq, keys
    from relier.cli import faults
    from relier.cli.fleet import client

    started = time.monotonic()
    raw: Any = faults.wait_for(lambda: client().hget(keys.DLQ, task_id), seconds)
    entry = dlq.parse(raw)
    if entry is None:
        fail(f"{task_id} is not in the DLQ after {seconds:g} s; does a worker consume its queue?")
    if entry["reason"] != reason:
        fail(f"{task_id} is in the DLQ with {entry['reason']} instead of {reason}.")
    print(f"{task_id} is in the DLQ with {reason} after {time.monotonic() - started:.1f} s")
