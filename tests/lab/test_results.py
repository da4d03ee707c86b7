"""The report that ships, and the plan for a budget, from the study that ships."""

from dataclasses import replace
from pathlib import Path

import pytest

from cascade_lsp import paths
from cascade_lsp.errors import UsageError
from cascade_lsp.lab import report, results, search
from cascade_lsp.lab.rows import read
from cascade_lsp.lab.search import Asked
from cascade_lsp.plans import MINE, as_toml, load_mine, load_plans, parse

ROOT = Path(__file__).parents[2]
STUDIES = [ROOT / "models" / "study" / f"{name}.jsonl.gz" for name in results.STUDIES]
LEARNED = "## Learned scores"


@pytest.fixture(scope="module")
def found() -> results.Results:
    return results.compute(None, None)


def test_the_results_are_what_the_study_says(found: results.Results) -> None:
    kept, learned = (ROOT / "docs" / "results.md").read_text("utf-8").split(LEARNED)
    text, again = found.text.split(LEARNED)
    assert text == kept
    # A regression's last digits are its library's; what was fitted is not.
    assert [line.split("|")[1:3] for line in again.splitlines() if "|" in line] == [
        line.split("|")[1:3] for line in learned.splitlines() if "|" in line
    ]


def test_the_pictures_are_drawn(found: results.Results, tmp_path: Path) -> None:
    written = list(results.write(found, tmp_path))
    assert [path.name for path in written] == [
        "results.md",
        "results-cost.svg",
        "results-calibration.svg",
    ]
    assert all("<svg" in path.read_text("utf-8") for path in written[1:])


def test_the_study_holds_no_text() -> None:
    for row in (row for path in STUDIES for row in read(path)):
        assert "def " not in str(row) and "assert " not in str(row), row["problem"]


def test_more_money_buys_no_fewer_right_answers_where_the_plan_is_chosen() -> None:
    poor, rich = (results.best(None, None, None, "seconds", s, None) for s in (2.0, 60.0))
    assert poor.plan.basis and rich.plan.basis
    assert poor.plan.basis.cost[0] <= 2.2 < rich.plan.basis.cost[0]
    assert poor.plan.basis.right[0] < rich.plan.basis.right[0]
    assert "On problems that it was not chosen on: right" in poor.words


def test_the_cheapest_that_is_right_often_enough_is_found() -> None:
    plan = results.best(None, None, None, "seconds", None, 0.3).plan
    assert [step.tier for step in plan.steps] == ["small"], "the small one alone reaches it"


def test_whether_a_cascade_pays_is_said() -> None:
    words = results.best(None, None, None, "dollars", None, 0.49).words
    assert "Break-even" in words or "does not pay" in words


def test_a_study_with_too_few_problems_says_nothing(tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="Fewer than 10 problems"):
        results.compute(few, None)
    with pytest.raises(UsageError, match="Nothing is known of"):
        results.best(few, None, None, "seconds", None, None)


def test_a_plan_found_for_a_machine_is_read_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "plan_path", lambda: tmp_path / "plan.toml")
    with pytest.raises(UsageError, match="no plan of its own yet"):
        load_mine()
    plan = results.best(None, None, None, "seconds", 5.0, None).plan
    assert plan.name == MINE and plan.basis and plan.basis.problems >= 150
    (tmp_path / "plan.toml").write_text(as_toml(plan), encoding="utf-8")
    assert load_mine() == plan
    (tmp_path / "plan.toml").write_text("summary = 1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="is no plan"):
        load_mine()


def test_every_shipped_plan_is_read_as_it_was_written() -> None:
    for name, plan in load_plans().items():
        assert parse(name, as_toml(plan)) == plan


def test_the_default_plan_is_what_its_basis_says_was_searched_for() -> None:
    shipped = load_plans()["default"]
    found = results.best(None, None, None, "seconds", 9.43, None).plan
    assert shipped.basis and found.basis
    assert [(s.tier, s.k, s.tests, s.policy.min_least) for s in shipped.steps] == [
        (s.tier, s.k, s.tests, s.policy.min_least) for s in found.steps
    ]
    assert replace(shipped.basis, date="") == replace(found.basis, date="")


def test_a_plan_replayed_by_set_is_the_plan_replayed_on_all() -> None:
    *sets, whole = results.replayed(None, None, load_plans()["default"], None, "seconds")
    assert [one.set for one in sets] == ["humaneval", "mbpp", "leetcode"]
    assert sum(one.problems for one in sets) == whole.problems
    for figure in ("right", "cost"):
        by_set = sum(one.problems * getattr(one, figure)[0] for one in sets) / whole.problems
        assert getattr(whole, figure)[0] == pytest.approx(by_set, rel=1e-3)
    assert whole.escalated == pytest.approx(
        sum(n for reason, n in whole.reasons.items() if "large" in reason) / whole.problems,
        abs=1e-4,
    )


def test_examples_decide_by_themselves_and_every_problem_is_on_one_side() -> None:
    cases, speeds, _ = results._read(None, None)
    bench = results._bench(cases, speeds, None, "seconds")
    rows = report.by_examples(bench, results._fixed())
    assert {row.part: row.problems for row in rows} == {
        "with examples": sum(bool(case.examples) for case in bench.cases),
        "without": sum(not case.examples for case in bench.cases),
    }
    always = [row for row in rows if row.level.name == "always large"]
    assert all(row.greedy.right.mean == 0 and row.greedy.cost.mean == 1 for row in always)
    with_examples = [row.level for row in rows if row.part == "with examples"]
    assert with_examples[1].right > with_examples[0].right


def test_a_score_that_knows_is_as_right_for_less_and_one_that_does_not_for_more() -> None:
    cases, speeds, _ = results._read(None, None)
    bench = results._bench(cases, speeds, None, "dollars")
    small = bench.outcomes(search.plan_of(Asked(1, 0), None, search.ALWAYS)).right
    large = bench.outcomes(search.plan_of(None, Asked(0, 0), search.ALWAYS)).right
    gains = small - large  # what an oracle escalates first
    known, reverse = (report.as_right_for(bench, Asked(1, 0), x) for x in (gains, -gains))
    assert known < 0.5 < reverse
