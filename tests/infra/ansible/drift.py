"""What people and accidents change on hosts, and the task of site.yml that must say so."""

from __future__ import annotations

from typing import NamedTuple

from tests.infra.ansible.tier import Tier


class Kind(NamedTuple):
    """One change made behind Ansible's back."""

    host: str
    harm: str
    task: str


def without_handlers(changed: list[str]) -> list[str]:
    """A restart follows from what was found; it is no finding."""
    return [row for row in changed if not row.partition(": ")[2].split(" : ")[-1].startswith(("Restart", "Reload"))]


def kinds(tier: Tier) -> list[Kind]:
    """At least fifteen, spread over the groups, each seen by one task."""
    one, two, three = tier.groups["redis"]
    worker, other = tier.groups["workers"]
    backup = tier.groups["backup"][0]
    ask = "/usr/lib/relier/ask"
    return [
        Kind(one, "echo vm.overcommit_memory=0 >/etc/sysctl.d/60-relier.conf", "kernel : Write the kernel's settings"),
        Kind(one, "echo '# by hand' >>/etc/relier/redis.env", "redis : Write its environment"),
        Kind(two, "echo maxmemory 1mb >>/etc/relier/overlay.conf", "redis : Write what this tier adds to redis.conf"),
        Kind(
            two,
            "echo '# by hand' >>/etc/systemd/system/redis-server.service.d/relier.conf",
            "redis : Extend Debian's unit",
        ),
        Kind(
            three, f"{ask} redis config set maxmemory 1gb", "redis : Hold the running Redis to its users and settings"
        ),
        Kind(two, f"{ask} redis acl setuser app +@admin", "redis : Hold the running Redis to its users and settings"),
        Kind(one, "echo '# by hand' >>/etc/relier/entrypoint", "common : Copy the scripts of Redis"),
        Kind(one, "chmod 0644 /etc/relier/credentials/redis/redis", "common : Write the credentials"),
        Kind(
            two,
            f"{ask} sentinel sentinel set relier-master quorum 1",
            "sentinel : Hold the running Sentinel to its settings",
        ),
        Kind(
            three,
            "echo '# by hand' >>/etc/systemd/system/redis-sentinel.service.d/relier.conf",
            "sentinel : Extend Debian's unit",
        ),
        Kind(
            worker,
            "echo RELIER_HEARTBEAT_TTL=99 >>/etc/relier/relier.env",
            "app : Write the settings that all processes share",
        ),
        Kind(other, "echo '# by hand' >>/usr/local/bin/relier-run", "app : Install rl and relier-run"),
        Kind(
            other,
            "systemctl stop relier-worker-recovery",
            "worker : Start the workers at boot, and now those that do not run",
        ),
        Kind(
            other,
            "echo '# by hand' >>/etc/systemd/system/relier-worker-high.service",
            "worker : Write a unit for each pool",
        ),
        Kind(other, "echo leaked >/etc/relier/credentials/worker/redis", "common : Write the credentials"),
        Kind(
            worker, "echo '# by hand' >>/etc/systemd/system/relier-resurrector.service", "resurrector : Write its unit"
        ),
        Kind(backup, "echo '# by hand' >>/etc/systemd/system/relier-backup.timer", "common : Write its timer"),
        Kind(backup, "systemctl disable --now relier-drill.timer", "common : Start its timer, now and at boot"),
        Kind(backup, "chmod 0777 /var/backups/relier", "backup : Make the folders of backups and metrics"),
    ]
