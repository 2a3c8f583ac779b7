"""A Compose file as Compose understands it: anchors merged, variables filled in, short forms written out.

Both a file read here and the output of `docker compose config --format json` come out in the same form.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
KIT = ROOT / "infra" / "compose"
FILES = {"dev": KIT / "docker-compose.yml", "prod": KIT / "docker-compose.prod.yml"}
SECRETS = ("REDIS_PASSWORD", "SENTINEL_PASSWORD", "GRAFANA_ADMIN_PASSWORD", "REDIS_EXPORTER_PASSWORD")
GIVEN = {f"{name}_FILE": f"/given/{name}" for name in SECRETS}
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")
UNITS = {"": 1, "b": 1, "k": 1024, "kb": 1024, "m": 1024**2, "mb": 1024**2, "g": 1024**3, "gb": 1024**3}
SPANS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def read(tier: str) -> dict[str, Any]:
    """The file of a tier with merged anchors; nothing in it is shared, so one value can be changed alone."""
    content: dict[str, Any] = json.loads(json.dumps(yaml.safe_load(FILES[tier].read_text())))
    return content


def form(content: Mapping[str, Any], given: Mapping[str, str] = GIVEN) -> dict[str, Any]:
    """The comparable form of a whole file."""
    filled = fill(content, given)
    sources = {name: entry.get("file") for name, entry in filled.get("secrets", {}).items()}
    services = {name: service(entry, sources) for name, entry in filled["services"].items()}
    parts = {part: _tidy(filled, part) for part in ("networks", "volumes", "secrets")}
    rest = {key: value for key, value in filled.items() if key not in {"services", *parts} and key[:2] != "x-"}
    return {**rest, **parts, "services": services}


def docker_compose() -> bool:
    """Is there a `docker compose` here? It needs no engine to resolve a file."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


def composed(tier: str, file: Path | None = None) -> dict[str, Any]:
    """The same form of what Compose itself makes of the file."""
    argv = ["docker", "compose", "-f", str(file or FILES[tier]), "--profile", "*", "config", "--format", "json"]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **GIVEN}
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=env)
    content = json.loads(done.stdout)
    for part in ("networks", "volumes", "secrets"):
        for name, entry in content.get(part, {}).items():
            assert entry.pop("name") == f"{content['name']}_{name}"
            entry if entry.get("ipam") else entry.pop("ipam", None)
    return form(content, {})


def fill(value: Any, given: Mapping[str, str]) -> Any:
    """Compose's interpolation: `${NAME}`, `${NAME:-default}`, `${NAME:?sentence}` and `$$`."""
    if isinstance(value, Mapping):
        return {key: fill(entry, given) for key, entry in value.items()}
    if isinstance(value, list):
        return [fill(entry, given) for entry in value]
    return VARIABLE.sub(lambda match: _variable(match, given), value) if isinstance(value, str) else value


def _variable(match: re.Match[str], given: Mapping[str, str]) -> str:
    dollar, name, kind, text = match.groups()
    if dollar:
        return "$"
    if given.get(name):
        return given[name]
    if kind == "?":
        raise ValueError(f"{name}: {text}")
    return text or ""


def _tidy(content: Mapping[str, Any], part: str) -> dict[str, Any]:
    return {name: entry or {} for name, entry in (content.get(part) or {}).items()}


def service(entry: Mapping[str, Any], sources: Mapping[str, Any]) -> dict[str, Any]:
    """One service. A key that is not known here stays as it is: nobody planned it."""
    entry = {key: value for key, value in entry.items() if value is not None}
    argv = [*entry.pop("entrypoint", []), *entry.pop("command", [])]
    made = {key: FORMS.get(key, _same)(value) for key, value in entry.items()}
    if "secrets" in made:
        made["secrets"] = {path: sources.get(name, f"no secret {name}") for path, name in made["secrets"].items()}
    return {"command": argv, **made}


def size(value: Any) -> Any:
    """Bytes of `512mb`."""
    match = re.fullmatch(r"(\d+)([a-z]*)", str(value))
    return int(match[1]) * UNITS[match[2]] if match and match[2] in UNITS else value


def span(value: Any) -> Any:
    """Seconds of `60s` or `1m0s`."""
    parts = re.findall(r"([\d.]+)(ms|[hms])", str(value))
    whole = "".join(map("".join, parts)) == value
    return sum(float(number) * SPANS[unit] for number, unit in parts) if parts and whole else value


def _same(value: Any) -> Any:
    return value


def _health(value: Mapping[str, Any]) -> dict[str, Any]:
    times = {"interval", "timeout", "start_period", "start_interval"}
    return {key: span(entry) if key in times else entry for key, entry in value.items()}


def _keyed(rows: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """Rows by name, so that one more is one difference; a name used twice is one as well."""
    made: dict[str, Any] = {}
    for name, entry in rows:
        made[name if name not in made else f"{name} (again)"] = entry
    return made


def _mounts(values: list[Any]) -> dict[str, Any]:
    return _keyed(_mount(value) for value in values)


def _mount(value: Any) -> tuple[str, Any]:
    if not isinstance(value, Mapping):
        return str(value), "the short form, which makes a folder of a file that is missing"
    entry = {key: inner for key, inner in value.items() if key != "target" and inner != {}}
    if entry.get("type") == "bind":
        entry["source"] = _project_path(str(entry.get("source")))
    return str(value.get("target")), entry


def _project_path(source: str) -> str:
    path = Path(os.path.normpath(KIT / source))
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _secrets(values: list[Any]) -> dict[str, Any]:
    return _keyed(_secret({"source": value} if isinstance(value, str) else value) for value in values)


def _secret(value: Mapping[str, Any]) -> tuple[str, Any]:
    more = {key: inner for key, inner in value.items() if key not in {"source", "target"}}
    path = Path("/run/secrets") / str(value.get("target", value.get("source")))
    return str(path) + (f" {more}" if more else ""), value.get("source")


def _ports(values: list[Any]) -> dict[str, Any]:
    return _keyed(_port(value) for value in values)


def _port(value: Any) -> tuple[str, Any]:
    if not isinstance(value, Mapping):
        return str(value).rpartition(":")[2], str(value).rpartition(":")[0]
    rest = {k: v for k, v in value.items() if k not in {"target", "published", "host_ip", "mode", "protocol"}}
    usual = (value.get("mode"), value.get("protocol")) == ("ingress", "tcp") and not rest
    return str(value["target"]), f"{value.get('host_ip', '')}:{value.get('published')}" if usual else dict(value)


def _networks(value: Any) -> dict[str, Any]:
    return {name: {} for name in value} if isinstance(value, list) else {k: v or {} for k, v in value.items()}


def _waits(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {k: v for k, v in entry.items() if (k, v) != ("required", True)} for name, entry in value.items()}


def _build(value: Mapping[str, Any]) -> dict[str, Any]:
    return {**value, "context": _project_path(str(value.get("context")))}


def _hosts(value: Any) -> dict[str, Any]:
    """Compose takes a map or lines, and writes lines."""
    if isinstance(value, Mapping):
        return dict(value)
    return _keyed((row.partition("=")[0], row.partition("=")[2]) for row in (row.replace(":", "=", 1) for row in value))


FORMS: dict[str, Callable[[Any], Any]] = {
    "mem_limit": size,
    "memswap_limit": size,
    "stop_grace_period": span,
    "healthcheck": _health,
    "volumes": _mounts,
    "secrets": _secrets,
    "ports": _ports,
    "networks": _networks,
    "depends_on": _waits,
    "build": _build,
    "extra_hosts": _hosts,
}
