"""Who consumes what: as the workers registered themselves, and as they answer Celery."""

from __future__ import annotations

import json

from relier.cli import fleet
from relier.tasks.app import app


def main() -> None:
    inspect = app.control.inspect(timeout=4)
    consumed = inspect.active_queues() or {}
    registered = [row.as_dict() for row in fleet.workers()]
    sizes = {row["node"]: row["concurrency"] for row in registered}
    told = {
        node: {"size": sizes.get(node), "queues": sorted(queue["name"] for queue in queues)}
        for node, queues in consumed.items()
    }
    stats = sorted(inspect.stats() or {})
    print(json.dumps({"registered": registered, "answering": told, "stats": stats}))


main()
