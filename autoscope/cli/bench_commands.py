"""``autoscope bench``: the offline benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup


class RunByDefault(TyperGroup):
    """``bench CONFIG ...`` means ``bench run CONFIG ...``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``run`` in front where no command is named."""
        named = not args or args[0] in self.commands or args[0] == "--help"
        return super().parse_args(ctx, args if named else ["run", *args])


bench = typer.Typer(
    cls=RunByDefault,
    no_args_is_help=True,
    help="""Compare acquisition policies offline: policies x environments x budgets x seeds.

    autoscope bench configs/bench_quick.yaml

    autoscope bench configs/bench_published.yaml --workers 8 --seeds 30""",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(bench, name="bench")


@bench.command("run")
def run_bench(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file that describes the benchmark.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Override one setting, e.g. --set seeds.count=50. Repeatable."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes (or jobs of a cluster); 0: in this process. Default: one a core."),
    ] = None,
    scheduler: Annotated[
        str, typer.Option(metavar="tcp://HOST:8786", help="A Dask scheduler that runs already, with its workers.")
    ] = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="At most so many seeds, in place of the file's.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder that receives the benchmark's folder.")] = Path("runs/bench"),
    policies: Annotated[
        list[str] | None, typer.Option("--policy", metavar="LABEL", help="Only this policy of the file. Repeatable.")
    ] = None,
    environments: Annotated[
        list[str] | None,
        typer.Option("--environment", metavar="LABEL", help="Only this environment of the file. Repeatable."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Compute failed campaigns once more.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Two seeds and at most 12 measurements, to try a configuration.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live progress.")] = False,
) -> None:
    """Compute what is missing of a benchmark and write its results.

    Every cell is kept as soon as it is finished: Ctrl-C, a crash or a lost worker cost only the cells under way, and
    the same command goes on from there. More seeds or policies later compute only what is new. The results do not
    depend on the number of workers or the order of the work.

    Exit status: 0 all there, 1 some campaigns could not be computed, 2 wrong configuration, 130 interrupted.
    """
    from autoscope.cli.benching import Wishes, run_benchmark

    only = {"policies": tuple(policies or ()), "environments": tuple(environments or ())}
    wishes = Wishes(workers, scheduler, seeds, runs, only=only, again=again, smoke=smoke, quiet=quiet)
    raise typer.Exit(run_benchmark(config, overrides or [], wishes))


@bench.command("report")
def report_bench(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a benchmark, e.g. runs/bench/quick.")],
) -> None:
    """Write the leaderboard of a benchmark anew: pages for a browser and a Markdown table, into its folder.

    autoscope bench report runs/bench/quick

    'autoscope bench CONFIG' does this at its end. The pages need no network: leaderboard.html, a page for each
    comparison, leaderboard.md.

    Exit status: 0 written, 2 no results there.
    """
    from autoscope.benchmark.board.page import write_board

    for path in write_board(folder):
        typer.echo(path)


@bench.command("seeds")
def seeds_of_bench(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file that describes the benchmark.")],
) -> None:
    """Print the seed of every campaign: a person who runs the same environment with it meets the same chance.

    autoscope bench seeds configs/bench_quick.yaml
    """
    from autoscope.cli.benching import print_seeds

    print_seeds(config)


@bench.command("audit")
def audit_bench(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file that describes the benchmark.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override one setting. Repeatable.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the benchmark's folder.")] = Path("runs/bench"),
) -> None:
    """Have every policy decide a short campaign again from its record alone, where there is no instrument to peek at.

    A policy may learn from what it is told and from nothing else. One that reached for the instrument, its truth or its
    data decides otherwise there, or is seen opening the data. Written to hearings.json beside the results.

    Example: autoscope bench audit configs/bench_quick.yaml

    Exit status: 0 all honest, 1 somebody was caught.
    """
    from autoscope.cli.benching import audit_benchmark

    raise typer.Exit(audit_benchmark(config, overrides or [], runs))
