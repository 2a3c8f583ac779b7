"""`python -m tests.infra.conformance prod [--destructive]`: the suite on the backend where that tier runs.

TIER is dev, prod, k8s or bare, or a stack file. Anything else is handed to pytest, `--backend` included.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from infra.topology import Refused, read

HERE = Path(__file__).parent
BACKENDS = {"dev": "docker", "prod": "docker", "k8s": "kubectl", "bare": "ansible"}
QUIET = ("-p", "no:cacheprovider", "--timeout", "600", "--tb", "short", "-v", "-rfs")


def main(words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        print("conformance: say which tier: make conformance TIER=dev, prod, k8s or bare.", file=sys.stderr)
        return 2
    stack, *rest = words
    try:
        tier = read(stack).tier
    except (Refused, OSError) as reason:
        print(f"conformance: {reason}", file=sys.stderr)
        return 2
    named = any(word.partition("=")[0] == "--backend" for word in rest)
    backend = () if named else ("--backend", BACKENDS[tier])
    os.environ.setdefault("COLUMNS", "110")
    return int(pytest.main([str(HERE), "--stack", stack, *backend, *QUIET, *rest]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
