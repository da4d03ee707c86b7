"""`cascade doctor`: the checks, the promise about the network, and a text for a bug report."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cascade_lsp.errors import UsageError
from cascade_lsp.terminal import Json, print_json, settings_in

if TYPE_CHECKING:
    from cascade_lsp.offline import Run


def doctor(
    as_json: Json = False,
    network: Annotated[
        bool,
        typer.Option(
            "--network", help="Complete with and without a network, and show every socket."
        ),
    ] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="Print a text for a bug report, without secrets, names and paths."
        ),
    ] = False,
    log: Annotated[
        Path | None, typer.Option(help="With --report: the log that `cascade serve` wrote.")
    ] = None,
    settings_file: Annotated[
        Path | None,
        typer.Option("--settings", help="A JSON file with the settings, as an editor sends them."),
    ] = None,
) -> None:
    """Check everything the product needs, measure it, and say how to mend what is wrong."""
    from cascade_lsp.settings import Settings

    if network:
        if report or log or settings_file:
            raise UsageError("--network stands alone, or with --json.")
        _show_network(as_json)
        return
    settings = settings_in(settings_file) if settings_file else Settings()
    findings = asyncio.run(_examined(settings, quiet=as_json or report))
    if report:
        _report([finding.as_json() for finding in findings], settings, log)
    elif as_json:
        print_json([finding.as_json() for finding in findings])
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)


async def _examined(settings: Any, *, quiet: bool) -> list[Any]:
    """Run the checks, each shown as it ends."""
    from cascade_lsp import doctor as checks

    console, findings = Console(quiet=quiet), []
    with console.status("Checking; models are loaded and measured"):
        async for finding in checks.examine(settings):
            findings.append(finding)
            console.print(finding.mark, f"[bold]{finding.name}[/]:", escape(finding.found))
            if finding.remedy:
                console.print("   ", escape(finding.remedy), style="yellow", soft_wrap=True)
    return findings


def _report(findings: list[dict[str, Any]], settings: Any, log: Path | None) -> None:
    from cascade_lsp import bugreport, paths

    kept = [paths.host_log_path()] if paths.host_log_path().exists() else []
    text = bugreport.report(findings, settings, [*kept, log] if log else kept)
    typer.echo(text, nl=False)


def _show_network(as_json: bool) -> None:
    """Show the watched completions; end with 1 where the promise was not shown."""
    from cascade_lsp import offline

    console = Console(quiet=as_json, highlight=False)
    with console.status("Completing a bundled function twice, watched"):
        runs = list(offline.prove())
    kept = offline.holds(runs)
    if as_json:
        print_json({"kept": kept, "runs": [run.as_json() for run in runs]})
    else:
        _tell(console, runs, kept)
    if not kept:
        raise typer.Exit(1)


def _tell(console: Console, runs: "list[Run]", kept: bool) -> None:
    from cascade_lsp.offline import INSTEAD

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "with this machine's network", "with no network"):
        table.add_column(name)
    table.add_row("It answered", *(_answered(run) for run in runs))
    table.add_row("Tests run in the sandbox", *(str(run.tested) for run in runs))
    table.add_row("Processes seen", *(_processes(run) for run in runs))
    for kind in sorted({kind for run in runs for kind in run.kinds()}):
        table.add_row(escape(kind), *(str(run.kinds()[kind]) for run in runs))
    table.add_row("Any other", *(_others(run) for run in runs))
    console.print(table)
    for run in runs:
        if run.fault:
            console.print(escape(run.fault), style="yellow", soft_wrap=True)
        for call in run.others:
            seen = f"{call.name} {call.family} {call.address} by {call.program} ({call.pid})"
            console.print(escape(seen), style="red", soft_wrap=True)
    if kept:
        console.print("[green]✓[/] Nothing but the product's own Unix socket was opened.")
    elif all(run.watched is None for run in runs):
        console.print(INSTEAD, soft_wrap=True)
    else:
        console.print("[red]✗[/] The promise could not be shown; see above.")


def _answered(run: "Run") -> str:
    return "yes" if run.answer else "not watched" if run.watched is None else "no"


def _processes(run: "Run") -> str:
    return str(len(run.watched.processes)) if run.watched else "-"


def _others(run: "Run") -> str:
    if run.watched is None:
        return "-"
    return f"[red]{len(run.others)}[/]" if run.others else "[green]none[/]"
