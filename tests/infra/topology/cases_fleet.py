"""Cases for the rules of workers and resurrector."""

from __future__ import annotations

from tests.infra.topology.stacks import GONE, Case

CASES = [
    Case(
        "every_queue_has_a_consumer",
        "dev",
        {"workers.worker-recovery.queues": ["re-queue", "default"]},
        {"workers.worker-recovery.queues": ["default"]},
        "workers is consuming default, high_priority, low_priority, so nobody consumes re-queue; "
        "add re-queue to a pool's queues.",
    ),
    Case(
        "every_queue_has_a_consumer",
        "dev",
        {},
        {"workers.worker-high.queues": ["default"]},
        "so nobody consumes high_priority",
    ),
    Case(
        "a_pool_names_a_queue_once",
        "dev",
        {"workers.worker-high.queues": ["high_priority", "default", "low_priority"]},
        {"workers.worker-high.queues": ["high_priority", "default", "default"]},
        "workers.worker-high.queues is high_priority, default, default, which repeats a queue; "
        "write high_priority, default.",
    ),
    Case(
        "connections_cover_the_concurrency",
        "dev",
        {"workers.worker-high.connections": 24},
        {"workers.worker-high.connections": 23},
        "workers.worker-high.connections is 23, below 3 × concurrency (24); write 24 or more.",
    ),
    Case(
        "connections_fit_the_server",
        "dev",
        {"redis.maxclients": 213},
        {"redis.maxclients": 212},
        "redis.maxclients is 212, below the sum of all connections (213, 128 of them reserved); "
        "write 213 or more, or fewer workers.",
    ),
    Case(
        "connections_fit_the_server",
        "k8s",
        {"redis.maxclients": 288},
        {"redis.maxclients": 287},
        "(288, 128 of them reserved)",
    ),
    Case(
        "connections_fit_the_server", "bare", {"redis.maxclients": 288}, {"redis.maxclients": 287}, "write 288 or more"
    ),
    Case(
        "grace_outlasts_the_drain",
        "dev",
        {"workers.worker-high.grace": "60s", "drain": "30s"},
        {"workers.worker-high.grace": "59s", "drain": "30s"},
        "workers.worker-high.grace is 59s, too short for a drain of 30s and a pre_stop of 0s; write 60s or more.",
    ),
    Case(
        "grace_outlasts_the_drain",
        "k8s",
        {"workers.worker.pre_stop": "40s", "workers.worker.grace": "71s"},
        {"workers.worker.pre_stop": "40s", "workers.worker.grace": "70s"},
        "workers.worker.grace is 70s, too short for a drain of 30s and a pre_stop of 40s; write 71s or more.",
    ),
    Case(
        "workers_have_memory_to_start",
        "dev",
        {"workers.worker-high.memory": "320mb"},
        {"workers.worker-high.memory": "319mb"},
        "workers.worker-high.memory is 319mb, too little for 8 tasks at once; write 320mb or more.",
    ),
    Case(
        "workers_have_memory_to_start",
        "dev",
        {"workers.worker-high.memory": "96mb", "workers.worker-high.pool": "threads"},
        {"workers.worker-high.memory": "95mb", "workers.worker-high.pool": "threads"},
        "write 96mb or more",
    ),
    Case(
        "requests_stay_within_limits",
        "k8s",
        {"workers.worker.memory_request": "2gb"},
        {"workers.worker.memory_request": "3gb"},
        "workers.worker.memory_request is 3gb, above the limit (2gb); write 2gb or less.",
    ),
    Case(
        "requests_stay_within_limits",
        "k8s",
        {"resurrector.cpu_request": 0.5},
        {"resurrector.cpu_request": 0.6},
        "resurrector.cpu_request is 0.6, above cpus (0.5); write 0.5 or less.",
    ),
    Case(
        "a_solo_pool_runs_one_task",
        "dev",
        {"workers.worker-recovery.pool": "solo", "workers.worker-recovery.concurrency": 1},
        {"workers.worker-recovery.pool": "solo", "workers.worker-recovery.concurrency": 2},
        "workers.worker-recovery.concurrency is 2, but a solo pool runs one task; write 1.",
    ),
    Case(
        "one_resurrector_never_two",
        "k8s",
        {"resurrector.replicas": 1},
        {"resurrector.replicas": 2},
        "resurrector.replicas is 2, but exactly one is deployed; write 1.",
    ),
    Case("one_resurrector_never_two", "prod", {}, {"resurrector.replicas": 0}, "resurrector.replicas is 0"),
    Case(
        "one_resurrector_never_two",
        "k8s",
        {"resurrector.strategy": "recreate"},
        {"resurrector.strategy": "rolling"},
        "resurrector.strategy is rolling, so two would overlap in an update; write recreate.",
    ),
    Case(
        "the_dead_are_found_in_time",
        "dev",
        {"resurrector.interval": "9.9s"},
        {"resurrector.interval": "10s"},
        "resurrector.interval is 10s, not below resurrector.heartbeat_ttl (10s)",
    ),
    Case(
        "timeouts_are_in_order",
        "dev",
        {"timeouts.soft": "29.5s"},
        {"timeouts.soft": "30s"},
        "timeouts.soft is 30s, not below timeouts.hard (30s); write less than 30s.",
    ),
    Case(
        "timeouts_are_in_order",
        "dev",
        {"timeouts.longest": "30s"},
        {"timeouts.longest": "29s"},
        "timeouts.longest is 29s, below timeouts.hard (30s); write 30s or more.",
    ),
    Case(
        "timeouts_are_in_order",
        "dev",
        {"timeouts.longest": "110s"},
        {"timeouts.longest": "111s"},
        "timeouts.inflight is 120s, too short for a task of 111s; write 121s or more.",
    ),
    Case(
        "settings_take_whole_seconds",
        "dev",
        {"admission.window": "2s"},
        {"admission.window": "1.5s"},
        "admission.window is 1.5s, but must be whole seconds; write 2s.",
    ),
    Case(
        "no_task_outlives_its_message",
        "dev",
        {"timeouts.longest": "3599s", "timeouts.inflight": "2h"},
        {"timeouts.longest": "1h", "timeouts.inflight": "2h"},
        "timeouts.longest is 1h, not below the broker's visibility timeout (1h)",
    ),
    Case(
        "no_task_outlives_its_message",
        "dev",
        {"timeouts.hard": "59m", "timeouts.inflight": "2h"},
        {"timeouts.hard": "61m", "timeouts.inflight": "2h"},
        "timeouts.hard is 61m",
    ),
    Case(
        "limits_fit_the_host",
        "dev",
        {"host_memory": "5312mb"},
        {"host_memory": "5311mb"},
        "host_memory is 5311mb, below the sum of all limits (5312mb); write more, or lower the limits.",
    ),
    Case("limits_fit_the_host", "k8s", {}, {"host_memory": "100gb"}, "tier k8s may spread over hosts; remove it."),
    Case("limits_fit_the_host", "bare", {}, {"host_memory": "100gb"}, "tier bare may spread over hosts; remove it."),
    Case(
        "checkpoints_are_shared",
        "k8s",
        {"checkpoints.access": "rwx"},
        {"checkpoints.access": "rwo"},
        "checkpoints.access is rwo, but workers span 3 hosts; write rwx and a storage that many hosts write at once.",
    ),
    Case(
        "checkpoints_are_shared", "k8s", {"checkpoints.access": "rwo", "hosts": 1}, {"checkpoints.access": GONE}, "rwx"
    ),
    Case(
        "checkpoints_are_shared",
        "bare",
        {"checkpoints.backend": "inline"},
        {"checkpoints.backend": "filesystem"},
        "but workers span 2 hosts",
    ),
    Case(
        "one_engine_is_one_host", "prod", {"hosts": 1}, {"hosts": 2}, "hosts is 2, but tier prod is one Docker engine"
    ),
    Case("one_engine_is_one_host", "dev", {"hosts": 1}, {"hosts": 2}, "hosts is 2, but tier dev is one Docker engine"),
    Case(
        "a_host_runs_a_pool_once",
        "bare",
        {"workers.worker-high.replicas": 1},
        {"workers.worker-high.replicas": 2},
        "workers.worker-high.replicas is 2, but tier bare runs each pool once on every host",
    ),
    Case(
        "workloads_have_names_of_their_own",
        "dev",
        {"workers.extra": {"queues": ["default"]}},
        {"workers.backup": {"queues": ["default"]}},
        "workers.backup is a pool, but that name belongs to another service; write worker-backup.",
    ),
    Case(
        "workloads_have_names_of_their_own",
        "prod",
        {},
        {"workers.relier-sentinel-1": {"queues": ["default"]}},
        "workers.relier-sentinel-1 is a pool",
    ),
    Case("workloads_have_names_of_their_own", "dev", {}, {"workers.redis": {"queues": ["default"]}}, "worker-redis"),
    Case(
        "replicated_needs_a_replica",
        "dev",
        {"durability": "local"},
        {"durability": "replicated"},
        "durability is replicated, but redis.nodes has no replica; write local, or add a node and Sentinels.",
    ),
]
