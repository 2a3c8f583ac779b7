"""What the program asks the Docker engine itself: who holds a project's names, and who is healthy."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from infra.topology.load import refuse

COMPOSE = "com.docker.compose.project"
HEALTH = "{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}"
KINDS = {
    "container": ("ps", "--all", "--format", "{{.Names}}"),
    "network": ("network", "ls", "--format", "{{.Name}}"),
    "volume": ("volume", "ls", "--format", "{{.Name}}"),
}


@dataclass(frozen=True)
class Engine:
    """A Docker engine by way of its command line, which knows contexts and DOCKER_HOST."""

    docker: str = "docker"
    patience: float = 900.0  # longer than any check of the plan takes to give a container up

    def ask(self, *arguments: str) -> list[str]:
        """The lines of an answer, or a refusal that says what is not there."""
        try:
            asked = subprocess.run([self.docker, *arguments], capture_output=True, text=True, check=False, timeout=60)
        except FileNotFoundError:
            raise refuse("docker", "docker is not on PATH; install Docker, or take the stack k8s.") from None
        except subprocess.TimeoutExpired:
            raise refuse("docker", "the Docker engine did not answer for 60 s; check `docker info`.") from None
        if asked.returncode:
            said = asked.stderr.strip().splitlines() or ["no answer"]
            raise refuse("docker", f"the Docker engine refuses ({said[-1].rstrip('.')}); check `docker info`.")
        return asked.stdout.split("\n")[:-1]

    def refuse_compose(self, project: str, down: str) -> None:
        """Two masters of the same names would each undo what the other did, and `destroy` would take Compose's data."""
        label = f"label={COMPOSE}={project}"
        held = {kind: len(self.ask(*words, "--filter", label)) for kind, words in KINDS.items()}
        if any(held.values()):
            has = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in held.items() if n)
            raise refuse(
                "docker",
                f"Compose holds {project} on this engine ({has}); stop it with `{down}`, save its data if you need it "
                f"and remove the rest with `docker compose --project-name {project} down --volumes`, then try again.",
            )

    def health(self, container: str) -> str:
        """`healthy`, `starting`, `unhealthy`; or what state a container without a check is in."""
        return "".join(self.ask("inspect", "--format", HEALTH, container))

    def running(self, label: str) -> int:
        """How many containers with a label run."""
        return len(self.ask("ps", "--quiet", "--filter", f"label={label}"))

    async def healthy(self, containers: Sequence[str]) -> None:
        """Wait for all of them, or say which one does not come up."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.patience
        for name in containers:
            while (state := await asyncio.to_thread(self.health, name)) not in ("healthy", "running"):
                if loop.time() > until:
                    raise pulumi.RunError(f"{name} is {state} after {self.patience:.0f} s; see `docker logs {name}`.")
                await asyncio.sleep(0.5)
