"""Whatever validates yields a plan that adds up; whatever does not is refused in sentences."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.topology import emit, load, shape
from infra.topology.plan import plan_of
from relier.keys import ALL_QUEUES
from tests.infra.topology.stacks import TIERS, stack

MB = 1024**2
QUICK = settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@st.composite
def pools(draw: st.DrawFn, drain: int, slip: int) -> dict[str, Any]:
    """A pool that is right, or with a slip perhaps a little too small."""
    concurrency = draw(st.integers(1, 40))
    links = draw(st.none() | st.integers(3 * concurrency - slip, 5 * concurrency))
    return {
        "queues": draw(st.lists(st.sampled_from(ALL_QUEUES), min_size=1, max_size=4, unique=True)),
        "concurrency": concurrency,
        **({"connections": links} if links else {}),
        "memory": f"{draw(st.integers(64 + 32 * concurrency - 8 * slip, 4096))}mb",
        "grace": draw(st.integers(drain + 30 - 5 * slip, drain + 60)),
    }


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, Any]:
    """A stack whose sizes and times are drawn; one in four has a slip in it somewhere."""
    data = stack(draw(st.sampled_from(TIERS)))
    slip = draw(st.sampled_from([0, 0, 0, 1]))
    data["drain"] = draw(st.integers(1, 40))
    drawn = draw(st.lists(pools(data["drain"], slip), min_size=1, max_size=4))
    drawn[0]["queues"] = list(ALL_QUEUES) if not slip else drawn[0]["queues"]
    data["workers"] = {f"pool-{number}": pool for number, pool in enumerate(drawn)}
    if data["tier"] == "bare":
        data["hosts"] = draw(st.integers(1, 4))
    else:
        for pool in drawn:
            pool["replicas"] = draw(st.integers(1, 5))
    data["redis"]["maxclients"] = draw(st.integers(1000 - 800 * slip, 10_000))
    maxmemory = draw(st.integers(1, 2048))
    data["redis"] |= {"maxmemory": f"{maxmemory}mb", "memory": f"{draw(st.integers(2 * maxmemory - slip, 8192))}mb"}
    return data


def copies(data: dict[str, Any], pool: dict[str, Any]) -> int:
    """Counted here by other means than the model's."""
    return int(data["hosts"]) if data["tier"] == "bare" else int(pool["replicas"])


def accepted(data: dict[str, Any]) -> Any:
    """The topology, or None when it is refused; then each reason is a sentence."""
    try:
        return load.topology_of(data)
    except load.Refused as refusal:
        assert refusal.findings
        assert all(finding.sentence.endswith((".", "?")) for finding in refusal.findings)
        return None


@QUICK
@given(stacks())
def test_connections_add_up_and_fit_the_server(data: dict[str, Any]) -> None:
    if topology := accepted(data):
        plan = plan_of(topology)
        expected = 128 + 10
        for pool in data["workers"].values():
            links = pool.get("connections", -(-15 * pool["concurrency"] // 4))
            assert links >= 3 * pool["concurrency"]
            expected += copies(data, pool) * links
        assert plan.connections == expected <= plan.maxclients


@QUICK
@given(stacks())
def test_memory_adds_up_and_redis_leaves_room_for_a_fork(data: dict[str, Any]) -> None:
    if topology := accepted(data):
        plan = plan_of(topology)
        pools = sum(copies(data, pool) * int(pool["memory"][:-2]) * MB for pool in data["workers"].values())
        rest = sum(w.memory * w.replicas for w in plan.workloads if w.kind != "worker")
        assert plan.memory == pools + rest
        for node in plan.of_kind("redis"):
            assert 2 * topology.redis.maxmemory <= node.memory
        for drill in plan.of_kind("drill"):
            assert 2 * drill.memory >= 3 * topology.redis.maxmemory
        for backup in plan.of_kind("backup"):
            assert backup.memory >= topology.redis.maxmemory


@QUICK
@given(stacks())
def test_grace_outlasts_the_drain_of_every_worker(data: dict[str, Any]) -> None:
    if topology := accepted(data):
        for worker in plan_of(topology).of_kind("worker"):
            assert worker.grace == data["workers"][worker.name]["grace"] >= data["drain"] + 30
            assert worker.grace > float(worker.env["RELIER_GRACEFUL_SHUTDOWN_TIMEOUT"]) + worker.pre_stop


@QUICK
@given(stacks())
def test_every_queue_is_consumed_by_whom_the_stack_says(data: dict[str, Any]) -> None:
    if topology := accepted(data):
        plan = plan_of(topology)
        assert set(plan.queues) == set(ALL_QUEUES)
        for queue, names in plan.queues.items():
            assert names == tuple(name for name, pool in data["workers"].items() if queue in pool["queues"])


@QUICK
@given(stacks())
def test_what_validates_can_be_emitted_and_shown_twice_the_same(data: dict[str, Any]) -> None:
    if topology := accepted(data):
        again = load.topology_of(json.loads(json.dumps(data)))
        assert emit.files(topology, "x") == emit.files(again, "x")
        assert json.dumps(shape.plain(plan_of(topology))) == json.dumps(shape.plain(plan_of(again)))
        assert shape.differences(plan_of(topology), plan_of(again), "a", "b") == []


def test_the_drawn_stacks_are_neither_all_good_nor_all_bad() -> None:
    seen: list[bool] = []

    @QUICK
    @given(stacks())
    def count(data: dict[str, Any]) -> None:
        seen.append(accepted(data) is not None)

    count()
    assert 40 < sum(seen) < len(seen) - 5


@QUICK
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(
        ["redis", "workers", "sentinel", "tier", "app", "secrets", "env", "drain", "backup", "telemetry", "public"]
    ),
)
def test_nothing_that_may_stand_in_a_stack_raises_anything_but_a_refusal(value: Any, key: str) -> None:
    accepted(stack("prod") | {key: value})
    accepted({key: value})


@QUICK
@given(st.text(max_size=80))
def test_no_text_raises_anything_but_a_refusal(text: str) -> None:
    from infra.topology import yamlio

    try:
        data = yamlio.loads(text)
    except yamlio.BadYamlError as error:
        assert str(error)
        return
    try:
        load.topology_of(data)
    except load.Refused:
        return
