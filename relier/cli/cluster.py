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
KIT = "infra/compose/docker-compose.yml"


def compose_file() -> Path | None:
    """The stack's file: here or in the nearest folder above; None when COMPOSE_FILE names it."""
    if os.environ.get("COMPOSE_FILE"):
        return None
    here = Path.cwd()
    for folder in (here, *here.parents):
        for name in (*FILES, KIT):
            if (folder / name).is_file():
                return folder / name
    raise Mistake("There is no compose file here or above; go to the project's folder, or set COMPOSE_FILE.")


def compose(*arguments: str) -> None:
    """Run `docker compose` in the foreground; what it says and its exit code are the command's own."""
    docker = shutil.which("docker")
    if docker is None:
        fail("Docker is not installed here; rl cluster needs it. Without it, use make worker and make resurrector.")
    file = compose_file()
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        fail("This Docker has no 'compose' command; install the Compose plugin (docker-compose-plugin).")
    where = ["-f", str(file)] if file else []
    code = subprocess.run([docker, "compose", *where, *arguments], check=False).returncode
    if code:
        fail(f"docker compose {arguments[0]} failed (exit code {code}).", code)


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach/--no-detach", "-d", help="In the background.")] = True,
) -> None:
    """Build and start the stack."""
    compose("up", "--build", *(["--detach"] if detach else []))


@app.command()
def down() -> None:
    """Stop the stack; its volumes stay."""
    compose("down")


@app.command()
def status() -> None:
    """Show the services, and whether Redis answers."""
    from relier.cli.quick import doctor

    compose("ps")
    verdict = doctor()
    if not verdict.ok:
        fail(verdict.sentence)
    print(verdict.sentence)


@app.command()
def scale(
    workers: Annotated[int, typer.Argument(metavar="N", min=0, help="How many workers.")],
    service: Annotated[str, typer.Option(help="The service to scale.")] = "worker-default",
) -> None:
    """Run N workers of a service."""
    compose("up", "--detach", "--no-recreate", "--scale", f"{service}={workers}", service)


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(metavar="[SERVICE]", help="One service; default: all.")] = None,
    live: Follow = False,
) -> None:
    """Show the services' logs."""
    compose("logs", *(["--follow"] if live else []), *([service] if service else []))
