"""The demonstration: bundled stubs, completed by the cascade with everything shown.

Nothing here is prepared: the models answer, the sandbox runs, the policy decides, at this
moment and on this machine.
"""

import asyncio
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table

from cascade_lsp.assembly import make_cascade, open_ledger
from cascade_lsp.cascade import Cascade
from cascade_lsp.context import gather
from cascade_lsp.engine import Usage
from cascade_lsp.errors import LedgerError, ModelError
from cascade_lsp.explain import otherwise, verdict, why
from cascade_lsp.ledger import Attempt, Record, TestRun
from cascade_lsp.settings import Settings
from cascade_lsp.turn import Event, Judged, Started, Written

WIDTH = 100


@dataclass(frozen=True, slots=True)
class Stub:
    """A bundled file whose last function has no body yet."""

    name: str
    text: str


def stubs() -> list[Stub]:
    """Return the bundled stubs in the order of their names."""
    folder = resources.files("cascade_lsp.models").joinpath("stubs")
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return [
        Stub(file.name, file.read_text("utf-8").rstrip() + "\n    ")
        for file in files
        if file.name.endswith(".py")
    ]


def run(svg: Path | None) -> None:
    """Run the demonstration on the terminal; save it as a picture where one is asked for."""
    console = Console(record=svg is not None, width=WIDTH if svg else None, highlight=False)
    records = asyncio.run(_run(console))
    _summary(console, records)
    if svg is not None:
        console.save_svg(str(svg), title="cascade demo")


async def _run(console: Console) -> list[Record]:
    settings = Settings()
    cascade = make_cascade(settings)
    if missing := {"small", "large"} - set(cascade.tiers):
        raise ModelError(
            f"The demonstration needs both default models; missing: {', '.join(missing)}. "
            "Fetch them with `cascade models fetch`."
        )
    try:
        with console.status("Loading the small model"):
            await cascade.load()
        return [await _show(console, cascade, settings, stub) for stub in stubs()]
    finally:
        await cascade.close()


async def _show(console: Console, cascade: Cascade, settings: Settings, stub: Stub) -> Record:
    console.print(Rule(f"[bold]{stub.name}", style="cyan"))
    console.print(Syntax(stub.text.rstrip(), "python", background_color="default"))
    context = gather(stub.text, len(stub.text), uri=f"demo:{stub.name}")
    record = await cascade.complete(
        context, trigger="demo", watch=lambda event: _tell(console, event)
    )
    console.print(f"\n[bold]{escape(verdict(record))}[/]\n[dim]{escape(otherwise(record))}\n")
    _keep(console, settings, record)
    return record


def _tell(console: Console, event: Event) -> None:
    match event:
        case Started(tier=tier, model=model):
            console.print(f"\n[bold cyan]▸ {tier}[/] [dim]{model} writes[/]")
        case Written(text=text):
            console.out(text, end="", style="dim")
        case Judged(attempt=attempt):
            _judged(console, attempt)


def _judged(console: Console, attempt: Attempt) -> None:
    console.print()
    if attempt.tests:
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for test in attempt.tests:
            table.add_row(_mark(test), escape(test.text), f"[dim]{test.origin}", _seen(test))
        console.print(table)
    colour = "green" if attempt.decision.action == "accept" else "yellow"
    console.print(f"[{colour}]{attempt.decision.action}[/]: {escape(why(attempt))}")
    console.print(f"[dim]{_cost(attempt.usage)}")


def _mark(test: TestRun) -> str:
    return {"passed": "[green]✓", "assert_failed": "[red]✗", "error": "[red]✗"}.get(
        test.outcome, "[yellow]?"
    )


def _seen(test: TestRun) -> str:
    if test.outcome == "passed":
        return ""
    seen = escape((test.seen or test.detail or test.outcome).splitlines()[0])
    return f"[red]saw {seen}" if test.outcome == "assert_failed" else f"[yellow]{seen}"


def _cost(usage: Usage) -> str:
    return (
        f"{usage.prompt_tokens} tokens read ({usage.cached_tokens} from cache), "
        f"{usage.new_tokens} written, {usage.ms:.0f} ms, {usage.cost:.0f} GFLOP"
    )


def _keep(console: Console, settings: Settings, record: Record) -> None:
    try:
        open_ledger(settings).record(record)
    except LedgerError as error:
        console.print(escape(str(error)), style="yellow")


def _summary(console: Console, records: list[Record]) -> None:
    console.print(Rule("[bold]What it cost", style="cyan"))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("tier", "asked", "tokens read", "cached", "written", "ms", "GFLOP"):
        table.add_column(name, justify="left" if name == "tier" else "right")
    for tier in ("small", "large"):
        used = [a.usage for record in records for a in record.attempts if a.tier == tier]
        total = sum(used, start=Usage())
        figures = (total.prompt_tokens, total.cached_tokens, total.new_tokens)
        row = (len(used), *figures, round(total.ms), round(total.cost))
        table.add_row(tier, *(f"{value:,}" for value in row))
    console.print(table)
    seconds = sum(record.ms for record in records) / 1000
    console.print(
        f"{len(records)} functions in {seconds:.0f} s, nothing sent anywhere. "
        f"More: [bold]cascade explain {records[-1].id}[/]"
    )
