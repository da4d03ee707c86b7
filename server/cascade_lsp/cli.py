"""The command line: thin commands over the same parts that the server uses.

Exit codes: 0 done, 1 nothing to show or a check failed, 2 wrong use, 3 a model is missing or
damaged, 4 an engine is lost, 5 the ledger cannot be used.
"""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.syntax import Syntax
from rich.table import Table

from cascade_lsp import __version__
from cascade_lsp.cli_bench import bench
from cascade_lsp.cli_doctor import doctor
from cascade_lsp.cli_lab import lab
from cascade_lsp.cli_remote import remote
from cascade_lsp.cli_sandbox import sandbox
from cascade_lsp.cli_stats import stats
from cascade_lsp.errors import CascadeError, LedgerError, UsageError
from cascade_lsp.terminal import Json, place_in, print_json, seconds_of, settings_in

app = typer.Typer(
    help="Local code completion that checks itself.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(help="The models on this machine.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(sandbox, name="sandbox")
app.add_typer(bench, name="bench")
app.add_typer(lab, name="lab")
app.add_typer(remote, name="remote")


def main() -> NoReturn:
    """Run the command line; a user's mistake is a sentence and an exit code, no traceback."""
    try:
        app()
    except CascadeError as error:
        Console(stderr=True).print(str(error), style="red", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"cascade {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


# -- completing and explaining ------------------------------------------------------------------


@app.command(
    epilog="Examples:\n\n  cascade complete shop.py:12\n\n"
    "  cascade complete shop.py:12:5 --json --plan small"
)
def complete(
    place: Annotated[
        str,
        typer.Argument(
            help="FILE:LINE[:COL], counted from 1; COL defaults to the end of the line.",
            metavar="FILE:LINE[:COL]",
        ),
    ],
    as_json: Json = False,
    plan: Annotated[str | None, typer.Option(help="default, small, large or mine.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the whole cascade, however long it takes.")
    ] = False,
    project: Annotated[
        Literal["none", "packages", "sources"],
        typer.Option(help="What of the file's project tests may read, if you trust it."),
    ] = "none",
    settings_file: Annotated[
        Path | None,
        typer.Option("--settings", help="A JSON file with the settings, as an editor sends them."),
    ] = None,
) -> None:
    """Complete the code at a place in a file with the full cascade, and print it."""
    from cascade_lsp import explain
    from cascade_lsp.sandbox import SandboxOptions
    from cascade_lsp.settings import Settings

    settings = Settings(sandbox=SandboxOptions(project=project))
    if settings_file:
        settings = settings_in(settings_file)
    context = place_in(place)
    patience_s = None if wait else settings.completion.patience_s
    record = asyncio.run(_complete(settings, context, plan, patience_s))
    _keep(settings, record)
    if as_json:
        print_json(explain.as_result(record))
    else:
        console = Console()
        console.print(Syntax(record.answer.text, record.language, background_color="default"))
        console.print(Markdown(explain.verdict(record)))
        console.print(f"cascade explain {record.id}", style="dim")
    if not record.answer.text:
        raise typer.Exit(1)


async def _complete(settings: Any, context: Any, plan: str | None, patience_s: float | None) -> Any:
    from cascade_lsp.assembly import make_cascade
    from cascade_lsp.suites import path_of, project_root

    path = path_of(context.uri)
    cascade = make_cascade(settings, project_root(path) if path else None)
    try:
        return await cascade.complete(context, plan=plan, patience_s=patience_s)
    finally:
        await cascade.close()


def _keep(settings: Any, record: Any) -> None:
    """Record a decision; without a ledger the answer is still an answer."""
    from cascade_lsp.assembly import open_ledger

    try:
        ledger = open_ledger(settings)
        if ledger.notice:
            Console(stderr=True).print(ledger.notice, style="yellow")
        ledger.record(record)
    except LedgerError as error:
        Console(stderr=True).print(str(error), style="yellow")


@app.command(
    epilog="Examples:\n\n  cascade explain --last\n\n  cascade explain 3f2a9c01d4b7\n\n"
    "  cascade explain --since 7d --json"
)
def explain(
    decision: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    last: Annotated[bool, typer.Option("--last", help="The latest decision.")] = False,
    since: Annotated[
        str | None, typer.Option(help="All decisions of a time: 30m, 12h, 7d, 2w.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain a decision: what was asked, tested, seen, and why it went as it did."""
    from cascade_lsp import explain as explanation
    from cascade_lsp.assembly import open_ledger
    from cascade_lsp.settings import Settings

    if sum([decision is not None, last, since is not None]) > 1:
        raise UsageError("Give one of: an ID, --last, or --since.")
    ledger = open_ledger(Settings())
    if since is not None:
        records = ledger.since(seconds_of(since))
        if as_json:
            print_json([explanation.as_json(record) for record in records])
        else:
            _show(explanation.period(records))
        return
    record = ledger.get(decision) if decision else ledger.last()
    if record is None:
        what = f"There is no decision {decision!r}" if decision else "There is no decision yet"
        raise UsageError(f"{what} in {ledger.path}. `cascade explain --since 7d` lists them.")
    if as_json:
        print_json(explanation.as_json(record, ledger.events(record.id)))
    else:
        _show(explanation.decision(record))


def _show(markdown: str) -> None:
    console = Console()
    if console.is_terminal:
        console.print(Markdown(markdown))
    else:
        sys.stdout.write(markdown)


# -- the server, the demonstration, the doctor --------------------------------------------------


app.command(
    epilog="Examples:\n\n  cascade stats --since 7d\n\n  cascade stats --html suggestions.html"
)(stats)


@app.command(epilog="Example:\n\n  cascade serve --log-file cascade.log")
def serve(
    log_file: Annotated[
        Path | None, typer.Option(help="Write the log here. It holds no source text.")
    ] = None,
) -> None:
    """Serve an editor over standard input and output (LSP)."""
    from cascade_lsp import server

    server.serve(log_file)


@app.command(epilog="Examples:\n\n  cascade demo\n\n  cascade demo --svg demo.svg")
def demo(
    svg: Annotated[Path | None, typer.Option(help="Also save what is shown as a picture.")] = None,
) -> None:
    """Complete three bundled stubs, and show every test, verdict and decision."""
    from cascade_lsp import demo as demonstration

    demonstration.run(svg)


app.command(
    epilog="Examples:\n\n  cascade doctor --json\n\n  cascade doctor --network\n\n"
    "  cascade doctor --report > report.md"
)(doctor)


# -- the models ---------------------------------------------------------------------------------


@models.command("list", epilog="Example:\n\n  cascade models list --json")
def models_list(as_json: Json = False) -> None:
    """List the models of the catalogue and which are on this machine."""
    from cascade_lsp import catalogue

    known = catalogue.load()
    statuses = known.status()
    for fault in known.faults:
        Console(stderr=True).print(fault, style="yellow", highlight=False, soft_wrap=True)
    if as_json:
        print_json([status.as_json() for status in statuses])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "name", "role", "size", "licence", "run here"):
        table.add_column(name)
    for status in statuses:
        model = status.model
        here = "[green]✓" if status.path else ""
        ran = "added by you" if status.added else "yes" if model.run_here else "no, listed only"
        size = f"{model.size_bytes / 1e6:,.0f} MB"
        table.add_row(here, model.name, model.role or "", size, model.licence, ran)
    Console().print(table)


Name = Annotated[str, typer.Argument(help="A model's name in the catalogue.")]


@models.command(
    "fetch",
    epilog="Examples:\n\n  cascade models fetch\n\n"
    "  cascade models fetch qwen2.5-coder-0.5b-instruct-q4_k_m --folder ~/models",
)
def models_fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names; none means the two default models.")
    ] = None,
    folder: Annotated[
        list[Path] | None, typer.Option(help="Look for the files here first; may be repeated.")
    ] = None,
) -> None:
    """Download models, or find them on this disk; an interrupted download is taken up again."""
    from cascade_lsp import catalogue, download

    known = catalogue.load()
    wanted = [known.find(name) for name in names or ()]
    folders = tuple(str(one) for one in folder or ())
    with _progress() as progress:
        for model in wanted or [known.default("small"), known.default("large")]:
            path = download.fetch(model, folders, progress)
            progress.console.print(f"[green]✓[/] {model.name}: {path}", soft_wrap=True)


@models.command("add", epilog="Example:\n\n  cascade models add ~/models/coder.gguf --name mine")
def models_add(
    file: Path,
    name: Annotated[str | None, typer.Option(help="Its name; default: the file's.")] = None,
) -> None:
    """Take any GGUF file into the catalogue; what it can do is read from it."""
    from cascade_lsp import catalogue

    with _progress() as progress:
        model = catalogue.add(file, name, progress)
    style = model.style
    Console().print(
        f"[green]✓[/] {model.name}: {model.family}, {model.parameters:.2f} billion parameters, "
        f"{model.context} tokens of context; lines by {style.line}, functions by {style.body}"
    )


@models.command(
    "optimize", epilog="Example:\n\n  cascade models optimize qwen2.5-coder-0.5b-instruct-q4_k_m"
)
def models_optimize(name: Name) -> None:
    """Make a copy of a model that is faster on most CPUs, and measure how much faster it is here.

    Nothing uses the copy until a setting names it: what it writes may be worse.
    """
    from cascade_lsp import catalogue, optimize
    from cascade_lsp.settings import Settings

    model = catalogue.load().find(name)
    with _progress() as progress:
        made = optimize.optimize(model, progress)
    console = Console()
    size = f"{made.size_bytes / 1e6:,.0f} MB instead of {model.size_bytes / 1e6:,.0f} MB"
    console.print(f"[green]✓[/] {made.name}: {size}", soft_wrap=True)
    with console.status("Measuring both in turn"):
        gain = asyncio.run(optimize.measure(model, made, Settings().engine))
    for line in optimize.told(model, made, gain):
        console.print(line, soft_wrap=True, highlight=False)


@models.command("verify", epilog="Example:\n\n  cascade models verify")
def models_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names; none means all here.")] = None,
) -> None:
    """Compare the files' SHA-256 with the catalogue's."""
    from cascade_lsp import catalogue

    known = catalogue.load()
    here = [status.model for status in known.status() if status.path]
    with _progress() as progress:
        for model in [known.find(name) for name in names] if names else here:
            catalogue.verify(model, progress)
            progress.console.print(f"[green]✓[/] {model.name}")


@models.command("remove", epilog="Example:\n\n  cascade models remove mine")
def models_remove(name: Name) -> None:
    """Delete a model's file and what is left of its download."""
    from cascade_lsp import catalogue

    catalogue.remove(catalogue.load().find(name))
    Console().print(f"[green]✓[/] {name} is removed")


@models.command("path", epilog="Example:\n\n  cascade models path")
def models_path(
    name: Annotated[str | None, typer.Argument(help="A model; none means their folder.")] = None,
) -> None:
    """Print where a model's file lies, or the folder of all."""
    from cascade_lsp import catalogue, paths

    path = catalogue.require(catalogue.load().find(name)) if name else paths.models_dir()
    sys.stdout.write(f"{path}\n")


class _Bars(Progress):
    """One progress bar per step, told in the catalogue's way."""

    def __call__(self, what: str, done_bytes: int, total_bytes: int) -> None:
        task = next((task.id for task in self.tasks if task.description == what), None)
        if task is None:
            task = self.add_task(what, total=total_bytes, completed=done_bytes)
        self.update(task, completed=done_bytes, total=total_bytes)


def _progress() -> _Bars:
    return _Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
