"""An explanation gives the verdict first, and nothing a model wrote can change its form."""

import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from cascade_lsp import explain
from cascade_lsp.engine import Sent, Usage
from cascade_lsp.ledger import Attempt, Event, Record, TestRun
from cascade_lsp.policy import Evidence, Policy, Reason, decide

BODY = "    return sorted(values)[len(values) // 2]"
DOUBT = Policy(escalate="on_doubt")

# For each reason, evidence that leads to it.
CASES: dict[Reason, tuple[Evidence, Policy]] = {
    Reason.EMPTY: (Evidence("ran", empty=True), Policy()),
    Reason.SYNTAX: (Evidence("ran", syntax_ok=False), Policy()),
    Reason.TRUSTED_FAILED: (Evidence("ran", trusted_passed=1, trusted_failed=2), Policy()),
    Reason.TRUSTED_PASSED: (Evidence("ran", trusted_passed=2), Policy()),
    Reason.OWN_FAILED: (Evidence("ran", own_passed=1, own_failed=2), Policy()),
    Reason.OWN_PASSED: (Evidence("ran", n_tests=6, n_s=1, n_t=1, own_passed=2), Policy()),
    Reason.TESTS_FAILED: (Evidence("ran", n_tests=6, n_s=1, n_t=1), Policy()),
    Reason.TESTS_PASSED: (Evidence("ran", n_tests=6, n_s=5, n_t=1), Policy()),
    Reason.NO_TESTS: (Evidence("ran"), Policy()),
    Reason.NOT_TESTABLE: (Evidence("not_testable"), Policy()),
    Reason.NOT_EXECUTED: (Evidence("off"), Policy()),
    Reason.INCONCLUSIVE: (Evidence("ran", inconclusive=3), Policy()),
    Reason.LOW_CONFIDENCE: (Evidence("not_testable", confidence=0.41), DOUBT),
    Reason.UNLIKELY_TOKEN: (Evidence("not_asked", least=0.07), Policy(min_least=0.2)),
    Reason.REJECTED: (Evidence("not_asked", rejected=True), Policy()),
    Reason.NOT_CHECKED: (Evidence("not_asked"), Policy()),
}


def a_test(text: str, outcome: str = "passed", seen: str = "", origin: str = "small") -> TestRun:
    return TestRun(text, origin, origin == "docstring", True, outcome, seen)


def attempt(
    evidence: Evidence,
    tier: str = "small",
    tests: tuple[TestRun, ...] = (),
    policy: Policy | None = None,
    last: bool = False,
) -> Attempt:
    return Attempt(
        tier=tier,
        model=f"{tier}-coder",
        text="" if evidence.empty else BODY,
        tests=tests,
        dropped=Counter({"does_not_call": 2}),
        features={"p": 0.8},
        evidence=evidence,
        policy=policy or Policy(),
        decision=decide(evidence, policy or Policy(), last=last),
        usage=Usage(312, 280, 118, 940.0, 312.5),
    )


def record(*attempts: Attempt, chosen: int = -1) -> Record:
    return Record(
        id="3f9a1c20",
        created=1.7e9,
        uri="file:///home/ada/stats.py",
        language="python",
        line=12,
        column=5,
        trigger="automatic",
        plan="default",
        function="median",
        untestable="",
        attempts=attempts,
        chosen=chosen % len(attempts),
        ms=2417.5,
    )


FAILED = attempt(CASES[Reason.TESTS_FAILED][0], tests=(a_test("assert median([1]) == 1"),))
RESCUE = attempt(Evidence("ran", n_tests=6, n_s=6, n_t=1), "large")


def verdict(told: Record) -> str:
    return explain.decision(told).splitlines()[0]


def otherwise(told: Record) -> str:
    return str(explain.as_json(told)["otherwise"])


# -- the verdict --------------------------------------------------------------------------------


def test_every_reason_has_a_sentence() -> None:
    assert set(explain.WHY) == set(Reason) == set(CASES)


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("last", [False, True])
def test_the_first_line_gives_the_reason_of_any_decision(reason: Reason, last: bool) -> None:
    evidence, policy = CASES[reason]
    one = attempt(evidence, policy=policy, last=last)
    assert one.decision.reason is reason
    sentence = r"[\d.]+".join(map(re.escape, re.split("{.*?}", explain.WHY[reason])))
    assert re.search(sentence, verdict(record(one)))


def test_an_accepted_answer_says_so_and_how_many_tests_it_passes() -> None:
    told = record(attempt(CASES[Reason.TESTS_PASSED][0]))
    assert verdict(told) == "**Accepted the small model's answer: it passes 5 of 6 tests.**"


def test_an_escalation_says_what_failed_and_whose_answer_was_taken() -> None:
    assert verdict(record(FAILED, RESCUE)) == (
        "**Escalated: the small model's answer was not accepted (it passes 1 of 6 tests, which is "
        "not enough); the large model's was taken (it passes 6 of 6 tests).**"
    )


def test_an_escalation_that_did_not_help_says_whose_answer_was_kept() -> None:
    worse = attempt(CASES[Reason.TRUSTED_FAILED][0], "large", last=True)
    line = verdict(record(FAILED, worse, chosen=0))
    assert "the large model's is no better (it fails 2 of 3 docstring examples)" in line
    assert line.endswith("so the small model's was kept.**")


def test_an_answer_with_no_larger_tier_is_called_a_best_effort() -> None:
    line = verdict(record(attempt(FAILED.evidence, last=True)))
    assert line.startswith("**Best effort of the small model: it passes 1 of 6 tests")


# -- the parts ----------------------------------------------------------------------------------


def test_place_function_trigger_and_plan_are_told() -> None:
    assert (
        "At `/home/ada/stats.py:12:5`, function `median`; automatic request, plan default, 2.4 s; "
        "decision `3f9a1c20`." in explain.decision(record(FAILED, RESCUE))
    )


def test_a_place_without_a_function_says_why_nothing_can_be_tested() -> None:
    told = replace(record(RESCUE), function="", untestable="the cursor is not in a function")
    assert "not testable: the cursor is not in a function;" in explain.decision(told)


def test_tests_are_told_by_author_failures_first_with_what_was_expected_and_seen() -> None:
    tests = (
        a_test("assert median([3, 1, 2]) == 2", origin="docstring"),
        a_test("assert median([1]) == 1"),
        a_test("assert median([1, 2]) == 1.5", "assert_failed", "2"),
        a_test("assert median([]) is None", "error", "IndexError: list index out of range"),
        a_test("assert median((1,))", "assert_failed", "0"),
        replace(a_test("assert median({1}) == 1", "inconclusive"), detail="monty has no set"),
        a_test("assert median([2]) == 2", origin="large"),
    )
    told = explain.decision(record(attempt(CASES[Reason.TESTS_FAILED][0], tests=tests)))
    assert (
        told[told.index("Examples") : told.index("\n\n2 generated")]
        == """\
Examples of the docstring, which are trusted: 1 of 1 passed

- ✓ `assert median([3, 1, 2]) == 2`

Tests written by small: 1 of 5 passed, 1 without a verdict

- ✗ `assert median([1, 2]) == 1.5`: expected `1.5`, saw `2`
- ✗ `assert median([]) is None`: saw `IndexError: list index out of range`
- ✗ `assert median((1,))`: saw `0`
- ? `assert median({1}) == 1`: inconclusive, no evidence (`monty has no set`)
- ✓ `assert median([1]) == 1`

Tests written by large: 1 of 1 passed

- ✓ `assert median([2]) == 2`"""
    )


def test_the_score_is_told_with_its_parts_and_the_threshold_that_was_in_force() -> None:
    evidence = Evidence("ran", n_tests=6, n_s=4, n_t=2, k=4, trusted_passed=1)
    told = explain.decision(record(attempt(evidence)))
    assert "S = 4/6 of the tests × 2/4 of the answers = 0.33, and 0.25 is needed." in told  # noqa: RUF001


def test_tests_of_the_project_are_told_apart_with_what_was_left_out() -> None:
    name = "tests/test_stats.py::TestMedian::test_odd"
    tests = (
        TestRun(name, "project", True, False, "assert_failed", "assert 3 == 2", "line 4"),
        TestRun("tests/test_stats.py::test_even", "project", True, False, "passed"),
    )
    evidence = Evidence("ran", own_passed=1, own_failed=1)
    failed = replace(
        attempt(evidence, tests=tests, last=True), unused={"passes_on_stub": 2, "out_of_time": 1}
    )
    told = explain.decision(record(failed))
    assert told.startswith("**Best effort of the small model: it fails 1 of 2 tests of the project")
    assert "Tests of the project that import it: 1 of 2 passed\n\n" in told
    assert f"- ✗ `{name}`: saw `assert 3 == 2`\n" in told
    assert "Not used of the project's own tests: passes on stub (2), out of time (1)." in told


def test_a_lone_test_of_the_project_is_what_would_have_changed_an_acceptance() -> None:
    told = record(attempt(Evidence("ran", own_passed=2)))
    assert otherwise(told).endswith("not have been accepted if a test of the project had failed.")


def test_lines_that_were_not_used_are_counted_by_reason() -> None:
    assert "2 generated lines not used: does not call (2)." in explain.decision(record(RESCUE))


def test_a_text_that_was_not_kept_names_the_setting() -> None:
    kept, lost = record(RESCUE), record(replace(RESCUE, text=""))
    assert f"```python\n{BODY}\n```" in explain.decision(kept)
    assert "cascade.ledger.source_text" not in explain.decision(kept)
    assert "not kept: turn on `cascade.ledger.source_text`" in explain.decision(lost)


def test_the_cost_is_told_per_tier() -> None:
    told = explain.decision(record(FAILED, RESCUE))
    assert "| tier | prompt tokens | cached | new | ms | GFLOP |" in told
    assert "| large | 312 | 280 | 118 | 940 | 312 |" in told


# -- what would have been needed ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        (Reason.EMPTY, "it had offered an answer and a usable test had been written and had"),
        (Reason.SYNTAX, "its text had kept the syntax whole and a usable test had been written"),
        (Reason.TRUSTED_FAILED, "if 2 more of the docstring examples had passed."),
        (Reason.TRUSTED_PASSED, "not have been accepted if a docstring example had failed."),
        (Reason.OWN_FAILED, "if 2 more of the project's tests had passed."),
        (Reason.OWN_PASSED, "not have been accepted if 1 fewer of its 6 tests had passed."),
        (Reason.TESTS_FAILED, "would have been accepted if 2 more of its 6 tests had passed."),
        (Reason.TESTS_PASSED, "not have been accepted if 3 fewer of its 6 tests had passed."),
        (Reason.NO_TESTS, "if a usable test had been written and had passed."),
        (Reason.NOT_TESTABLE, "not have been accepted if a test could have been run and had"),
        (Reason.NOT_EXECUTED, "not have been accepted if a test could have been run and had"),
        (Reason.INCONCLUSIVE, "not have been accepted if a test could have been run and had"),
        (Reason.LOW_CONFIDENCE, "have been accepted if its confidence had been 0.6."),
        (Reason.UNLIKELY_TOKEN, "if its least likely token had had a probability of 0.2."),
        (Reason.NOT_CHECKED, "not have been accepted if a test could have been run and had"),
    ],
)
def test_what_would_have_decided_otherwise_is_told(reason: Reason, change: str) -> None:
    evidence, policy = CASES[reason]
    told = record(attempt(evidence, policy=policy))
    assert change in otherwise(told)
    assert otherwise(told) in explain.decision(told)


def test_the_same_tests_decide_otherwise_under_another_policy() -> None:
    evidence = CASES[Reason.TESTS_FAILED][0]
    strict = record(attempt(evidence, policy=Policy(theta=1.0)))
    assert "5 more of its 6 tests had passed." in otherwise(strict)


def test_answers_that_disagree_are_told_to_need_agreement() -> None:
    told = record(attempt(Evidence("ran", n_tests=2, n_s=2, n_t=1, k=4)))
    assert "all its tests had passed, with 2 of 4 answers in agreement." in otherwise(told)


def test_an_unsure_answer_that_was_accepted_is_told_its_limit() -> None:
    evidence = Evidence("not_testable", confidence=0.9)
    assert "its confidence had been below 0.6." in otherwise(
        record(attempt(evidence, policy=DOUBT))
    )


def test_thresholds_that_refuse_everything_are_told_to_be_the_cause() -> None:
    told = record(attempt(CASES[Reason.TESTS_FAILED][0], policy=Policy(theta=2.0)))
    assert otherwise(told).endswith("is judged so under these thresholds whatever its tests show.")


@given(
    n_tests=st.integers(1, 12),
    share=st.floats(0, 1),
    theta=st.floats(0.01, 1),
    trusted=st.booleans(),
)
def test_the_number_of_tests_told_turns_the_decision_and_one_fewer_does_not(
    n_tests: int, share: float, theta: float, trusted: bool
) -> None:
    n_s = round(share * n_tests)
    policy = Policy(theta=theta, theta_trusted=theta / 2)
    evidence = Evidence(
        "ran", n_tests=n_tests, n_s=n_s, n_t=min(n_s, 1), trusted_passed=int(trusted)
    )
    told = re.search(r"if (\d+) (more|fewer)", otherwise(record(attempt(evidence, policy=policy))))
    assert told
    sign = 1 if told[2] == "more" else -1

    def accepted(change: int) -> bool:
        n = n_s + sign * change
        return decide(replace(evidence, n_s=n, n_t=min(n, 1)), policy).action == "accept"

    assert accepted(int(told[1])) != accepted(0)
    assert accepted(int(told[1]) - 1) == accepted(0)


# -- JSON ---------------------------------------------------------------------------------------


def test_the_result_of_a_completion_has_exactly_the_documented_shape() -> None:
    tests = (a_test("assert median([1]) == 1", "assert_failed", "2"),)
    told = record(FAILED, replace(RESCUE, tests=tests))
    assert json.loads(json.dumps(explain.as_result(told))) == {
        "id": "3f9a1c20",
        "text": BODY,
        "tier": "large",
        "decision": {
            "action": "escalate",
            "reason": "self_tests_failed",
            "observed": 1 / 6,
            "required": 0.5,
        },
        "tests": [{"text": "assert median([1]) == 1", "verdict": "assert_failed", "seen": "2"}],
        "usage": {
            tier: {"prompt_tokens": 312, "cached_tokens": 280, "new_tokens": 118, "ms": 940.0}
            for tier in ("small", "large")
        },
        "ms": 2417.5,
    }


def names(documented: str) -> set[str]:
    return set(re.findall(r"\b[a-z_]+\b", re.sub(r"\b[A-Z]+: \w+", "", documented)))


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def test_the_explanation_as_json_has_exactly_the_documented_fields() -> None:
    sent = Usage(sent=(Sent("models.example", "chat", 12),))
    told = replace(FAILED, dropped=Counter(), features={}, unused={}, usage=FAILED.usage + sent)
    written = json.loads(json.dumps(explain.as_json(record(told, RESCUE))))
    assert written["attempts"][1]["dropped"] == {"does_not_call": 2}
    assert written["attempts"][0]["score"] == 1 / 6
    events = [Event("kept", 1.7e9, 0.5)]
    alone = json.loads(json.dumps(explain.as_json(record(told), events)))
    assert explain.__doc__
    assert keys(alone) == names(explain.__doc__.split("renamed:")[1])


# -- a period -----------------------------------------------------------------------------------


def test_a_period_without_decisions_says_so() -> None:
    assert explain.period([]) == "**No decision was recorded in this time.**\n"


def test_a_period_counts_escalations_reasons_tests_and_cost() -> None:
    silent = attempt(Evidence("ran", inconclusive=1), tests=(a_test("assert f(1)", "timeout"),))
    told = explain.period([record(FAILED, RESCUE), *[record(silent)] * 3])
    assert told.startswith("**4 suggestions, 1 escalated (25%).**\n")
    assert "| accepted | inconclusive | 3 | 75% |" in told
    assert "| escalated | self tests failed | 1 | 25% |" in told
    assert "4 tests run: 1 passed, 0 failed, 3 (75%) without a verdict." in told
    assert "| small | 1,248 | 1,120 | 472 | 3,760 | 1,250 |" in told
    assert told.endswith("- `3f9a1c20` `median`: it passes 1 of 6 tests, which is not enough\n")


# -- nothing breaks out -------------------------------------------------------------------------

HOSTILE = st.text(
    alphabet=st.one_of(
        st.sampled_from("`~|*_#<>[]()!\\-+=&:;\n\r\t\x1b\x00\u202e\u2028 1a"),
        st.characters(),
    ),
    max_size=60,
)
ATTACKS = [
    "```\n# heading",
    "````\n\n| a | b |\n|---|---|\n",
    "x` </code><script>alert(1)</script> `",
    "[click](command:evil) ![i](http://a/b)",
    "a | b \\| c",
    "\n\n---\n\n# big\n\n- item",
    "\x1b[31mred\x1b]8;;http://a\x07",
    "\\`*bold*\\",
    "&lt;b&gt; <!-- ",
]


def filled(texts: list[str]) -> Record:
    """Return a record with the given texts in every field that is not chosen by the product."""
    # The ending keeps a text from being empty or one of the product's own labels.
    a, b, c, d = (f"{text}z" for text in texts)
    tests = (
        TestRun(a, f"{d}1", False, True, "passed", b, c),
        TestRun(b, f"{d}2", True, True, "assert_failed", c, d),
        TestRun(c, f"{d}2", False, False, "error", d, a),
        TestRun(d, f"{d}2", False, True, a, b, c),
    )
    small = attempt(Evidence("ran", n_tests=4, n_s=1, n_t=1), f"{a}1", tests)
    small = replace(small, model=b, text=c, dropped={d: 2})
    told = record(small, replace(small, tier=f"{a}2"))
    filling = {"id": a, "uri": b, "language": c, "trigger": d, "plan": a, "function": b}
    return replace(told, **filling, untestable=c)


def form(markdown: str) -> list[tuple[str, str]]:
    """Return the elements of a text as a reader of Markdown finds them, without their words."""
    tokens: list[Token] = (
        MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    )
    inline = ("text", "text_special", "softbreak")
    return [
        (token.type, token.tag)
        for block in tokens
        for token in (block, *(block.children or ()))
        if token.type not in inline
    ]


@pytest.mark.parametrize("shape", ["testable", "untestable", "period"])
@given(texts=st.lists(HOSTILE | st.sampled_from(ATTACKS), min_size=4, max_size=4))
@settings(max_examples=200, deadline=None)
def test_no_text_changes_the_form_of_an_explanation(shape: str, texts: list[str]) -> None:
    def markdown(told: Record) -> str:
        if shape == "untestable":
            told = replace(told, function="")
        return explain.period([told, told]) if shape == "period" else explain.decision(told)

    written = markdown(filled(texts))
    assert form(written) == form(markdown(filled(["a", "b", "c", "d"])))
    assert all(character.isprintable() or character in "\n\t" for character in written)
    written.encode()


def test_a_name_with_a_bar_stays_in_its_cell() -> None:
    told = explain.decision(record(replace(RESCUE, tier="a | b")))
    tokens = MarkdownIt("commonmark").enable("table").parse(told)
    cells = [tokens[i + 1] for i, token in enumerate(tokens) if token.type == "td_open"]
    shown = ["".join(part.content for part in cell.children or ()) for cell in cells]
    assert shown == ["a | b", "312", "280", "118", "940", "312"]


def test_code_is_shown_as_it_is_but_for_what_has_no_glyph() -> None:
    text = "    s = '''```'''\n\treturn '\x1b[0m'"
    told = explain.decision(record(replace(RESCUE, text=text)))
    assert "````python\n    s = '''```'''\n\treturn '\\x1b[0m'\n````" in told


def test_long_values_are_cut() -> None:
    tests = (a_test("assert median([1]) == 1", "assert_failed", "9" * 5000),)
    assert len(explain.decision(record(replace(RESCUE, tests=tests)))) < 2000


# -- a remote model ------------------------------------------------------------------------------

SENT = Sent("models.example", "chat", 34, {"GitHub Token": 1}, '{"prompt": "def f(`x`):"}')


def test_what_was_sent_where_is_shown_letter_for_letter_with_what_was_withheld() -> None:
    asked = replace(RESCUE, tier="remote", usage=Usage(90, 0, 20, money=0.00042, sent=(SENT,)))
    text = explain.decision(record(FAILED, asked))
    part = text.split("## What left this machine")[1].split("##")[0]
    assert "To models.example (chat): 34 characters; withheld: 1 line (GitHub Token)." in part
    assert SENT.body in part
    assert "0.00042" in text.split("## What it cost")[1]


def test_what_was_sent_and_is_not_kept_is_told_by_its_size() -> None:
    asked = replace(RESCUE, tier="remote", usage=Usage(sent=(replace(SENT, body=""),)))
    text = explain.decision(record(FAILED, asked))
    assert "34 characters" in text and "cascade.ledger.source_text" in text


def test_a_remote_model_that_failed_or_was_not_asked_is_told_and_others_are_not_mentioned() -> None:
    why = "models.example did not answer within 20 s"
    failed = explain.decision(replace(record(FAILED), remote=why, lost=(SENT,)))
    assert f"It failed: {why}" in failed and SENT.body in failed
    refused = explain.decision(replace(record(FAILED), remote="shop.py is blocked"))
    assert "It was not asked: shop.py is blocked" in refused
    assert "left this machine" not in explain.decision(record(FAILED))
