"""The root of `rl`: the commands, and the one place where errors become sentences."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from relier.cli import admission, chaos, cluster, config, dlq, quick, slo, tasks, worker
from relier.cli.bench import bench
from relier.cli.errors import Mistake, explain, fail
from relier.cli.manual import manual


class Root(TyperGroup):
    """Whatever goes wrong below ends in one sentence on standard error and a non-zero exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Exit codes: 130 after Ctrl-C, a `Mistake`'s own, else 1. What Click raises to end a command passes."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except Exception as error:
            if hasattr(error, "exit_code") or isinstance(error, typer.Abort):
                raise
            print(explain(error), file=sys.stderr)
            raise typer.Exit(error.code if isinstance(error, Mistake) else 1) from None


app = typer.Typer(cls=Root, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.add_typer(tasks.app, name="tasks")
app.add_typer(worker.app, name="worker")
app.add_typer(dlq.app, name="dlq")
app.add_typer(slo.app, name="slo")
app.add_typer(chaos.app, name="chaos")
app.add_typer(config.app, name="config")
app.add_typer(admission.app, name="admission")
app.add_typer(config.admin, name="admin")
app.add_typer(cluster.app, name="cluster")
app.command()(bench)
app.command("man")(manual)
probe = typer.Typer(no_args_is_help=True, help="Probes for orchestrators.")
app.add_typer(probe, name="probe")
Node = Annotated[str, typer.Option(help="The worker's name; default: the one worker of this host.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(quick.version().sentence)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", "-v", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Relier: the reliability layer for Celery on Redis."""


@app.command()
def doctor() -> None:
    """Ask Redis for an answer; exit 1 when there is none."""
    _say(quick.doctor())


@probe.command()
def live(node: Node = "") -> None:
    """Is the worker's own pulse fresh? Does not ask Redis."""
    _say(quick.probe("live", node))


@probe.command()
def ready(node: Node = "") -> None:
    """Does the worker consume its queues?"""
    _say(quick.probe("ready", node))


def _say(verdict: quick.Verdict) -> None:
    if not verdict.ok:
        fail(verdict.sentence)
    print(verdict.sentence)


@app.command("run-resurrector")
def run_resurrector(
    loglevel: Annotated[
        str | None, typer.Option(help="debug, info, warning or error; default: RELIER_LOG_LEVEL.")
    ] = None,
    interval: Annotated[float | None, typer.Option(help="Seconds between scans; default: from the settings.")] = None,
) -> None:
    """Find dead workers and bring their tasks back, until SIGTERM."""
    from relier.cli.resurrector import guard

    guard(loglevel, interval)
