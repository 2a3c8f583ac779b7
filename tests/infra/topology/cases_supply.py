"""Cases for the rules of what comes from outside."""

from __future__ import annotations

from tests.infra.topology.stacks import GONE, Case

DIGEST = "@sha256:" + "0" * 64
OFFSITE = {"backup.image": "relier-backup:1.0.0", "secrets.offsite": "file:/s3"}

CASES = [
    Case(
        "images_stand_still",
        "prod",
        {"app.image": "registry:5000/shop:2.1"},
        {"app.image": "registry:5000/shop"},
        "app.image is registry:5000/shop, which floats; write a version, such as registry:5000/shop:1.2, or a digest.",
    ),
    Case(
        "images_stand_still",
        "dev",
        {"redis.image": "valkey/valkey:8.1"},
        {"redis.image": "redis:latest"},
        "such as redis:1.2, or a digest.",
    ),
    Case(
        "images_stand_still",
        "prod",
        {"backup.image": "relier-backup:1.0.0"},
        {"backup.image": "relier-backup:latest"},
        "backup.image is relier-backup:latest, which floats; write a version, such as relier-backup:1.2, or a digest.",
    ),
    Case(
        "images_stand_still",
        "prod",
        {"sentinel.image": "redis:8.0" + DIGEST},
        {"sentinel.image": "redis:8.0" + DIGEST[:-1]},
        "whose digest is not sha256: and 64 hex digits",
    ),
    Case(
        "images_stand_still",
        "k8s",
        {
            "require_digests": True,
            **{
                f"{path}": f"x:1{DIGEST}"
                for path in ("app.image", "redis.image", "sentinel.image", "telemetry.redis_exporter")
            },
        },
        {"require_digests": True, **{f"{p}": f"x:1{DIGEST}" for p in ("redis.image", "sentinel.image")}},
        "app.image is relier:1.0.0, but require_digests is true; write relier:1.0.0@sha256:….",
    ),
    Case("the_app_comes_as_its_tier_takes_it", "prod", {}, {"app.image": GONE}, "app.image is missing, but tier prod"),
    Case(
        "the_app_comes_as_its_tier_takes_it", "bare", {}, {"app.package": GONE}, "app.package is missing, but tier bare"
    ),
    Case(
        "the_app_comes_as_its_tier_takes_it",
        "bare",
        {"app.package": "git+https://example.org/shop.git@v2"},
        {"app.package": "relier"},
        "app.package is relier, which floats; write a version, such as relier==1.0.0.",
    ),
    Case(
        "the_app_comes_as_its_tier_takes_it",
        "dev",
        {"app.bind_source": True},
        {"app.bind_source": True, "tier": "prod"},
        "app.bind_source is true, but tier prod mounts no source; write false.",
    ),
    Case(
        "secrets_are_where_the_tier_can_read_them",
        "k8s",
        {"secrets.redis": "k8s:a/b"},
        {"secrets.redis": "env:REDIS_PASSWORD"},
        "secrets.redis is env:REDIS_PASSWORD, which tier k8s cannot read; write k8s:secret/key.",
    ),
    Case(
        "secrets_are_where_the_tier_can_read_them",
        "prod",
        {"secrets.redis": "file:/etc/relier/redis.password"},
        {"secrets.redis": "vault:x"},
        "write env:NAME or file:/path.",
    ),
    Case(
        "the_secrets_that_are_needed_are_named",
        "prod",
        {},
        {"secrets.redis": GONE},
        "secrets.redis is missing, but redis.acl is true; write a reference such as env:NAME.",
    ),
    Case("the_secrets_that_are_needed_are_named", "bare", {}, {"secrets.sentinel": GONE}, "such as file:/path."),
    Case(
        "the_secrets_that_are_needed_are_named",
        "prod",
        {},
        {"secrets.grafana": GONE},
        "Grafana gets no default password",
    ),
    Case(
        "the_secrets_that_are_needed_are_named",
        "prod",
        {"backup.offsite.bucket": "s3://b/p", **OFFSITE},
        {"backup.offsite.bucket": "s3://b/p", "backup.image": "relier-backup:1.0.0"},
        "secrets.offsite is missing, but backup.offsite needs credentials",
    ),
    Case(
        "redis_is_locked_outside_dev",
        "dev",
        {"redis.acl": False},
        {"redis.acl": False, "tier": "prod"},
        "redis.acl is false, but Redis of tier prod has users; write true and secrets.redis.",
    ),
    Case(
        "redis_is_locked_outside_dev",
        "prod",
        {},
        {"telemetry.anonymous": True},
        "telemetry.anonymous is true, but tier prod",
    ),
    Case(
        "ports_stay_on_the_loopback",
        "dev",
        {"redis.publish": ["127.0.0.2:7000"]},
        {"redis.publish": ["0.0.0.0:6379"]},
        "redis.publish is 0.0.0.0:6379, which is not the loopback; write 127.0.0.1:6379.",
    ),
    Case(
        "ports_stay_on_the_loopback",
        "prod",
        {"telemetry.publish_grafana": "10.0.0.5:3000", "public": ["grafana"]},
        {"telemetry.publish_grafana": "10.0.0.5:3000", "public": ["prometheus"]},
        "telemetry.publish_grafana is 10.0.0.5:3000, which is not the loopback; "
        "write 127.0.0.1:3000, or name grafana in public.",
    ),
    Case(
        "ports_stay_on_the_loopback",
        "dev",
        {"redis.publish": ["[::1]:65535"]},
        {"redis.publish": ["[::1]:65536"]},
        "1 to 65535",
    ),
    Case(
        "ports_stay_on_the_loopback",
        "prod",
        {"sentinel.publish": ["127.0.0.1:26379"]},
        {"sentinel.publish": ["127.0.0.1:00"]},
        "whose port does not exist",
    ),
    Case("ports_stay_on_the_loopback", "k8s", {}, {"redis.publish": ["127.0.0.1:6379"]}, "tier k8s publishes nothing"),
    Case(
        "published_ports_are_used_once",
        "dev",
        {"telemetry.publish_prometheus": "127.0.0.1:3001"},
        {"telemetry.publish_prometheus": "127.0.0.1:3000"},
        "telemetry.publish_grafana is 127.0.0.1:3000, which telemetry.publish_prometheus publishes already",
    ),
    Case(
        "published_ports_are_used_once",
        "dev",
        {"redis.publish": ["127.0.0.1:7000"]},
        {"redis.publish": ["127.0.0.1:7000", "127.0.0.1:7001"]},
        "redis.publish is 2 ports, but there are 1 nodes",
    ),
    Case(
        "published_ports_are_used_once",
        "prod",
        {"sentinel.publish": [f"127.0.0.1:700{n}" for n in range(3)]},
        {"sentinel.publish": [f"127.0.0.1:700{n}" for n in range(4)]},
        "sentinel.publish is 4 ports",
    ),
    Case(
        "telemetry_has_somewhere_to_go",
        "k8s",
        {"telemetry.enabled": False, "telemetry.endpoint": GONE},
        {"telemetry.endpoint": GONE},
        "telemetry.endpoint is missing, but telemetry.enabled is true; write one, or name telemetry.collector.",
    ),
    Case(
        "telemetry_has_somewhere_to_go",
        "k8s",
        {"telemetry.endpoint": "https://otel.example.org:4317"},
        {"telemetry.endpoint": "https://user:hunter2@otel:4317"},
        "telemetry.endpoint is https://…@otel:4317, no OTLP address; write http://host:4317.",
    ),
    Case(
        "telemetry_has_somewhere_to_go",
        "prod",
        {"telemetry.grafana": GONE, "telemetry.publish_grafana": GONE},
        {"telemetry.prometheus": GONE, "telemetry.publish_prometheus": GONE},
        "telemetry.prometheus is missing, but telemetry.grafana needs it; name its image, or remove grafana.",
    ),
    Case(
        "telemetry_has_somewhere_to_go", "prod", {}, {"telemetry.grafana": GONE}, "telemetry.publish_grafana needs it"
    ),
    Case(
        "a_second_password_has_a_server_that_takes_it",
        "k8s",
        {"secrets.redis_second": "k8s:a/second", "secrets.sentinel_second": "k8s:a/other"},
        {"secrets.sentinel_second": "k8s:a/other", "sentinel": GONE, "redis.nodes": ["redis-0"]}
        | {"redis.min_replicas_to_write": 0, "durability": "local"},
        "secrets.sentinel_second is k8s:a/other, which nobody here takes; remove it.",
    ),
    Case(
        "a_second_password_has_a_server_that_takes_it",
        "prod",
        {},
        {"secrets.redis_second": "env:SECOND"},
        "secrets.redis_second is env:SECOND, which tier prod does not take; remove it.",
    ),
    Case(
        "offsite_names_no_credentials",
        "prod",
        {"backup.offsite.bucket": "s3://b", **OFFSITE},
        {"backup.offsite.bucket": "https://key:hunter2@s3", **OFFSITE},
        "backup.offsite.bucket is https://…@s3, no bucket; write s3://bucket/prefix.",
    ),
    Case(
        "offsite_names_no_credentials",
        "prod",
        {"backup.offsite": {"bucket": "s3://b", "endpoint": "https://s3:9000"}, **OFFSITE},
        {"backup.offsite": {"bucket": "s3://b", "endpoint": "https://k:hunter2@s3"}, **OFFSITE},
        "backup.offsite.endpoint is https://…@s3, no address; write https://host.",
    ),
    Case(
        "offsite_has_a_client",
        "prod",
        {"backup.offsite.bucket": "s3://b", **OFFSITE},
        {"backup.offsite.bucket": "s3://b", "secrets.offsite": "file:/s3"},
        "backup.image is missing, but for backup.offsite the Redis image has no S3 client; "
        "write one with aws or rclone, such as relier-backup:1.0.0.",
    ),
    Case(
        "offsite_has_a_client",
        "bare",  # where the host's own client is taken
        {"backup.offsite.bucket": "s3://b", "secrets.offsite": "file:/s3"},
        {"tier": "k8s", "backup.offsite.bucket": "s3://b"},
        "backup.image is missing",
    ),
    Case(
        "variables_are_settings",
        "dev",
        {"env.RELIER_MAX_RESURRECTIONS": "7"},
        {"env.RELIER_MAX_RESSURECTIONS": "7"},
        "env.RELIER_MAX_RESSURECTIONS is no setting of Relier; write RELIER_MAX_RESURRECTIONS.",
    ),
    Case(
        "variables_hold_no_secrets",
        "dev",
        {"env.STRIPE_API_KEY_FILE": "/run/secrets/stripe"},
        {"env.STRIPE_API_KEY": "hunter2"},
        "env.STRIPE_API_KEY may hold a secret's value; write STRIPE_API_KEY_FILE: /path/of/a/file instead.",
    ),
    Case(
        "variables_hold_no_secrets",
        "dev",
        {"env.DATABASE": "postgresql://db/shop"},
        {"env.DATABASE": "postgresql://shop:hunter2@db/shop"},
        "env.DATABASE may hold a secret's value",
    ),
    Case("variables_hold_no_secrets", "dev", {}, {"env.DB_PASSWORD_FILE": "hunter2"}, "env.DB_PASSWORD_FILE may hold"),
    Case(
        "variables_do_not_contradict_the_topology",
        "dev",
        {"env.RELIER_PUSH_RETRY_WINDOW": "20"},
        {"env.RELIER_REDIS_URL": "redis://elsewhere:6379/0"},
        "env.RELIER_REDIS_URL is decided by the topology; write redis.nodes instead.",
    ),
    Case(
        "variables_do_not_contradict_the_topology",
        "dev",
        {},
        {"env.RELIER_REDIS_PASSWORD": "hunter2"},
        "env.RELIER_REDIS_PASSWORD is decided by the topology; write secrets.redis instead.",
    ),
    Case(
        "variables_have_values_that_parse",
        "dev",
        {"env.RELIER_RESURRECTION_BATCH_SIZE": "1"},
        {"env.RELIER_RESURRECTION_BATCH_SIZE": "0"},
        "env.RELIER_RESURRECTION_BATCH_SIZE is '0', which Relier refuses; "
        "write one that fits (input should be greater than 0).",
    ),
    Case("variables_have_values_that_parse", "dev", {}, {"env.RELIER_ACCEPT_UNSIGNED": "perhaps"}, "valid boolean"),
    Case(
        "public_services_exist",
        "dev",
        {"public": ["grafana"]},
        {"public": ["grafana"], "telemetry.publish_grafana": GONE},
        "public is grafana, which publishes no port; remove it, or write telemetry.publish_grafana.",
    ),
]
