"""What `pulumi up` runs. All of it is in `infra.pulumi.program`, where tests run it too."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Pulumi puts this folder first, where docker.py and kubernetes.py would hide packages of these names.
sys.path[:] = [str(HERE.parents[1]), *(path for path in sys.path if Path(path).resolve() != HERE)]

from infra.pulumi.program import main  # noqa: E402

main()
