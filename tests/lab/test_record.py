"""What is asked of a model, once, and what is kept of its answers."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest

from cascade_lsp import catalogue
from cascade_lsp.engine import Prompt
from cascade_lsp.lab import fleet, study
from cascade_lsp.lab.execute import execute
from cascade_lsp.lab.problems import Problem, shipped
from cascade_lsp.lab.record import Engines, Recipe, Task, questions, record, todo
from cascade_lsp.lab.replay import play
from cascade_lsp.plans import Plan, Step, load_plans
from cascade_lsp.policy import Policy
from cascade_lsp.sandbox import Limits, Sandbox
from tests.models import small
from tests.scripted import ScriptedEngine, is_test_prompt

FUNCTION, *OTHERS = shipped("functions")
HOLE = shipped("holes")[0]
NOWHERE = Problem("mine/x", "x = ", "\n", "assert x == 3\n", "", "python", "mine")
MODEL = catalogue.load().default("small")
RECIPE = Recipe(k=3, tests=2, others=1)


def scripted() -> ScriptedEngine:
    def answer(prompt: Prompt) -> str:
        return "1) == 2\nassert f(2) == 3\n" if is_test_prompt(prompt) else f"a\nb{prompt.seed}\n"

    return ScriptedEngine(answer)


async def recorded(problem: Problem, recipe: Recipe = RECIPE) -> dict[str, Any]:
    return await record(scripted(), MODEL.name, problem, recipe)


async def test_a_row_says_what_was_asked_of_whom() -> None:
    row = await recorded(FUNCTION)
    batches = row.pop("batches")
    assert list(row) == ["problem", "source", "model", "recipe", "version", "machine"]
    assert (row["problem"], row["source"]) == (FUNCTION.id, "cascade")
    assert row["model"] == MODEL.name
    assert row["recipe"] == {"k": 3, "tests": 2, "others": 1}
    assert [(b["kind"], b["style"]) for b in batches] == [("body", "chat"), ("body", "prefix")]
    assert json.loads(json.dumps(batches)) == batches


async def test_a_batch_holds_raw_text_and_what_it_took() -> None:
    own, other = (await recorded(FUNCTION))["batches"]
    assert set(own) == {"kind", "style", "read", "cached", "reading_ms", "ms", "solutions", "tests"}
    assert own["solutions"] == [
        {"text": f"a\nb{seed}\n", "logprobs": [-0.1, -0.1]} for seed in range(3)
    ]
    assert own["tests"] == [{"text": "1) == 2\nassert f(2) == 3\n", "tokens": 2}] * 2
    assert (own["read"], other["read"]) == ([10, 50], [10, 20])
    assert own["ms"] >= own["reading_ms"] >= 0
    assert [len(other[name]) for name in ("solutions", "tests")] == [1, 1]


async def test_the_first_prompt_is_asked_alone_for_one_token_first() -> None:
    engine = scripted()
    await record(engine, MODEL.name, FUNCTION, Recipe(k=3, tests=2, others=0))
    (alone,), batch = engine.asked
    assert alone.n_predict == 1
    assert (alone.pieces, alone.seed) == (batch[0].pieces, 0)
    assert batch[0].n_predict > 1
    assert [is_test_prompt(prompt) for prompt in batch] == [False] * 3 + [True] * 2
    assert [prompt.temperature > 0 for prompt in batch] == [False, True, True, False, True]


async def test_no_prompt_shows_the_hidden_test_or_the_solution() -> None:
    for problem in (FUNCTION, HOLE):
        engine = scripted()
        await record(engine, MODEL.name, problem, RECIPE)
        texts = [piece.text for batch in engine.asked for p in batch for piece in p.pieces]
        hidden = [line for line in problem.test.splitlines() if line.startswith("assert ")]
        assert not any(line in text for line in [*hidden, problem.solution] for text in texts)


ASKED = [
    # problem, recipe, (kind, style, solutions, samples of tests)
    (FUNCTION, RECIPE, [("body", "chat", 3, 2), ("body", "prefix", 1, 1)]),
    (FUNCTION, Recipe(k=2, tests=0, others=0), [("body", "chat", 2, 0)]),
    (HOLE, RECIPE, [("line", "prefix", 1, 0), ("line", "psm", 1, 0), ("line", "", 0, 2)]),
    (NOWHERE, RECIPE, [("line", "prefix", 1, 0), ("line", "psm", 1, 0)]),
]


@pytest.mark.parametrize(("problem", "recipe", "batches"), ASKED)
def test_what_is_asked_depends_on_the_place(
    problem: Problem, recipe: Recipe, batches: Sequence[tuple[str, str, int, int]]
) -> None:
    assert [
        (one.kind, one.style, len(one.solutions), len(one.tests))
        for one in questions(problem, MODEL.style, recipe)
    ] == batches


@pytest.mark.parametrize("own", ["prefix", "psm"])
def test_a_models_own_style_is_asked_first(own: Literal["prefix", "psm"]) -> None:
    found = [one.style for one in questions(HOLE, replace(MODEL.style, line=own), RECIPE)]
    assert found[0] == own
    assert sorted(found) == ["", "prefix", "psm"]


async def test_a_place_without_a_target_has_no_tests() -> None:
    row = await recorded(NOWHERE)
    assert [batch["tests"] for batch in row["batches"]] == [[], []]
    assert [len(batch["solutions"]) for batch in row["batches"]] == [1, 1]


async def test_nothing_is_asked_where_no_tests_are_wanted() -> None:
    row = await recorded(HOLE, Recipe(k=1, tests=0))
    assert row["batches"][-1] == {"kind": "line", "style": "", "solutions": [], "tests": []}


async def test_tests_without_a_solution_read_no_solution() -> None:
    row = await recorded(HOLE)
    assert row["batches"][-1]["read"] == [0, 20]


async def test_what_is_missing_comes_problem_by_problem() -> None:
    problems, models = [FUNCTION, *OTHERS[:2]], ["s", "l"]
    assert todo(problems, models, []) == [Task(p, model) for p in problems for model in models]
    had = [
        {"problem": FUNCTION.id, "model": "l"},
        {"problem": OTHERS[0].id, "model": "s"},
        {"problem": OTHERS[0].id, "model": "l"},
        {"problem": "another", "model": "s"},
    ]
    assert todo(problems, models, had) == [
        Task(FUNCTION, "s"),
        Task(OTHERS[1], "s"),
        Task(OTHERS[1], "l"),
    ]


# -- many machines ------------------------------------------------------------------------------


class ScriptedEngines(Engines):
    """Engines of scripted models; a worker makes them as it makes the real ones."""

    def of(self, model: str) -> ScriptedEngine:
        return scripted()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_workers_record_together_what_one_machine_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(fleet, "Engines", ScriptedEngines)
    tasks = todo([FUNCTION, *OTHERS[:2]], [MODEL.name], [])
    alone = [row async for row in fleet.rows_of(tasks, RECIPE, None, 1, 0)]
    # The workers share this process, and so its scripted models; they are spoken to as any others.
    async with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        asynchronous=True,
        dashboard_address=None,
    ) as cluster:
        scheduler = cluster.scheduler_address
        together = [row async for row in fleet.rows_of(tasks, RECIPE, scheduler, 2, 0)]

    def figures(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        texts = [(r["problem"], [b["solutions"] for b in r["batches"]]) for r in rows]
        return sorted(texts, key=lambda pair: pair[0])

    assert [row["problem"] for row in alone] == [task.problem.id for task in tasks]
    assert figures(together) == figures(alone)


# -- the real thing -----------------------------------------------------------------------------


async def test_a_real_model_is_recorded_run_and_played(sandbox: Sandbox) -> None:
    assert small().is_file()
    engines = Engines()
    try:
        recipe = Recipe(k=2, tests=1, others=0)
        row = await record(engines.of(MODEL.name), MODEL.name, FUNCTION, recipe)
    finally:
        await engines.close()
    (batch,) = row["batches"]
    assert [len(batch["solutions"]), len(batch["tests"])] == [2, 1]
    alone, whole = batch["read"]
    assert 0 < alone < whole
    assert all(x <= 0 for one in batch["solutions"] for x in one["logprobs"])
    matrix = await execute(FUNCTION, [row], sandbox, Limits())
    assert [test["reference"] for test in matrix["tests"]].count("") == 0
    case = study.case(study.digest(FUNCTION, [row], matrix))
    models = {"small": MODEL.name}
    plain = play(case, load_plans()["small"], models)
    assert plain.right == case.is_right(case.written[MODEL.name]["chat"].solutions[0].row)
    assert plain.turns[0].spent.read == alone
    tested = play(case, Plan("mine", "", (Step("small", 2, 1, Policy()),)), models)
    (turn,) = tested.turns
    assert (turn.evidence.k, turn.evidence.execution) == (2, "ran")
    assert turn.decision.action in ("accept", "best_effort")
    (spent,) = turn.spent.batches
    assert (spent.read, len(spent.written)) == (whole, 3)
