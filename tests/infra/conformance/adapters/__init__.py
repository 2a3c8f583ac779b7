"""One small class a backend. `base.Adapter` says what the tests ask of it."""

from __future__ import annotations

from typing import Any

from infra.topology import Plan
from tests.infra.conformance.adapters.base import Adapter


def adapter(backend: str) -> Any:
    """A callable that makes one from the plan and the command line's options."""

    def make(plan: Plan, **options: Any) -> Adapter:
        if backend == "docker":
            from tests.infra.conformance.adapters.docker import Docker

            return Docker(plan, options["project"] or f"{plan.name}-{plan.tier}")
        if backend == "kubectl":
            from tests.infra.conformance.adapters.kubectl import Kubectl

            return Kubectl(plan, options["namespace"] or plan.name)
        from tests.infra.conformance.adapters.ansible import Hosts

        return Hosts(plan, options["inventory"] or [])

    return make
