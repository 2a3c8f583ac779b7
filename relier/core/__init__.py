"""The old paths `relier.core.<module>`: the modules live one level up now."""

import sys
from importlib import import_module

for _name in ("checkpoint", "dlq", "idempotency", "schema", "slo"):
    sys.modules[f"{__name__}.{_name}"] = import_module(f"relier.{_name}")
