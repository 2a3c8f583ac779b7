"""Cases for the rules of Redis and Sentinel."""

from __future__ import annotations

from tests.infra.topology.stacks import GONE, Case

THREE_BACKUPS = {"backup.every": "1h", "backup.keep": "1h", "backup.alert_after": "61m"}
NO_SENTINEL = {"sentinel": GONE, "redis.nodes": ["r-0"], "redis.min_replicas_to_write": GONE, "durability": GONE}

CASES = [
    Case(
        "maxmemory_leaves_room_for_a_fork",
        "dev",
        {"redis.memory": "1gb", "redis.maxmemory": "512mb"},
        {"redis.memory": "1gb", "redis.maxmemory": "513mb"},
        "redis.maxmemory is 513mb, more than half of redis.memory (1gb); write 512mb or less.",
    ),
    Case(
        "acknowledged_writes_reach_the_disk",
        "dev",
        {"redis.persistence.appendonly": True},
        {"redis.persistence.appendonly": False},
        "redis.persistence.appendonly is false, so a restart loses acknowledged tasks; write true.",
    ),
    Case(
        "acknowledged_writes_reach_the_disk",
        "dev",
        {"redis.persistence.appendfsync": "always"},
        {"redis.persistence.appendfsync": "no"},
        "redis.persistence.appendfsync is no, so a crash loses many seconds; write everysec or always.",
    ),
    Case(
        "acknowledged_writes_reach_the_disk",
        "dev",
        {"redis.persistence.no_appendfsync_on_rewrite": False},
        {"redis.persistence.no_appendfsync_on_rewrite": True},
        "redis.persistence.no_appendfsync_on_rewrite is true",
    ),
    Case(
        "backups_have_snapshots",
        "dev",
        {"redis.persistence.snapshots": [[3600, 1]]},
        {"redis.persistence.snapshots": []},
        "redis.persistence.snapshots is empty",
    ),
    Case(
        "nodes_keep_their_addresses",
        "prod",
        {"subnet": "10.9.8.0/24"},
        {"subnet": GONE},
        "subnet is missing, but Sentinels need addresses that outlive a node; write a private one such as 10.87.30.0/",
    ),
    Case(
        "nodes_keep_their_addresses",
        "prod",
        {},
        {"subnet": "8.8.8.0/24"},
        "subnet is 8.8.8.0/24, which is not private; write a private one such as 10.87.30.0/24.",
    ),
    Case("nodes_keep_their_addresses", "prod", {}, {"subnet": "10.900.8.0/24"}, "which is not private"),
    Case(
        "nodes_keep_their_addresses",
        "dev",
        {},
        {"subnet": "10.9.8.0/24"},
        "subnet is 10.9.8.0/24, but nothing here needs fixed addresses; remove it.",
    ),
    Case(
        "nodes_keep_their_addresses", "k8s", {}, {"subnet": "10.9.8.0/24"}, "but tier k8s gives no addresses; remove it"
    ),
    Case(
        "sentinels_are_an_odd_number",
        "prod",
        {"sentinel.nodes": ["s-1", "s-2", "s-3"]},
        {"sentinel.nodes": ["s-1", "s-2", "s-3", "s-4"], "sentinel.quorum": 3},
        "sentinel.nodes is 4 names, but an election takes an odd number, 3 or more; name 5.",
    ),
    Case(
        "sentinels_are_an_odd_number",
        "prod",
        {},
        {"sentinel.nodes": ["s-1"], "sentinel.quorum": 1},
        "sentinel.nodes is 1 names, but an election takes an odd number, 3 or more; name 3.",
    ),
    Case(
        "the_quorum_is_a_majority",
        "prod",
        {"sentinel.quorum": 2},
        {"sentinel.quorum": 1},
        "sentinel.quorum is 1, but 3 Sentinels have a majority of 2; write 2, or leave it out.",
    ),
    Case("the_quorum_is_a_majority", "prod", {"sentinel.quorum": 3}, {"sentinel.quorum": 4}, "sentinel.quorum is 4"),
    Case(
        "sentinels_have_someone_to_promote",
        "k8s",
        NO_SENTINEL,
        {"redis.nodes": ["relier-redis-0"], "redis.min_replicas_to_write": GONE, "durability": GONE},
        "redis.nodes is one name, so Sentinel has no replica to promote; name 2 or more.",
    ),
    Case(
        "sentinels_have_someone_to_promote",
        "k8s",
        {"redis.nodes": ["r-0", "r-1"]},
        {"sentinel": GONE},
        "redis.nodes is 3 names, but without Sentinels nobody promotes a replica; add sentinel, or name 1.",
    ),
    Case(
        "writes_wait_for_replicas",
        "prod",
        {"redis.min_replicas_to_write": 2},
        {"redis.min_replicas_to_write": 3},
        "redis.min_replicas_to_write is 3, but there are 2 replicas, so every write would be refused; write 1.",
    ),
    Case(
        "writes_wait_for_replicas",
        "prod",
        {"redis.min_replicas_to_write": 1},
        {"redis.min_replicas_to_write": 0},
        "redis.min_replicas_to_write is 0, so a cut-off master takes writes that a failover loses; write 1.",
    ),
    Case(
        "writes_wait_for_replicas",
        "dev",
        {"redis.min_replicas_to_write": 0},
        {"redis.min_replicas_to_write": 1},
        "write 0",
    ),
    Case(
        "a_failover_is_quicker_than_a_false_death",
        "prod",
        {"sentinel.down_after": "9.9s"},
        {"sentinel.down_after": "10s"},
        "sentinel.down_after is 10s, not below resurrector.heartbeat_ttl (10s); write less than 10s, such as 5s.",
    ),
    Case(
        "a_failover_is_quicker_than_a_false_death",
        "prod",
        {"sentinel.failover_timeout": "5s"},
        {"sentinel.failover_timeout": "4s"},
        "sentinel.failover_timeout is 4s, below sentinel.down_after (5s)",
    ),
    Case(
        "sentinel_takes_whole_milliseconds",
        "prod",
        {"sentinel.down_after": "1005ms"},
        {"sentinel.down_after": "0.5ms"},
        "sentinel.down_after is 0.5ms, but must be whole milliseconds; write 1ms.",
    ),
    Case(
        "sentinel_takes_whole_milliseconds",
        "bare",
        {"sentinel.failover_timeout": "15.001s"},
        {"sentinel.failover_timeout": "15.0005s"},
        "sentinel.failover_timeout is 15000.5ms, but must be whole milliseconds; write 15001ms.",
    ),
    Case("production_survives_a_node", "k8s", NO_SENTINEL, {"tier": "prod", **NO_SENTINEL}, "sentinel is missing, but"),
    Case(
        "production_has_backups",
        "k8s",
        {"backup": GONE, "drill": GONE},
        {"tier": "prod", "drill": GONE},
        "drill is missing",
    ),
    Case(
        "production_has_backups",
        "prod",
        {"backup": {}},
        {"backup": GONE},
        "backup is missing, but tier prod must be able to restore; write backup: {} for the defaults.",
    ),
    Case(
        "backups_add_up",
        "prod",
        THREE_BACKUPS,
        {**THREE_BACKUPS, "backup.keep": "59m"},
        "backup.keep is 59m, below backup.every (1h)",
    ),
    Case(
        "backups_add_up",
        "prod",
        THREE_BACKUPS,
        {**THREE_BACKUPS, "backup.alert_after": "1h"},
        "backup.alert_after is 1h, not above backup.every (1h), so it would always alarm; write 2h.",
    ),
    Case(
        "a_drill_has_a_backup_and_room", "k8s", {"drill": GONE, "backup": GONE}, {"backup": GONE}, "backup is missing"
    ),
    Case(
        "a_drill_has_a_backup_and_room",
        "prod",
        {"drill.memory": "3gb"},
        {"drill.memory": "3071mb"},
        "drill.memory is 3071mb, below 1.5 × redis.maxmemory (2gb), so a full backup does not load; "
        "write 3gb or more, or leave it out.",
    ),
    Case(
        "a_backup_has_room_for_its_check",
        "k8s",
        {"backup.memory": "2gb"},
        {"backup.memory": "2047mb"},
        "backup.memory is 2047mb, below redis.maxmemory (2gb), and the check loads each key whole; "
        "write 2gb or more, or leave it out.",
    ),
    Case(
        "a_backup_has_room_for_its_check",
        "prod",
        {"redis.maxmemory": "1gb", "backup.memory": "1gb"},
        {"backup.memory": "128mb"},
        "backup.memory is 128mb, below redis.maxmemory (2gb)",
    ),
    Case(
        "node_names_are_names_of_their_own",
        "prod",
        {"redis.nodes": ["r-1", "r-2"]},
        {"redis.nodes": ["r-1", "r-1"]},
        "redis.nodes is naming r-1 twice, but each node is one; give every node a name of its own.",
    ),
    Case(
        "node_names_are_names_of_their_own",
        "bare",
        {"sentinel.nodes": ["redis-1", "redis-2", "redis-3"]},
        {"sentinel.nodes": ["redis-1", "redis-2", "redis-2"]},
        "sentinel.nodes is naming redis-2 twice",
    ),
    Case(
        "node_names_are_names_of_their_own",
        "prod",
        {},
        {"sentinel.nodes": ["s-1", "s-2", "relier-redis-master"]},
        "sentinel.nodes is naming relier-redis-master, which redis.nodes names too",
    ),
    Case(
        "pods_are_numbered_from_zero",
        "k8s",
        {"redis.nodes": ["r-0", "r-1"]},
        {"redis.nodes": ["r-1", "r-2"]},
        "redis.nodes is r-1, r-2, but pods are numbered from 0; write r-1-0, r-1-1.",
    ),
    Case("pods_are_numbered_from_zero", "k8s", {}, {"sentinel.nodes": ["s-0", "s-2", "s-1"]}, "write s-0, s-1, s-2."),
    Case(
        "ports_do_not_collide",
        "bare",
        {"sentinel.port": 6380},
        {"sentinel.port": 6379},
        "sentinel.port is 6379, which is redis.port too; write 26379.",
    ),
]
