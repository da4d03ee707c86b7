"""The commands of the laboratory: from problems to records, plans and reports."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from cascade_lsp.errors import UsageError
from cascade_lsp.terminal import Json, print_json, settings_in

lab = typer.Typer(
    help="Measure whether the cascade pays, and find the plan that does.", no_args_is_help=True
)

Problems = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Files of {id, prompt, suffix, test, entry_point, language, source}; by default the "
        "problems that ship with Cascade.",
        metavar="PROBLEMS.jsonl",
    ),
]


@lab.command(
    "problems",
    epilog="Example:\n\n  cascade lab problems humaneval HumanEval.jsonl.gz --out problems.jsonl",
)
def lab_problems(
    form: Annotated[
        str,
        typer.Argument(
            help="humaneval, mbpp, leetcode, evoeval, exercism, infilling or santacoder.",
            metavar="FORMAT",
        ),
    ],
    file: Annotated[Path, typer.Argument(help="The benchmark's file, JSON Lines (.gz too).")],
    out: Annotated[Path, typer.Option(help="Where the problems go.")],
    check: Annotated[
        bool,
        typer.Option(help="Leave out a problem whose own solution fails its tests in the sandbox."),
    ] = True,
) -> None:
    """Turn a public benchmark's file into problems."""
    from cascade_lsp.lab import adapters, execute
    from cascade_lsp.lab.problems import save

    if form not in adapters.FORMATS:
        raise UsageError(f"{form!r} is no format. The formats are: {', '.join(adapters.FORMATS)}.")
    found = list(adapters.adapt(form, file))
    console = Console(stderr=True)
    if check:
        with _progress() as bar:
            task = bar.add_task("references", total=len(found))
            failed = asyncio.run(execute.failing(found, lambda: bar.advance(task)))
        for one, kind in failed.items():
            console.print(f"left out: {one}: its own solution ends with {kind}", highlight=False)
        found = [problem for problem in found if problem.id not in failed]
    console.print(f"{save(iter(found), out)} problems in {out}", highlight=False)


@lab.command(
    "record",
    epilog="Examples:\n\n  cascade lab record --out records.jsonl\n\n"
    "  cascade lab record problems.jsonl --out records.jsonl --scheduler tcp://host:8786",
)
def lab_record(
    problems: Problems = None,
    out: Annotated[
        Path, typer.Option(help="Rows are added here; those it has are not made again.")
    ] = Path("records.jsonl"),
    model: Annotated[
        list[str] | None, typer.Option(help="Which models; by default the small and large one.")
    ] = None,
    k: Annotated[int, typer.Option(min=1, max=12, help="Solutions a problem, one greedy.")] = 4,
    tests: Annotated[int, typer.Option(min=0, max=4, help="Samples of five assertions.")] = 3,
    others: Annotated[
        int, typer.Option(min=0, max=4, help="As many of each by the style that is not a model's.")
    ] = 1,
    limit: Annotated[int, typer.Option(min=0, help="Only this many problems; 0: all.")] = 0,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler whose workers record together.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes of this machine; each holds its models.")
    ] = 1,
    threads: Annotated[int, typer.Option(help="Threads per model; 0: what is fastest here.")] = 0,
) -> None:
    """Let models write solutions and tests for problems, once, for hours if need be."""
    from cascade_lsp import catalogue
    from cascade_lsp.lab import fleet, record
    from cascade_lsp.lab.problems import Problem, load, shipped
    from cascade_lsp.lab.rows import Rows

    known = catalogue.load()
    names = model or [known.default(role).name for role in ("small", "large")]
    for name in names:
        catalogue.require(known.find(name))
    chosen: list[Problem] = load(problems) if problems else shipped("functions")
    chosen = chosen[: limit or None]
    recipe = record.Recipe(k, tests, others)

    async def recorded() -> None:
        with Rows(out) as rows, _progress() as bar:
            tasks = record.todo(chosen, names, rows.had)
            total = len(chosen) * len(names)
            task = bar.add_task("recording", total=total, completed=total - len(tasks))
            async for row in fleet.rows_of(tasks, recipe, scheduler, workers, threads):
                rows.add(row)
                bar.advance(task)

    asyncio.run(recorded())


@lab.command(
    "execute", epilog="Example:\n\n  cascade lab execute records.jsonl problems.jsonl --out m.jsonl"
)
def lab_execute(
    records: Annotated[Path, typer.Argument(help="What `cascade lab record` wrote.")],
    problems: Problems = None,
    out: Annotated[Path, typer.Option(help="Rows are added here, one a problem.")] = Path(
        "matrix.jsonl"
    ),
) -> None:
    """Run every recorded solution against every test, in the sandbox: the pass matrix."""
    from cascade_lsp.lab import execute
    from cascade_lsp.lab.problems import load, shipped
    from cascade_lsp.lab.rows import Rows, read

    chosen = load(problems) if problems else shipped("functions")
    recorded = execute.by_problem(read(records))

    async def executed() -> None:
        with Rows(out) as rows, _progress() as bar:
            todo = execute.missing(chosen, recorded, rows.had)
            task = bar.add_task("running", total=len(todo))
            async for row in execute.matrices(todo, recorded):
                rows.add(row)
                bar.advance(task)

    asyncio.run(executed())


@lab.command(
    "run", epilog="Example:\n\n  cascade lab run problems.jsonl --plan default --out answers.jsonl"
)
def lab_run(
    problems: Problems = None,
    out: Annotated[
        Path, typer.Option(help="Rows are added here; problems it has are not asked again.")
    ] = Path("answers.jsonl"),
    plan: Annotated[str | None, typer.Option(help="A plan; by default the one in force.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Only this many problems; 0: all.")] = 0,
) -> None:
    """Ask the shipped cascade, live, to solve problems; their tests are never shown to it."""
    from cascade_lsp.lab import live
    from cascade_lsp.lab.problems import load, shipped
    from cascade_lsp.lab.rows import Rows

    chosen = (load(problems) if problems else shipped("functions"))[: limit or None]

    async def answered() -> None:
        with Rows(out) as rows, _progress() as bar:
            done = {row["problem"] for row in rows.had}
            todo = [problem for problem in chosen if problem.id not in done]
            task = bar.add_task("answering", total=len(chosen), completed=len(chosen) - len(todo))
            async for row in live.run(todo, plan):
                rows.add(row)
                bar.advance(task)

    asyncio.run(answered())


@lab.command("judge", epilog="Example:\n\n  cascade lab judge answers.jsonl problems.jsonl")
def lab_judge(
    answers: Annotated[Path, typer.Argument(help="What `cascade lab run` wrote.")],
    problems: Problems = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the verdicts go; by default beside the answers.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the hidden tests on answers, in the sandbox, and say how many are right."""
    from cascade_lsp.lab import live
    from cascade_lsp.lab.problems import load, shipped
    from cascade_lsp.lab.rows import Rows, read

    known = {p.id: p for p in (load(problems) if problems else shipped("functions"))}
    given = list(read(answers))
    if lost := [row["problem"] for row in given if row["problem"] not in known]:
        raise UsageError(f"No problem file given here has {', '.join(lost[:3])}. Name it, too.")

    async def judged() -> list[dict[str, Any]]:
        with Rows(out or answers.with_suffix(".verdicts.jsonl")) as rows, _progress() as bar:
            done = {row["problem"] for row in rows.had}
            todo = [row for row in given if row["problem"] not in done]
            task = bar.add_task("judging", total=len(given), completed=len(given) - len(todo))
            verdicts = list(rows.had)
            async for row in live.judge(todo, known):
                rows.add(row)
                verdicts.append(row)
                bar.advance(task)
            return verdicts

    found = live.summary(given, asyncio.run(judged()))
    if as_json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("set", "problems", "right", "share", "escalated", "median s"):
        table.add_column(name, justify="left" if name == "set" else "right")
    for one in found:
        cells = f"{one['share']:.1%}", f"{one['escalated']:.0%}", f"{one['median_s']:.1f}"
        table.add_row(one["set"], str(one["problems"]), str(one["right"]), *cells)
    Console().print(table, highlight=False)


@lab.command(
    "fim",
    epilog="Example:\n\n  cascade lab fim edits.jsonl.gz --tier small --out holes.jsonl",
)
def lab_fim(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Rows {prefix, middle, suffix}, or those of an infilling benchmark.",
            metavar="HOLES.jsonl.gz",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Rows are added here; those it has are not asked anew.")
    ] = Path("holes.jsonl"),
    tier: Annotated[
        Literal["small", "large", "remote"], typer.Option(help="Who is asked.")
    ] = "small",
    model: Annotated[str | None, typer.Option(help="Its model, if not the one in use.")] = None,
    settings_file: Annotated[
        Path | None,
        typer.Option("--settings", help="A JSON file that names the remote model, to ask that."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="Only so many places of each file, drawn; 0: all.")
    ] = 0,
    everything: Annotated[
        bool, typer.Option("--all", help="Edits of tests and documentation, too.")
    ] = False,
    others: Annotated[
        bool, typer.Option("--others", help="Show what a row has of other files.")
    ] = False,
) -> None:
    """Ask a model to continue at holes in files as a keystroke does, and compare with the truth."""
    import random

    from cascade_lsp.assembly import make_cascade
    from cascade_lsp.catalogue import ModelOptions
    from cascade_lsp.lab import infill
    from cascade_lsp.lab.rows import Rows
    from cascade_lsp.settings import Settings

    problems = []
    for file in files:
        found = list(infill.holes(file, everything=everything, others=others))
        random.Random(0).shuffle(found)
        problems += found[: limit or None]
    settings = settings_in(settings_file) if settings_file else Settings()
    if model:
        settings = replace(settings, models=ModelOptions(**{tier: model}))

    async def asked() -> None:
        cascade = make_cascade(settings)
        if tier not in cascade.tiers:
            raise UsageError(f"The {tier} model is not here. Run `cascade models fetch`.")
        gate = cascade.tiers[tier].gate
        if gate and (refused := await gate.refusal(out.absolute().as_uri())):
            raise UsageError(f"The remote model may not be asked: {refused}.")
        try:
            with Rows(out) as rows, _progress() as bar:
                had = [row for row in rows.had if row["tier"] == tier]
                task = bar.add_task("asking", total=len(problems), completed=len(had))
                async for row in infill.record(cascade.tiers[tier], problems, had):
                    rows.add(row)
                    bar.advance(task)
        finally:
            await cascade.close()

    asyncio.run(asked())


@lab.command("fim-report", epilog="Example:\n\n  cascade lab fim-report small.jsonl large.jsonl")
def lab_fim_report(
    files: Annotated[
        list[Path],
        typer.Argument(help="What `cascade lab fim` wrote for both tiers.", metavar="ROWS.jsonl"),
    ],
    picture: Annotated[
        Path | None, typer.Option(help="Draw who gains by how many questions (SVG).")
    ] = None,
) -> None:
    """Say how good each tier is at holes, what each filter gains, and who should be asked again."""
    from cascade_lsp.lab import infill_report
    from cascade_lsp.lab.rows import read

    rows = [row for file in files for row in read(file)]
    Console().print(infill_report.report(rows), highlight=False, soft_wrap=True, markup=False)
    if picture is not None:
        infill_report.draw(rows, picture)


@lab.command("prices", epilog="Example:\n\n  cascade lab prices --out prices.json")
def lab_prices(
    out: Annotated[Path, typer.Option(help="Where the speeds go.")] = Path("prices.json"),
    model: Annotated[
        list[str] | None, typer.Option(help="Which models; by default the small and large one.")
    ] = None,
) -> None:
    """Measure what tokens cost on this machine, for batches of every size; let nothing else run."""
    from cascade_lsp import catalogue
    from cascade_lsp.bench.processes import machine
    from cascade_lsp.lab import prices
    from cascade_lsp.lab.record import Engines

    known = catalogue.load()
    names = model or [known.default(role).name for role in ("small", "large")]

    async def measured() -> dict[str, prices.Speed]:
        engines = Engines()
        try:
            with _progress() as bar:
                total = len(names) * len(prices.WIDTHS) * prices.REPEATS
                task = bar.add_task("measuring", total=total)
                return {
                    name: await prices.measure(engines.of(name), lambda: bar.advance(task))
                    for name in names
                }
        finally:
            await engines.close()

    found = prices.as_row(asyncio.run(measured()))
    out.write_text(json.dumps({"machine": machine(), **found}, indent=2) + "\n", encoding="utf-8")
    Console().print_json(json.dumps(found))


@lab.command(
    "digest", epilog="Example:\n\n  cascade lab digest records.jsonl matrix.jsonl problems.jsonl"
)
def lab_digest(
    records: Annotated[Path, typer.Argument(help="What `cascade lab record` wrote.")],
    matrix: Annotated[Path, typer.Argument(help="What `cascade lab execute` wrote.")],
    problems: Problems = None,
    out: Annotated[Path, typer.Option(help="Where the study goes, written anew.")] = Path(
        "study.jsonl.gz"
    ),
) -> None:
    """Make a study of records: counts, features and verdicts, without anybody's texts."""
    from cascade_lsp.lab import study
    from cascade_lsp.lab.problems import load, shipped
    from cascade_lsp.lab.rows import read

    chosen = load(problems) if problems else shipped("functions")
    n = study.save(study.digests(chosen, read(records), read(matrix)), out)
    Console(stderr=True).print(f"{n} problems in {out}", highlight=False)


Study = Annotated[
    Path | None,
    typer.Argument(
        help="What `cascade lab digest` wrote; by default the study that ships.",
        metavar="STUDY.jsonl.gz",
    ),
]
Prices = Annotated[
    Path | None,
    typer.Option(help="What `cascade lab prices` measured; by default the machine of the study."),
]
Small = Annotated[str | None, typer.Option(help="The small model; by default the study's first.")]
Unit = Annotated[
    Literal["seconds", "gflop", "dollars"],
    typer.Option(help="seconds of a machine, tokens times parameters, or a remote tier's money."),
]


@lab.command("report", epilog="Example:\n\n  cascade lab report --out docs")
def lab_report(
    study: Study = None,
    prices: Prices = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for results.md and its pictures.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only the problems of this set.")] = None,
) -> None:
    """Choose plans by resplits, and print what they give beside every baseline."""
    from cascade_lsp.lab import results

    with Console(stderr=True).status("Playing every plan on every problem"):
        found = results.compute(study, prices, source)
    if out is None:
        Console().print(found.text, highlight=False, soft_wrap=True)
        return
    out.mkdir(parents=True, exist_ok=True)
    for path in results.write(found, out):
        Console().print(str(path), highlight=False, soft_wrap=True)


@lab.command(
    "replay",
    epilog="Examples:\n\n  cascade lab replay default\n\n"
    "  cascade lab replay my-plan.toml --price dollars --json",
)
def lab_replay(
    plan: Annotated[
        str, typer.Argument(help="A plan's name, or a file like those in models/plans.")
    ] = "default",
    study: Study = None,
    prices: Prices = None,
    small: Small = None,
    price: Unit = "seconds",
    as_json: Json = False,
) -> None:
    """Play a plan on every problem of a study, as the server would, in seconds."""
    from dataclasses import asdict

    from cascade_lsp import plans
    from cascade_lsp.lab import results

    known = plans.load_plans()
    if plan.endswith(".toml"):
        chosen = plans.read(Path(plan))
    elif plan == plans.MINE:
        chosen = plans.load_mine()
    elif plan in known:
        chosen = known[plan]
    else:
        names = ", ".join((*known, plans.MINE))
        raise UsageError(f"There is no plan {plan!r}. The plans are: {names}, or a .toml file.")
    found = results.replayed(study, prices, chosen, small, price)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("set", "problems", "right", "95 %", price, "95 %", "escalated"):
        table.add_column(name, justify="left" if name == "set" else "right", no_wrap=True)
    for one in found:
        (right, low, high), (cost, *spread) = one.right, one.cost
        table.add_row(
            one.set,
            str(one.problems),
            f"{right:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{cost:.3g}",
            " to ".join(f"{x:.3g}" for x in spread),
            f"{one.escalated:.0%}",
        )
    console = Console()
    console.print(table, highlight=False)
    console.print("\nHow turns ended:", highlight=False)
    for reason, n in found[-1].reasons.items():
        console.print(f"  {n:4d}  {reason}", highlight=False)


@lab.command(
    "plan",
    epilog="Examples:\n\n  cascade lab plan --max-seconds 5 --prices prices.json --save\n\n"
    "  cascade lab plan --price dollars --min-accuracy 0.5",
)
def lab_plan(
    study: Study = None,
    prices: Prices = None,
    small: Small = None,
    price: Unit = "seconds",
    max_seconds: Annotated[
        float | None, typer.Option(help="At most so many seconds a problem, in the mean.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="At most so much a problem, in the price's unit.")
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(help="The cheapest plan that is right at least this often.")
    ] = None,
    save: Annotated[bool, typer.Option("--save", help="Keep it as the plan `mine`.")] = False,
) -> None:
    """Find the plan for a budget, and say what it rests on and whether a cascade pays at all."""
    from cascade_lsp import paths
    from cascade_lsp.lab import results
    from cascade_lsp.plans import as_toml

    if max_seconds is not None and (price != "seconds" or max_cost is not None):
        raise UsageError("--max-seconds is a bound of seconds: leave --max-cost and --price out.")
    bound = max_seconds if max_seconds is not None else max_cost
    if bound is not None and min_accuracy is not None:
        raise UsageError("Give a bound of the cost or of the accuracy, not both.")
    with Console(stderr=True).status("Playing every plan on every problem"):
        found = results.best(study, prices, small, price, bound, min_accuracy)
    console = Console()
    console.print(found.words, highlight=False, soft_wrap=True)
    text = as_toml(found.plan)
    console.print(f"\n{text}", highlight=False, soft_wrap=True, markup=False)
    if save:
        paths.plan_path().parent.mkdir(parents=True, exist_ok=True)
        paths.plan_path().write_text(text, encoding="utf-8")
        console.print(
            "Kept. Set cascade.completion.plan to mine, or try `cascade complete --plan mine`.",
            highlight=False,
            soft_wrap=True,
        )


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
