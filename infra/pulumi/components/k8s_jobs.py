"""Backup and rehearsal: CronJobs that never overlap themselves."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.batch.v1 import (
    CronJob,
    CronJobSpecArgs,
    JobSpecArgs,
    JobTemplateSpecArgs,
    PodFailurePolicyArgs,
    PodFailurePolicyOnExitCodesRequirementArgs,
    PodFailurePolicyOnPodConditionsPatternArgs,
    PodFailurePolicyRuleArgs,
)
from pulumi_kubernetes.core.v1 import PodTemplateSpecArgs

from infra.pulumi.components import k8s_files as files
from infra.pulumi.components.k8s_base import Foundation
from infra.pulumi.components.k8s_pod import checksummed, template
from infra.pulumi.components.k8s_scope import Component, Scope, seconds
from infra.topology.workload import Workload

MINUTE, HOUR, DAY, WEEK = 60, 3600, 86_400, 604_800
#: Minute and hour of what runs less often: the rehearsal comes after a backup.
OFFSETS = {"backup": (7, 1), "drill": (37, 3)}
RETRIES = 2
LATE = 600
#: How a backup ends that was made but has no copy elsewhere: another try would store the whole of it once more.
NOT_AGAIN = [3]


class Timed(Component):
    """A job by the clock."""

    def __init__(
        self,
        name: str,
        *,
        scope: Scope,
        workload: Workload,
        foundation: Foundation,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("Timed", name, after=[foundation], opts=opts)
        self.files = files.config_map(scope, workload, self.child())
        secrets = foundation.checksum(mount.reference for mount in workload.secrets)
        sums = checksummed(files=files.checksum(scope, workload), secrets=secrets)
        pods = template(scope, workload, sums, restart="Never")
        self.job = CronJob(
            workload.name,
            metadata=scope.meta(workload.name),
            spec=self._spec(workload, pods),
            opts=self.child(self.files),
        )
        self.register_outputs({"name": workload.name})

    @staticmethod
    def _spec(workload: Workload, pods: PodTemplateSpecArgs) -> CronJobSpecArgs:
        """One that hangs, or finds no place, ends when the next one is due: it would keep all others away."""
        every = seconds(workload.schedule or 0)
        job = JobSpecArgs(
            backoff_limit=RETRIES, active_deadline_seconds=every, pod_failure_policy=failures(), template=pods
        )
        return CronJobSpecArgs(
            schedule=cron(workload.kind, every) or "",
            concurrency_policy="Forbid",
            starting_deadline_seconds=min(LATE, every),
            successful_jobs_history_limit=3,
            failed_jobs_history_limit=3,
            job_template=JobTemplateSpecArgs(spec=job),
        )


def failures() -> PodFailurePolicyArgs:
    """Which ends are final, and which are nobody's fault: a pod that a drained node took along costs no try."""
    codes = PodFailurePolicyOnExitCodesRequirementArgs(operator="In", values=NOT_AGAIN)
    moved = PodFailurePolicyOnPodConditionsPatternArgs(type="DisruptionTarget", status="True")
    return PodFailurePolicyArgs(
        rules=[
            PodFailurePolicyRuleArgs(action="FailJob", on_exit_codes=codes),
            PodFailurePolicyRuleArgs(action="Ignore", on_pod_conditions=[moved]),
        ]
    )


def cron(kind: str, every: int) -> str | None:
    """A span as cron says it, or nothing where cron cannot: it knows parts of an hour, of a day, a day and a week."""
    minute, hour = OFFSETS.get(kind, (0, 0))
    if every == WEEK:
        return f"{minute} {hour} * * 0"
    if every == DAY:
        return f"{minute} {hour} * * *"
    if every == HOUR:
        return f"{minute} * * * *"
    if every > HOUR and every % HOUR == 0 and DAY % every == 0:
        return f"{minute} */{every // HOUR} * * *"
    if every < HOUR and every % MINUTE == 0 and HOUR % every == 0:
        return f"*/{every // MINUTE} * * * *"
    return None
