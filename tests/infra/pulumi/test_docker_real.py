"""A stack on the real engine through the real provider: what an update touches, and that it really happened."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.pulumi import settings
from infra.pulumi.program import main
from infra.topology import plan_of
from tests.infra.pulumi.live import DOCKER, Live, altered, ask, health, left_of, missing, no_engine, sweep, told

LACKING = missing("pulumi", DOCKER) or no_engine()
pytestmark = [pytest.mark.providers, pytest.mark.timeout(900)]
STACK = "tests/infra/pulumi/small.yaml"
PROJECT = "relier-trial-dev"
REDIS, WORKER, RECOVERY = (f"{PROJECT}-{name}-1" for name in ("redis", "worker-all", "worker-recovery"))
EVERYBODY = (REDIS, WORKER, RECOVERY, f"{PROJECT}-resurrector-1")
FIRST, SECOND = "first-password", "second-password"


def anonymous() -> set[str]:
    """Volumes without a name of their own."""
    return set(told("volume", "ls", "--quiet", "--filter", "dangling=true").split())


@pytest.fixture(scope="module")
def before() -> set[str]:
    """Anonymous volumes that nobody used when the tests began."""
    return anonymous()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, before: set[str]) -> Iterator[Live]:
    """The small stack, up; destroyed at the end, come what may."""
    sweep(PROJECT)
    made = Live(tmp_path_factory.mktemp("pulumi"), "trial", main)
    made.set({"topology": STACK}, {"redis_password": FIRST})
    try:
        began = time.monotonic()
        made.up()
        print(f"up: {time.monotonic() - began:.0f} s")
        yield made
    finally:
        made.end()


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change what the plan says of some workloads."""

    def change(names: set[str], **fields: Any) -> None:
        monkeypatch.setattr(settings, "plan_of", altered(names, **fields))

    return change


def identity(container: str) -> str:
    """Which incarnation of a container this is."""
    return told("inspect", "--format", "{{.Id}}", container)


def redis(command: str, password: str = FIRST) -> str:
    """An answer of Redis to the application's user. The password goes by the environment of redis-cli."""
    return told("exec", "--env", f"REDISCLI_AUTH={password}", REDIS, "sh", "-c", f"redis-cli --user app {command}")


@contextmanager
def heard(shape: str, *events: str) -> Iterator[list[str]]:
    """What happens to containers meanwhile, in order. It is listened to: the engine remembers 256 events only."""
    wanted = [f"--filter=event={event}" for event in events]
    listen = ["docker", "events", *wanted, f"--filter=label=relier.project={PROJECT}", "--format", shape]
    lines: list[str] = []
    with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as listener:
        try:
            yield lines
        finally:
            time.sleep(1)  # the last event is on its way
            listener.terminate()
            lines += (line.strip() for line in listener.stdout or ())


@contextmanager
def deaths() -> Iterator[dict[str, str]]:
    """Exit codes of the containers that end meanwhile."""
    found: dict[str, str] = {}
    with heard("{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}", "die") as lines:
        yield found
    found.update(line.split() for line in lines)


def test_everything_comes_up_healthy(live: Live) -> None:
    """`up` returns once whatever has a check says that it is well."""
    assert set(health(EVERYBODY).values()) == {"healthy"}


def test_a_second_update_changes_nothing(live: Live) -> None:
    """Nothing that the provider reads back differs from what was asked for."""
    assert live.up().changed == set()


def test_a_refresh_finds_no_drift(live: Live) -> None:
    """The engine holds what the state says."""
    assert set(live.drift()) == {"same"}


def test_the_password_is_a_file_and_nothing_else(live: Live) -> None:
    """Not in the state, not in a variable, an argument, a label or a log."""
    assert told("exec", WORKER, "cat", "/run/secrets/redis") == FIRST
    shown = live.kept() + "".join(told("inspect", name) + (ask("logs", name) or "") for name in EVERYBODY)
    assert FIRST not in shown
    assert ask("exec", WORKER, "sh", "-c", "echo x > /run/secrets/redis") is None


def test_the_work_is_done(live: Live) -> None:
    """Workers and resurrector speak with Redis as the plan says."""
    told("exec", WORKER, "rl", "doctor")
    assert redis("ping") == "PONG"
    assert "NOAUTH" in told("exec", REDIS, "redis-cli", "get", "x")


def test_a_larger_pool_is_one_more_container(live: Live) -> None:
    """Nothing else is touched, and scaling back takes it away."""
    ids = [identity(name) for name in EVERYBODY]
    more = {"worker-recovery-2", "worker-recovery-2-files"}
    live.set({"overrides": {"workers": {"worker-recovery": {"replicas": 2}}}})
    assert live.up().changed == more
    assert health([f"{PROJECT}-worker-recovery-2"]) == {f"{PROJECT}-worker-recovery-2": "healthy"}
    live.set({"overrides": {}})
    assert live.up().changed == more
    assert [identity(name) for name in EVERYBODY] == ids


def test_an_edited_health_check_reaches_the_container(live: Live, planned: Callable[..., None]) -> None:
    """It is a replacement of that container, which leaves in peace first."""
    topology = settings.topology_of(settings.parse(settings.ROOT / STACK))
    probe = plan_of(topology)["worker-recovery"].ready
    assert probe is not None
    others = [identity(name) for name in (REDIS, WORKER)]
    planned({"worker-recovery"}, ready=replace(probe, every=9.0))
    with deaths() as died:
        assert live.up().changed == {"worker-recovery-1"}
    assert told("inspect", "--format", "{{.Config.Healthcheck.Interval}}", RECOVERY) == "9s"
    assert died == {RECOVERY: "0"}
    assert [identity(name) for name in (REDIS, WORKER)] == others


def test_more_memory_is_given_to_the_running_container(live: Live, planned: Callable[..., None]) -> None:
    """A limit is the one thing that Docker changes without a new container."""
    live.up()
    same = identity(WORKER)
    planned({"worker-all"}, memory=640 * 1024**2)
    assert live.up().changed == {"worker-all-1"}
    assert told("inspect", "--format", "{{.HostConfig.Memory}}", WORKER) == str(640 * 1024**2)
    assert identity(WORKER) == same


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """A second tag of the kit's image, gone again at the end."""
    told("tag", "relier:1.0.0", "relier-trial:2")
    yield "relier-trial:2"
    ask("rmi", "--force", "relier-trial:2")


def test_a_new_image_replaces_those_who_run_it(live: Live, image: str) -> None:
    """Workers and resurrector, which leave in peace; and no data is lost."""
    redis("set trial:kept yes")
    store = identity(REDIS)
    live.set({"overrides": {"app": {"image": image}}})
    with deaths() as died:
        done = live.up().changed
    assert {"worker-all-1", "worker-recovery-1", "resurrector-1"} <= done
    assert not [name for name in done if name.startswith("redis")]
    assert told("inspect", "--format", "{{.Config.Image}}", WORKER) == image
    assert {died.get(name) for name in (WORKER, RECOVERY)} == {"0"}
    assert identity(REDIS) == store
    assert redis("get trial:kept") == "yes"


def test_an_image_that_was_built_anew_is_taken(live: Live, image: str, tmp_path: Path) -> None:
    """The tag is as before; a refresh sees that it stands for another image."""
    live.set({"overrides": {"app": {"image": image}}})
    live.up()
    (tmp_path / "Dockerfile").write_text(f"FROM relier:1.0.0\nLABEL built={time.time()}\n")
    told("build", "--quiet", "--tag", image, str(tmp_path))
    live.drift()
    assert {"worker-all-1", "worker-recovery-1", "resurrector-1"} <= live.up().changed
    assert told("inspect", "--format", "{{.Image}}", WORKER) == told("image", "inspect", "--format", "{{.Id}}", image)
    live.set({"overrides": {}})
    live.up()


def test_a_pool_is_updated_one_after_another(live: Live, image: str) -> None:
    """Its files too: the second worker goes only once the first is back."""
    two = {"workers": {"worker-recovery": {"replicas": 2}}}
    live.set({"overrides": two})
    live.up()
    live.set({"overrides": {**two, "app": {"image": image}}})
    with heard("{{.Action}} {{.Actor.Attributes.name}}", "die", "start") as lines:
        live.up()
    pool = [f"{PROJECT}-worker-recovery-{place}" for place in (1, 2)]
    wanted = [f"{event} {name}" for name in pool for event in ("die", "start")]
    assert [line for line in lines if line in wanted] == wanted
    live.set({"overrides": {}})
    live.up()


def test_a_rotated_password_reaches_everybody_who_uses_it(live: Live) -> None:
    """The old one is refused, the new one works, and the data is still there."""
    redis("set trial:kept still")
    live.set(secrets={"redis_password": SECOND})
    done = live.up().changed
    assert {"redis-files", "worker-all-files", "redis-1", "worker-all-1", "resurrector-1"} <= done
    assert redis("get trial:kept", SECOND) == "still"
    assert redis("ping", FIRST) != "PONG"
    told("exec", WORKER, "rl", "doctor")
    assert set(health(EVERYBODY).values()) == {"healthy"}


def test_a_stopped_container_is_started_again(live: Live) -> None:
    """A refresh sees that it is gone, and the update brings it back."""
    told("stop", "--time", "60", RECOVERY)
    live.drift()
    assert live.up().changed == {"worker-recovery-1"}
    assert told("inspect", "--format", "{{.State.Running}}", RECOVERY) == "true"


def test_names_of_compose_are_left_alone(live: Live, tmp_path: Path) -> None:
    """A preview refuses while Compose holds the project."""
    label = "com.docker.compose.project=relier-composed-dev"
    told("create", "--name", "relier-composed-dev-redis-1", "--label", label, "redis:8.0")
    try:
        other = Live(tmp_path, "composed", main)
        other.set({"topology": STACK, "overrides": {"name": "relier-composed"}}, {"redis_password": FIRST})
        assert "Compose holds relier-composed-dev on this engine (1 container)" in other.refusal()
    finally:
        told("rm", "--volumes", "relier-composed-dev-redis-1")


def test_nothing_is_left_when_it_is_destroyed(live: Live, before: set[str]) -> None:
    """Containers, networks, volumes with and without names; images stay."""
    with deaths() as died:
        live.stack.destroy()
    assert left_of(PROJECT) == []
    assert anonymous() <= before
    assert {died.get(name) for name in (WORKER, RECOVERY, REDIS)} == {"0"}
    assert ask("image", "inspect", "--format", "{{.Id}}", "relier:1.0.0")
