"""`python -m tests.infra.conformance prod [--destructive]`: the suite on the backend where that tier runs.

TIER is dev, prod, k8s or bare, or a stack file; `--overrides FILE` is merged into it. Anything else is handed to
pytest, `--backend` included. On Docker, COMPOSE_PROJECT_NAME and DATA_SUBNET mean what they mean to `make prod`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import pytest

from infra.pulumi.settings import merged, numbers
from infra.topology import Refused, load, read, yamlio
from infra.topology.load import refuse

HERE = Path(__file__).parent
BACKENDS = {"dev": "docker", "prod": "docker", "k8s": "kubectl", "bare": "ansible"}
QUIET = ("-p", "no:cacheprovider", "--timeout", "600", "--tb", "short", "-v", "-rfs")


def main(words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        print("conformance: say which tier: make conformance TIER=dev, prod, k8s or bare.", file=sys.stderr)
        return 2
    stack, *rest = words
    try:
        stack, rest = overridden(stack, rest)
        tier = read(stack).tier
    except (Refused, OSError) as reason:
        print(f"conformance: {reason}", file=sys.stderr)
        return 2
    os.environ.setdefault("COLUMNS", "110")
    return int(pytest.main([str(HERE), "--stack", stack, *_place(tier, rest), *QUIET, *rest]))


def _place(tier: str, words: list[str]) -> Iterator[str]:
    """Where the tier is found, unless the caller says it."""
    said = {word.partition("=")[0] for word in words}
    if "--backend" not in said:
        yield f"--backend={BACKENDS[tier]}"
    if "--project" not in said and (project := os.environ.get("COMPOSE_PROJECT_NAME")):
        yield f"--project={project}"


def overridden(stack: str, words: list[str]) -> tuple[str, list[str]]:
    """The stack with what it was stood up with beside it, as a file of its own."""
    changes, rest = [], words
    if "--overrides" in words:
        place = words.index("--overrides")
        over, rest = words[place + 1 : place + 2], words[:place] + words[place + 2 :]
        if not over or not Path(over[0]).is_file():
            raise refuse("overrides", f"--overrides {''.join(over)} is no file; name a YAML or JSON file.")
        changes.append(numbers(load.parse(Path(over[0]))))
    if (network := os.environ.get("DATA_SUBNET")) and read(stack).subnet:
        changes.append({"subnet": f"{network}.0/24"})
    if not changes:
        return stack, words
    path = Path(tempfile.mkdtemp(prefix="conformance-")) / Path(stack).with_suffix(".yaml").name
    path.write_text(yamlio.dumps(reduce(merged, changes, load.parse(load.find(stack)))))
    return str(path), rest


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
