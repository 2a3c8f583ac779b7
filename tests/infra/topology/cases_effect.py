"""Cases for the rule that nothing is said in vain."""

from __future__ import annotations

from tests.infra.topology.stacks import Case

WRITTEN: list[tuple[str, str, object, str]] = [
    ("app.image", "bare", "relier:1.0.0", "dev or prod or k8s"),
    ("app.package", "prod", "relier==1.0.0", "bare"),
    ("redis.managed", "prod", {"url": "rediss://r.example.org:6379/0"}, "k8s"),
    ("redis.image", "bare", "redis:8.0", "dev or prod or k8s"),
    ("redis.storage", "prod", "10gb", "k8s"),
    ("sentinel.image", "bare", "redis:8.0", "dev or prod or k8s"),
    ("workers.worker-high.pre_stop", "prod", "5s", "k8s"),
    ("workers.worker-high.memory_request", "bare", "256mb", "k8s"),
    ("workers.worker-high.cpu_request", "dev", 0.5, "k8s"),
    ("resurrector.memory_request", "dev", "128mb", "k8s"),
    ("resurrector.cpu_request", "prod", 0.1, "k8s"),
    ("checkpoints.size", "prod", "5gb", "k8s"),
    ("checkpoints.storage_class", "prod", "standard", "k8s"),
    ("backup.image", "bare", "relier-backup:1.0.0", "dev or prod or k8s"),
    ("backup.storage", "bare", "20gb", "k8s"),
    ("telemetry.collector", "k8s", "otel/opentelemetry-collector-contrib:0.120.0", "dev or prod"),
    ("telemetry.prometheus", "bare", "prom/prometheus:v2.53.3", "dev or prod"),
    ("telemetry.grafana", "k8s", "grafana/grafana:11.5.2", "dev or prod"),
    ("telemetry.redis_exporter", "bare", "oliver006/redis_exporter:v1.69.0", "dev or prod or k8s"),
]
CASES = [
    Case(
        "nothing_is_said_in_vain",
        tier,
        {},
        {path: value},
        f"{path} is {'given' if path == 'redis.managed' else value}, which tier {tier} would ignore; remove it; "
        f"it is for tier {where}.",
    )
    for path, tier, value, where in WRITTEN
]
