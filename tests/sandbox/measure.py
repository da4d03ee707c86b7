"""Figures of the native tier: `python -m tests.sandbox.measure [PROBLEMS.jsonl[.gz] ...]`.

Times are medians with the quartiles of many runs on a warm server, portable beside native in turn
where they do the same. With files of problems (HumanEval, MBPP, LeetCode as their authors publish
them), reference solutions and empty bodies are run with the asserts that come with them.
"""

import ast
import asyncio
import gzip
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cascade_lsp.sandbox import Check, Limits, Sandbox
from cascade_lsp.sandbox.native import NativeSandbox
from cascade_lsp.sandbox.portable import PortableSandbox

ADD, TWO = "def add(a, b):\n    return a + b\n", Check("add(1, 1)", "eq", "2")
LOOP = "def loop():\n    while True: pass\n"


def shown(ms: list[float]) -> str:
    low, middle, high = statistics.quantiles(ms, n=4)
    return f"{middle:.1f} ms ({low:.1f} to {high:.1f}, worst {max(ms):.1f}, n = {len(ms)})"


async def timed(what: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await what()
    return (time.perf_counter() - began) * 1000


async def speed() -> None:
    native, portable = NativeSandbox(), PortableSandbox()
    starts = []
    for _ in range(15):
        starts.append(await timed(native.status))
        await native.close()
    print("start:", shown(starts))
    await native.status()
    await portable.status()
    times: dict[str, list[float]] = {"native": [], "portable": []}
    for _ in range(400):
        for name, sandbox in (("native", native), ("portable", portable)):
            times[name].append(await timed(lambda s=sandbox: s.run(ADD, [TWO], Limits())))
    for name, taken in times.items():
        print(f"one check, {name}:", shown(taken))
    began = time.perf_counter()
    await asyncio.gather(*(native.run(ADD, [TWO], Limits()) for _ in range(400)))
    print(f"candidates a second: {400 / (time.perf_counter() - began):.0f}")
    cancels, overshoots = [], []
    for _ in range(20):
        run = asyncio.create_task(native.run(LOOP, [Check("loop()")], Limits(time_s=20)))
        await asyncio.sleep(0.05)
        run.cancel()
        cancels.append(await timed(lambda run=run: asyncio.wait([run])))
        (late,) = await native.run(LOOP, [Check("loop()")], Limits(time_s=0.1))
        overshoots.append(late.ms - 100)
    print("cancelling:", shown(cancels))
    print("beyond the wall limit:", shown(overshoots))
    await native.close()
    await portable.close()


def checks_of(problem: dict[str, Any]) -> list[Check]:
    """Split the asserts of a problem: a value and a literal where it is that, else a condition."""
    text = problem.get("test") or "\n".join(problem["test_list"])
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Assert) or ast.unparse(node.test) in ("True", "False"):
            continue
        match node.test:
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]) if is_literal(right):
                found.append(Check(ast.unparse(left), "eq", ast.unparse(right)))
            case _ if "test_list" in problem:
                found.append(Check(ast.unparse(node.test), strong=False))
    return found


def programs_of(problem: dict[str, Any]) -> dict[str, str]:
    """Return the reference solution, and where it can be had the same with an empty body."""
    if "code" in problem:
        return {"reference": "\n".join([*problem["test_imports"], problem["code"]])}
    prompt, alias = problem["prompt"], f"\ncandidate = {problem['entry_point']}\n"
    body = problem.get("canonical_solution") or problem["completion"]
    programs = {"reference": prompt + body + alias}
    if "canonical_solution" in problem:
        programs["empty body"] = f"{prompt}    return None\n{alias}"
    return programs


def is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


async def labels(sandbox: Sandbox, path: Path) -> None:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    problems, kinds = (
        defaultdict[str, Counter[str]](Counter),
        defaultdict[str, Counter[str]](Counter),
    )
    for line in raw.splitlines():
        problem = json.loads(line)
        checks = checks_of(problem)
        for what, source in programs_of(problem).items():
            outcomes = await sandbox.run(source, checks, Limits(time_s=5))
            kinds[what].update(outcome.kind for outcome in outcomes)
            seen = {outcome.kind for outcome in outcomes}
            failed = seen & {"assert_failed", "error"}
            problems[what][
                "all passed"
                if seen == {"passed"}
                else "some failed"
                if failed
                else "some no evidence"
                if seen
                else "no checks"
            ] += 1
    for what in problems:
        print(f"{path.name}, {what}:", dict(problems[what]), dict(kinds[what]))


async def main(*paths: str) -> None:
    await speed()
    for path in paths:
        sandbox = NativeSandbox()
        await labels(sandbox, Path(path))
        await sandbox.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
