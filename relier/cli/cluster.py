"""`rl cluster`: the Compose stack, by `docker compose`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from relier.cli.errors import Mistake, fail
from relier.cli.output import Follow

app = typer.Typer(no_args_is_help=True, help="The Docker Compose stack.")
FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
WRAPPER = "infra/compose/cluster"
Tier = Annotated[
    str | None,
    typer.Option("--tier", help="dev (default) or prod: which of the project's own stacks.", show_default=False),
]


def stack() -> Path | None:
    """What describes the stack, here or in the nearest folder above: the project's own wrapper, or a compose file.

    None when COMPOSE_FILE names it.
    """
    if os.environ.get("COMPOSE_FILE"):
        return None
    here = Path.cwd()
    # The wrapper first, however far above: the project has compose files of its own in folders below it.
    for names in ((WRAPPER,), FILES):
        for folder in (here, *here.parents):
            for name in names:
                if (folder / name).is_file():
                    return folder / name
    raise Mistake("There is no compose file here or above; go to the project's folder, or set COMPOSE_FILE.")


def wrapper() -> Path | None:
    """The project's own script, which also checks passwords and ports and waits until all is healthy."""
    found = stack() if shutil.which("docker") else None
    return found if found and found.name == Path(WRAPPER).name else None


def kit(tier: str | None, *arguments: str) -> bool:
    """Run the wrapper, if this is the project's folder; it says itself what is wrong."""
    script = wrapper()
    if script is None:
        if tier and shutil.which("docker"):
            where = (
                "COMPOSE_FILE names another stack"
                if os.environ.get("COMPOSE_FILE")
                else f"no {WRAPPER} is here or above"
            )
            raise Mistake(
                f"--tier {tier} chooses one of the project's own stacks, and {where}; leave it out, or go there."
            )
        return False
    code = subprocess.run([str(script), tier or "dev", *arguments], check=False).returncode
    if code:
        raise typer.Exit(code)
    return True


def compose(*arguments: str) -> None:
    """Run `docker compose` in the foreground; what it says and its exit code are the command's own."""
    docker = shutil.which("docker")
    if docker is None:
        fail("Docker is not installed here; rl cluster needs it. Without it, use make worker and make resurrector.")
    file = stack()
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        fail("This Docker has no 'compose' command; install the Compose plugin (docker-compose-plugin).")
    where = ["-f", str(file)] if file else []
    code = subprocess.run([docker, "compose", *where, *arguments], check=False).returncode
    if code:
        fail(f"docker compose {arguments[0]} failed (exit code {code}).", code)


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach/--no-detach", "-d", help="In the background.")] = True,
    tier: Tier = None,
) -> None:
    """Build and start the stack."""
    if not kit(tier, "up"):
        compose("up", "--build", *(["--detach"] if detach else []))
    elif not detach:
        kit(tier, "logs", "--follow")


@app.command()
def down(tier: Tier = None) -> None:
    """Stop the stack; its volumes stay."""
    if not kit(tier, "down"):
        compose("down")


@app.command()
def status(tier: Tier = None) -> None:
    """Show the services, and whether Redis answers."""
    from relier.cli.quick import doctor

    if kit(tier, "status"):
        return
    compose("ps")
    verdict = doctor()
    if not verdict.ok:
        fail(verdict.sentence)
    print(verdict.sentence)


@app.command()
def scale(
    workers: Annotated[int, typer.Argument(metavar="N", min=0, help="How many workers.")],
    service: Annotated[str, typer.Option(help="The service to scale.")] = "worker-default",
    tier: Tier = None,
) -> None:
    """Run N workers of a service."""
    if not kit(tier, "scale", f"{service}={workers}"):
        compose("up", "--detach", "--no-recreate", "--scale", f"{service}={workers}", service)


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(metavar="[SERVICE]", help="One service; default: all.")] = None,
    live: Follow = False,
    tier: Tier = None,
) -> None:
    """Show the services' logs."""
    arguments = [*(["--follow"] if live else []), *([service] if service else [])]
    if not kit(tier, "logs", *arguments):
        compose("logs", *arguments)
