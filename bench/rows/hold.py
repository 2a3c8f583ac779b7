"""What a task costs while it only exists: Redis memory queued and running, Redis traffic of 1000 tasks in flight.

Memory is `used_memory` without clients' buffers, before and after, divided by the tasks. In flight means
that 1000 bodies wait in one worker process (`-P threads -c 1000`) and nothing else happens: no push, no
commit, no other worker.
"""

from __future__ import annotations

from collections.abc import Set

from bench import procfs
from bench.contestant import LATE, OURS, UPSTREAM, Contestant
from bench.figures import Figure, Result, Samples
from bench.observe import Traffic, data_bytes, traffic
from bench.rows.judge import by_round, judged_against_late, judged_alone
from bench.stage import Stage

AT_ONCE, HELD_SECONDS, QUEUED = 1000, 90.0, 5000
OPS = Figure("idle-ops", "Redis ops, 1000 in flight, idle", "/s", "our value", 2.0, 1.0)
RAN = Figure("idle-ran", "· with commands inside scripts", "/s", "our value")
RUNNING = Figure("memory-running", "Redis memory per running task", "B", "ratio to late-ack Celery")
WAITING = Figure("memory-queued", "Redis memory per queued task", "B", "ratio to late-ack Celery")
FIGURES = (OPS, RAN, RUNNING, WAITING)


def _queued(stage: Stage, who: Contestant) -> float:
    """Bytes per task in a queue that nobody works on."""
    stage.flush(who)
    client = stage.client(who.database)
    before = data_bytes(client)
    stage.agent(who).ask("bulk", "noop", QUEUED)
    taken = data_bytes(client) - before
    stage.flush(who)
    return taken / QUEUED


def _in_flight(stage: Stage, who: Contestant) -> tuple[Traffic, float]:
    """Commands per second and process, and bytes per task, once 1000 bodies wait."""
    with stage.worker(who, "threads", AT_ONCE) as worker:
        client = stage.client(who.database)
        before = data_bytes(client)
        stage.backlog(who, worker, "wait", AT_ONCE, value=HELD_SECONDS)
        worker.await_stamps(AT_ONCE, 60.0, "1000 tasks in flight")
        stage.settle(3.0)
        taken = (data_bytes(client) - before) / AT_ONCE
        seen = traffic(client, stage.server.port, stage.effort.idle_seconds)
        return seen.per(len(procfs.tree(worker.pid))), taken


def measure(stage: Stage, wanted: Set[str]) -> list[Result]:
    """Commands per second and worker process; bytes per task."""
    found: dict[str, Samples] = {figure.key: {} for figure in FIGURES}
    everyone = stage.only(LATE, OURS, *([UPSTREAM] if stage.effort.references else []))
    if WAITING.key in wanted:
        for who in everyone:
            by_round(found[WAITING.key], who, _queued(stage, who))
    what = []
    if wanted & {OPS.key, RAN.key, RUNNING.key}:
        for who in everyone:
            seen, taken = _in_flight(stage, who)
            what.append(f"{who.label} {seen}")
            by_round(found[OPS.key], who, seen.total)
            by_round(found[RAN.key], who, seen.ran)
            by_round(found[RUNNING.key], who, taken)
    alone = [judged_alone(OPS, found[OPS.key], "; ".join(what)), judged_alone(RAN, found[RAN.key])]
    return [*alone, *(judged_against_late(figure, found[figure.key]) for figure in (RUNNING, WAITING))]
