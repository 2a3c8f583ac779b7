"""How the suite is called, and what it says at its end.

    pytest tests/infra/conformance --stack infra/topology/stacks/prod.yaml --hosts docker://relier-prod [--destructive]

`--hosts` is testinfra's own way to name hosts: docker://PROJECT, kubectl://NAMESPACE, ansible://INVENTORY or local://.
`--backend` with `--project`, `--namespace` or `--inventory` says the same in two words, and has defaults.

Without `--stack` nothing here is collected except the tests of the suite itself.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
BACKENDS = ("docker", "kubectl", "ansible", "local")
NAMED_BY = {"docker": "project", "kubectl": "namespace", "ansible": "inventory"}
PROGRAMS = {"docker": "docker", "kubectl": "kubectl", "ansible": "ansible", "local": "systemctl"}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "hold a running deployment to its plan")
    group.addoption(
        "--stack", default=None, help="the stack file whose plan must hold, like infra/topology/stacks/prod.yaml"
    )
    group.addoption("--backend", default="docker", choices=BACKENDS, help="where the deployment runs")
    group.addoption("--project", default=None, help="docker: the project's name (default: relier-TIER)")
    group.addoption("--namespace", default=None, help="kubectl: the namespace (default: the topology's name)")
    group.addoption("--inventory", action="append", help="ansible: an inventory; may be given again")
    group.addoption("--rate", type=float, default=200.0, help="pushes a second while a master is harmed")
    group.addoption("--destructive", action="store_true", help="kill, wipe and restore as well; never where it hurts")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With a stack the suite, without one the tests of the suite. Neither makes a noise about the other."""
    inside = collection_path.is_relative_to(HERE) and collection_path.name.startswith("test_")
    about_itself = collection_path.is_relative_to(HERE / "selftest")
    return True if inside and about_itself == bool(config.getoption("--stack", None)) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What does harm comes last, and only when it was asked for."""
    if not config.getoption("--stack", None):
        return
    _place(config)  # refuses a mistake before anything is asked
    harmful = [item for item in items if "destructive" in item.path.name]
    kept = [item for item in items if item not in harmful]
    if config.getoption("--destructive"):
        kept += harmful
    elif harmful:
        config.hook.pytest_deselected(items=harmful)
    items[:] = kept


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each workload or node that the plan has."""
    stack = metafunc.config.getoption("--stack", None)
    if stack is None:
        return
    from tests.infra.conformance import cases

    for name in ("workload", "worker", "data_node", "sentinel_node", "queue", "redis_setting"):
        if name in metafunc.fixturenames:
            found = cases.of(name, _stack(metafunc.config))
            metafunc.parametrize(name, found, ids=[getattr(case, "name", str(case)) for case in found])


def _place(config: pytest.Config) -> tuple[str, dict[str, Any]]:
    """The backend, and the name of the deployment there by the backend's own option."""
    options = {name: config.getoption(f"--{name}") for name in NAMED_BY.values()}
    address = config.getoption("--hosts")
    if not address:
        return str(config.getoption("--backend")), options
    backend, _, name = str(address).partition("://")
    if backend not in BACKENDS:
        raise pytest.UsageError(
            f"--hosts {address}: write docker://PROJECT, kubectl://NAMESPACE or ansible://INVENTORY."
        )
    if name and backend in NAMED_BY:
        options[NAMED_BY[backend]] = [name] if backend == "ansible" else name
    return backend, options


def _stack(config: pytest.Config) -> Path:
    """The stack file, also by its bare name."""
    given = str(config.getoption("--stack"))
    named = HERE.parents[2] / "infra" / "topology" / "stacks" / f"{given}.yaml"
    path = named if named.exists() else Path(given)
    if not path.exists():
        raise pytest.UsageError(f"--stack: there is no file {given}; write infra/topology/stacks/prod.yaml, or prod.")
    return path


@pytest.fixture(scope="session")
def deployment(request: pytest.FixtureRequest) -> Any:
    """The running deployment. Whoever calls this suite says that there is one, so a missing one is a failure."""
    from tests.infra.conformance.adapters import adapter
    from tests.infra.conformance.deployment import Deployment

    backend, options = _place(request.config)
    if shutil.which(PROGRAMS[backend]) is None:
        pytest.exit(f"{backend}: {PROGRAMS[backend]} is not on PATH; install it, or name another backend.", 2)
    made = Deployment(_stack(request.config), adapter(backend), **options)
    if not any(made.instances(workload) for workload in made.plan.workloads):
        pytest.exit(f"nothing of {made.plan.name} runs on {backend}; start it first, or name it by its option.", 2)
    return made


@pytest.fixture
def redis_of_ours(deployment: Any) -> None:
    """Nodes that somebody else runs are neither asked nor harmed."""
    if deployment.topology.redis.managed:
        pytest.skip("the plan's Redis is run by somebody else")


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """A table of what was held to the plan."""
    if not config.getoption("--stack", None):
        return
    rows = list(_rows(terminalreporter.stats))
    if not rows:
        return
    terminalreporter.section(f"conformance of {config.getoption('--stack')} on {_place(config)[0]}")
    width = max(len(row[0]) for row in rows)
    terminalreporter.write_line(f"{'Area':<{width}}  Held  Broken  Skipped  Seconds")
    for area, held, broken, skipped, seconds in rows:
        terminalreporter.write_line(f"{area:<{width}}  {held:>4}  {broken:>6}  {skipped:>7}  {seconds:>7.1f}")


def _rows(stats: dict[str, list[Any]]) -> Iterator[tuple[str, int, int, int, float]]:
    counted: dict[str, Counter[str]] = {}
    seconds: dict[str, float] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in stats.get(outcome, ()):
            if not isinstance(report, pytest.TestReport):
                continue
            area = Path(report.nodeid.partition("::")[0]).stem.removeprefix("test_").replace("_", " ")
            counted.setdefault(area, Counter())[outcome] += 1
            seconds[area] = seconds.get(area, 0.0) + report.duration
    for area, found in counted.items():
        yield area, found["passed"], found["failed"] + found["error"], found["skipped"], seconds[area]
