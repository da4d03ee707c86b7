"""The commands of the bench: typing on real files, and the engine by itself."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cascade_lsp.bench import PEER_HELP
from cascade_lsp.terminal import Json, print_json

bench = typer.Typer(help="Measure this machine: typing, and the engine.", no_args_is_help=True)


@bench.command(
    "typing",
    epilog="Examples:\n\n  cascade bench typing\n\n"
    "  cascade bench typing --peer llama-server --places 100 --out rows.jsonl --picture it.svg",
)
def bench_typing(
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="Files to type in: JSON Lines (.gz too) of {repo, path, text}. By default some of "
            "Python's standard library, which models know by heart: waits are true, matches not."
        ),
    ] = None,
    peer: Annotated[
        str | None,
        typer.Option(help=f"Type beside llama-server too, with the same model. {PEER_HELP}"),
    ] = None,
    places: Annotated[int, typer.Option(min=1, help="How many places to type at.")] = 20,
    seed: Annotated[int, typer.Option(help="Which places, bursts and pauses.")] = 0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Let our server test suggestions in the background.")
    ] = False,
    as_json: Json = False,
    out: Annotated[
        Path | None, typer.Option(help="Add a row per visit here; those it has are not repeated.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw how long answers are waited for (.svg, .png).")
    ] = None,
) -> None:
    """Type true text into real files, key by key, and see what an editor would show.

    Keys come in bursts; each asks anew. The wait after a burst's last key is what is reported.
    """
    from cascade_lsp import catalogue
    from cascade_lsp.bench import corpus as files
    from cascade_lsp.bench import llama_server, lsp, plugin, processes, replay, report
    from cascade_lsp.bench.typist import Side

    known = catalogue.load()
    model = catalogue.require(known.default("small"))
    chosen = files.places(files.read(corpus), places, seed)
    sides: list[Side] = [lsp.Ours(verify=verify)]
    if peer:
        program = llama_server.find(peer)
        for manner in (plugin.Plugin(), plugin.Tuned()):
            sides.append(llama_server.Peer(manner, program, model))
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=len(chosen) * len(sides) + len(sides))

        def told(what: str) -> None:
            bar.update(task, description=escape(what), advance=1)

        visits = asyncio.run(replay.replay(sides, chosen, seed, out, told))
    found = report.summaries(visits)
    machine = {**processes.machine(), "model": model.name, "seed": seed}
    if as_json:
        print_json(report.as_json(found, machine))
    else:
        _show(report.table(found), machine)
    if picture:
        from cascade_lsp.bench import picture as drawing

        drawing.draw(visits, picture)


@bench.command(
    "engine", epilog="Examples:\n\n  cascade bench engine\n\n  cascade bench engine --json"
)
def bench_engine(
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure each thing once or twice, to try the bench.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure the engine: beside bare llama.cpp, in batches, cancelled, interrupted; the server.

    What is compared is measured in turn. Figures are medians with quartiles.
    """
    from cascade_lsp import catalogue
    from cascade_lsp.bench import engine, processes, serving

    known = catalogue.load()
    model = known.default("small")
    path = catalogue.require(model)
    console = Console(stderr=True)

    async def measured() -> engine.Figures:
        with console.status("") as status:

            def told(what: str) -> None:
                status.update(what)

            figures = await engine.measure(path, engine.QUICK if quick else engine.Size(), told)
            told("Cold starts")
            figures |= await serving.cold_start(1 if quick else 3)
            told("Keys without a model")
            return figures | await serving.without_model(20 if quick else 300)

    figures = asyncio.run(measured())
    machine = {**processes.machine(), "model": model.name}
    if as_json:
        print_json({"machine": machine, "figures": {k: asdict(v) for k, v in figures.items()}})
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "median", "quartiles", "p95", "n"):
        table.add_column(name, justify="right" if name else "left")
    for name, one in figures.items():
        quartiles = f"{one.low:,.4g} to {one.high:,.4g}"
        cells = f"{one.median:,.4g}", quartiles, f"{one.p95:,.4g}", str(one.count)
        table.add_row(name.replace("_", " "), *cells)
    _show(table, machine)


@bench.command(
    "power", epilog="Examples:\n\n  cascade bench power\n\n  cascade bench power --places 4 --json"
)
def bench_power(
    places: Annotated[
        int, typer.Option(min=2, help="How many functions and lines to complete.")
    ] = 8,
    seed: Annotated[int, typer.Option(help="Which lines.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure what a suggestion costs under each power profile, tests and larger model included.

    Half of the places are bundled functions, half lines of Python's standard library. Profiles take
    turns. Processor seconds are those of all our processes; energy is the whole machine's.
    """
    from cascade_lsp.bench import corpus, power, processes

    lines = [
        one for one in corpus.places(corpus.read(None), 4 * places, seed) if one.kind == "line"
    ]
    pairs = zip(power.functions(places), lines, strict=False)
    chosen = [one for pair in pairs for one in pair][:places]
    with Console(stderr=True).status("") as status:
        visits = asyncio.run(power.measure(chosen, lambda what: status.update(escape(what))))
    costs, machine = power.costs(visits), {**processes.machine(), "seed": seed}
    if as_json:
        visited = [asdict(one) for one in visits]
        print_json({"machine": machine, "costs": [asdict(c) for c in costs], "visits": visited})
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("profile", "suggestions", "cpu s", "joules", "characters", "wait s", "tested"):
        table.add_column(name, justify="left" if name == "profile" else "right")
    table.add_column("escalated", justify="right")
    for one in costs:
        joules = "not reported" if one.energy_j is None else f"{one.energy_j:.1f}"
        figures = f"{one.cpu_s:.2f}", joules, f"{one.chars:.0f}", f"{one.wait_s:.2f}"
        done = str(one.verifications), str(one.escalations)
        table.add_row(one.profile, f"{one.suggested} of {one.visits}", *figures, *done)
    _show(table, machine)


def _show(table: Table, machine: dict[str, object]) -> None:
    console = Console()
    console.print(table, highlight=False)
    facts = ", ".join(f"{name}: {value}" for name, value in machine.items())
    console.print(facts, style="dim", highlight=False)
