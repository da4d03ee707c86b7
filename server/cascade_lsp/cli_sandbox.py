"""The commands of the sandbox: run a program, say which tier there is, attack it."""

import ast
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from cascade_lsp.errors import UsageError
from cascade_lsp.sandbox import Check, Language, Limits, Outcome, Sandbox, Status
from cascade_lsp.terminal import Json, print_json, read

sandbox = typer.Typer(help="Run programs in the sandbox, and try it.", no_args_is_help=True)

Chosen = Literal["auto", "native", "native_without_namespaces", "portable"]
Tier = Annotated[Chosen, typer.Option("--tier", help="Which sandbox; by default the strongest.")]
LANGUAGES: dict[str, Language] = {
    ".py": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
}


def _sandbox(tier: Chosen) -> Sandbox:
    """Return the sandbox asked for; it is not started yet."""
    from cascade_lsp.sandbox import native, tiers

    if tier == "native_without_namespaces":
        lesser = lambda: native.NativeSandbox(layers=native.WITHOUT_NAMESPACES)  # noqa: E731
        return tiers.TieredSandbox("native", makers=[(tier, lesser)])
    return tiers.TieredSandbox(tier)


@sandbox.command(
    "run",
    epilog="Examples:\n\n  cascade sandbox run try.py\n\n"
    "  cascade sandbox run shop.py --tests test_lines.py --json",
)
def sandbox_run(
    file: Path,
    tests: Annotated[
        Path | None, typer.Option(help="A file of Python assert statements to run against it.")
    ] = None,
    tier: Tier = "auto",
    as_json: Json = False,
) -> None:
    """Run one program, or tests against it, and print what was seen; exit with 0 if all passed.

    In a test `f(2) == 4` only `f(2)` is evaluated inside; the value is compared outside.
    """
    language = LANGUAGES.get(file.suffix)
    if language is None:
        raise UsageError(f"{file} cannot be run: its name ends in none of {', '.join(LANGUAGES)}.")
    source = read(file)
    if tests is None:
        (outcome,) = asyncio.run(_run(tier, source, None, language))
        if as_json:
            print_json(asdict(outcome))
        else:
            _show(outcome)
        passed = outcome.kind == "passed"
    else:
        texts, checks = _checks(read(tests), tests)
        outcomes = asyncio.run(_run(tier, source, checks, language))
        if as_json:
            print_json([{"test": t, **asdict(o)} for t, o in zip(texts, outcomes, strict=True)])
        else:
            _show_tests(texts, outcomes)
        passed = all(outcome.kind == "passed" for outcome in outcomes)
    if not passed:
        raise typer.Exit(1)


async def _run(
    tier: Chosen, source: str, checks: Sequence[Check] | None, language: Language
) -> list[Outcome]:
    box = _sandbox(tier)
    try:
        if checks is None:
            return [await box.run_script(source, Limits(), language=language)]
        return await box.run(source, checks, Limits(), language=language)
    finally:
        await box.close()


def _checks(text: str, path: Path) -> tuple[list[str], list[Check]]:
    """Read the assert statements of a file, each as its text and the check that it stands for."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{path} is not Python: {error}.") from error
    conditions = [one.test for one in statements if isinstance(one, ast.Assert)]
    if len(conditions) != len(statements) or not conditions:
        raise UsageError(f"{path} must hold assert statements, and nothing else.")
    return [ast.unparse(one) for one in conditions], [_check(one) for one in conditions]


def _check(condition: ast.expr) -> Check:
    """Turn a condition into a value to return and a literal to compare it with, where it is one."""
    match condition:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]) if _is_literal(right):
            return Check(ast.unparse(left), "eq", ast.unparse(right))
        case ast.Compare(left=left, ops=[ast.NotEq()], comparators=[right]) if _is_literal(right):
            return Check(ast.unparse(left), "ne", ast.unparse(right))
    return Check(ast.unparse(condition), "truthy", strong=isinstance(condition, ast.Call))


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _show(outcome: Outcome) -> None:
    Console().print(f"{_label(outcome)} in {_cost(outcome)}", style="bold", highlight=False)
    parts = (outcome.seen, outcome.detail)
    sys.stdout.write("".join(f"{part.rstrip()}\n" for part in parts if part))


def _show_tests(texts: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "test", "verdict", "seen", "cost"):
        table.add_column(name)
    for text, outcome in zip(texts, outcomes, strict=True):
        sign = "[green]✓" if outcome.kind == "passed" else "[red]✗" if outcome.conclusive else "·"
        seen = "" if outcome.kind == "passed" else outcome.seen or outcome.detail
        table.add_row(sign, escape(text), _label(outcome), escape(seen), _cost(outcome))
    Console().print(table, highlight=False)


def _label(outcome: Outcome) -> str:
    named = outcome.kind in ("blocked_syscall", "crash")
    return f"{outcome.kind}: {outcome.detail}" if named else outcome.kind


def _cost(outcome: Outcome) -> str:
    memory = f", {outcome.memory_bytes / 1e6:.0f} MB" if outcome.memory_bytes else ""
    return f"{outcome.ms:.1f} ms{memory}"


@sandbox.command("status", epilog="Example:\n\n  cascade sandbox status --json")
def sandbox_status(tier: Tier = "auto", as_json: Json = False) -> None:
    """Say which sandbox this machine has, what it runs, and why no stronger one."""
    status = asyncio.run(_status(tier))
    if as_json:
        print_json(asdict(status))
    else:
        text = f"[bold]{status.tier}[/]: {escape(status.reason)}"
        Console().print(text, highlight=False, soft_wrap=True)
        runs = ", ".join(status.languages) or "nothing"
        Console().print(f"It runs {runs}.", highlight=False)
    if status.tier == "none":
        raise typer.Exit(1)


async def _status(tier: Chosen) -> Status:
    box = _sandbox(tier)
    try:
        return await box.status()
    finally:
        await box.close()


@sandbox.command("selftest", epilog="Example:\n\n  cascade sandbox selftest --tier portable")
def sandbox_selftest(tier: Tier = "auto", as_json: Json = False) -> None:
    """Attack the sandbox on this machine, harmlessly; exit with 0 if it stopped all it promises."""
    from cascade_lsp.sandbox.selftest import Report, Tried, selftest

    async def attack() -> Report:
        box = _sandbox(tier)
        status = await box.status()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(f"Attacking {status.tier}", total=_attacks(status))

            def told(one: Tried) -> None:
                progress.advance(task)
                progress.update(task, description=escape(one.attack.group))

            try:
                return await selftest(box, told)
            finally:
                await box.close()

    report = asyncio.run(attack())
    if as_json:
        print_json(
            {
                "tier": report.tier,
                "reason": report.reason,
                "groups": {g: {"tried": t, "stopped": s} for g, (t, s) in report.figures().items()},
                "through": report.through,
                "known_gaps": report.gaps,
                "faults": report.faults,
            }
        )
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("attacks on", "tried", "stopped"):
            table.add_column(name, justify="left" if name == "attacks on" else "right")
        for group, (tried, stopped) in report.figures().items():
            table.add_row(group.replace("_", " "), str(tried), str(stopped))
        sums = [sum(column) for column in zip(*report.figures().values(), strict=True)]
        table.add_row(*(["all", *map(str, sums)] if sums else []), style="bold")
        console = Console()
        console.print(f"[bold]{report.tier}[/]: {escape(report.reason)}", highlight=False)
        console.print(table, highlight=False)
        for title, names in (
            ("Got through", report.through),
            ("Known not to be stopped by this tier", report.gaps),
            ("Faults", report.faults),
        ):
            if names:
                console.print(f"{title}: {escape('; '.join(names))}.", highlight=False)
    if not report.holds:
        raise typer.Exit(1)


def _attacks(status: Status) -> int:
    from cascade_lsp.sandbox.selftest import chosen

    return sum("grave" not in attack.marks for attack in chosen(status.tier))
