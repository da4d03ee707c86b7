"""The live cascade over problems: what a row holds, and what the hidden tests say of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cascade_lsp.cascade import Cascade
from cascade_lsp.cli import app
from cascade_lsp.lab import live
from cascade_lsp.lab.rows import Rows, read
from cascade_lsp.sandbox import Sandbox
from cascade_lsp.turn import Tier
from tests.lab.test_replay import BADGE, BADGE_TESTS, BADGE_WRONG, answer_of, scripted


def cascade_of(sandbox: Sandbox, small: str, large: str) -> Cascade:
    tiers = [
        Tier(name, name, scripted([answer_of(body)] * 3, BADGE_TESTS * 2))
        for name, body in (("small", small), ("large", large))
    ]
    return Cascade(tiers, sandbox)


async def test_a_row_holds_the_answer_its_decisions_and_no_hidden_test(sandbox: Sandbox) -> None:
    cascade = cascade_of(sandbox, BADGE_WRONG, BADGE.solution)
    row = await live.answer(cascade, BADGE, "paper")
    assert row["completion"] == BADGE.completion(row["attempts"][row["chosen"]]["text"])
    assert [a["tier"] for a in row["attempts"]] == ["small", "large"]
    assert row["escalated"] and row["chosen"] == 1
    assert row["attempts"][0]["decision"]["reason"] == "self_tests_failed"
    assert row["attempts"][0]["usage"].keys() >= {"prompt_tokens", "new_tokens", "ms"}
    said = json.dumps(row)
    hidden = [line for line in BADGE.test.splitlines() if line.startswith("assert")]
    assert hidden and not any(json.dumps(line)[1:-1] in said for line in hidden[-3:])


async def test_the_hidden_tests_tell_right_from_wrong(sandbox: Sandbox) -> None:
    good = await live.answer(cascade_of(sandbox, BADGE.solution, BADGE_WRONG), BADGE, "small")
    bad = await live.answer(cascade_of(sandbox, BADGE_WRONG, BADGE_WRONG), BADGE, "small")
    verdicts = [row async for row in live.judge([good, bad], {BADGE.id: BADGE})]
    assert [row["right"] for row in verdicts] == [True, False]
    assert verdicts[1]["kind"] in ("assert_failed", "error")


def test_answers_are_judged_by_the_command_once_and_summed_up(tmp_path: Path) -> None:
    other = replace(BADGE, id="own/other", source="other")
    problems, answers = tmp_path / "problems.jsonl", tmp_path / "answers.jsonl"
    with Rows(problems) as rows:
        for one in (BADGE, other):
            rows.add({name: getattr(one, name) for name in one.__slots__})
    with Rows(answers) as rows:
        for one, text in ((BADGE, BADGE.solution), (other, BADGE_WRONG)):
            rows.add(
                {
                    "problem": one.id,
                    "source": one.source,
                    "plan": "default",
                    "completion": text,
                    "seconds": 1.0,
                    "escalated": False,
                }
            )
    command = ["lab", "judge", str(answers), str(problems), "--json"]
    for _ in range(2):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        found = {row["set"]: row for row in json.loads(done.stdout)}
        assert (found["all"]["right"], found["all"]["problems"]) == (1, 2)
        assert found["other"]["share"] == 0.0
    assert len(list(read(answers.with_suffix(".verdicts.jsonl")))) == 2


def test_an_answer_to_a_problem_that_is_not_given_is_told(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    with Rows(answers) as rows:
        rows.add({"problem": "nobody/knows"})
    done = CliRunner().invoke(app, ["lab", "judge", str(answers)])
    assert done.exit_code != 0
    assert "nobody/knows" in str(done.exception)


@pytest.mark.parametrize(
    "command", ["problems", "record", "execute", "prices", "digest", "report", "run", "judge"]
)
def test_every_command_of_the_lab_says_what_it_does(command: str) -> None:
    done = CliRunner().invoke(app, ["lab", command, "--help"])
    assert done.exit_code == 0 and "Example" in done.output
