"""Scores without a label: each rule on matrices worked out by hand, and what judges a score."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import exp, log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp import confidence
from cascade_lsp.errors import UsageError
from cascade_lsp.lab import scores
from cascade_lsp.lab.scores import Grouped, Logistic, auroc, quality
from cascade_lsp.lab.study import Answer, Case, Column, Sample, Solution, Written
from cascade_lsp.sandbox import Outcome

KINDS = {"P": "passed", "F": "assert_failed", "E": "error", "T": "timeout"}
SHARES = {"s", "pass_fraction", "codet", "b4", "mbr_exec", "agreement", "examples"} | {
    "first_3",
    "first_3_syntax",
    "mccom",
}
LOGPROBS = (log(0.9), log(0.6), log(0.3), log(0.5))


def case_of(
    *rows: str,
    examples: int = 0,
    order: Sequence[int] | None = None,
    logprobs: Sequence[float] = LOGPROBS,
    syntax_ok: bool = True,
) -> Case:
    """Return a case whose solutions have these outcomes, a letter a test: first of the examples,
    then of the model's tests, which it wrote in that `order`.

    Row 0 of the pass matrix is of another model; the solutions' rows begin at 1.
    """
    n = len(rows[0])
    found = [examples + i for i in order or range(n - examples)]
    solutions = tuple(Solution(i + 1, confidence.features(logprobs)) for i, _ in enumerate(rows))
    outcomes = (("timeout",) * n, *([KINDS[x] for x in row] for row in rows))
    return Case(
        id="p",
        source="toy",
        group="p",
        chars=80,
        testable=True,
        answers=tuple(Answer("passed", True, syntax_ok, 10 + i) for i in range(len(rows) + 1)),
        columns=tuple(Column(i < examples, "assert_failed", "", i, i) for i in range(n)),
        outcomes=tuple(tuple(map(Outcome, kinds)) for kinds in outcomes),
        written={"small": {"chat": Written(True, (1, 1), solutions, (Sample(9, tuple(found)),))}},
        check_s=0.001,
    )


def choices(case: Case) -> dict[str, tuple[int, float]]:
    """Return every rule's pick, as an index into the solutions, and its score."""
    k = len(case.written["small"]["chat"].solutions)
    found = scores.choices(case, "small", k, 1)
    return {name: (choice.row - 1, choice.score) for name, choice in found.items()}


# Two alike and one that differs: n_t is 3 by the first test, so S = 2/3 * 3/3.
TWO_ALIKE = case_of("PPF", "PPF", "PFP")
# The cluster is behind the greedy one, which passes more.
CLUSTER_BEHIND = case_of("PPP", "PPF", "PPF")
# A single one, half right.
SINGLE = case_of("PF")
# The example decides against the greedy one; a timeout is no verdict for the third test.
EXAMPLE = case_of("FPPT", "PPFT", examples=1)
NOTHING = case_of("", "")
ONLY_EXAMPLES = case_of("FP", "PP", examples=2)
# Both fail all, in two ways: alike to CodeT, not to MBR-exec.
TWO_WAYS = case_of("FE", "EF")

BY_HAND = [
    (TWO_ALIKE, "s", 0, 2 / 3),
    (TWO_ALIKE, "pass_fraction", 0, 2 / 3),
    (TWO_ALIKE, "codet", 0, 2 * sqrt(2) / (3 * sqrt(3))),
    (TWO_ALIKE, "mbr_exec", 0, 2 / 3),
    (TWO_ALIKE, "agreement", 0, 2 / 3),
    (TWO_ALIKE, "examples", 0, 0.5),
    (CLUSTER_BEHIND, "s", 0, 1.0),
    (CLUSTER_BEHIND, "codet", 0, 3 / (3 * sqrt(3))),
    (CLUSTER_BEHIND, "mbr_exec", 1, 2 / 3),
    (CLUSTER_BEHIND, "agreement", 0, 1 / 3),
    (SINGLE, "s", 0, 0.5),
    (SINGLE, "codet", 0, 0.5),
    (SINGLE, "mbr_exec", 0, 1.0),
    (EXAMPLE, "s", 1, 1 / 2 * 2 / 2),
    (EXAMPLE, "pass_fraction", 1, 1 / 2),
    (EXAMPLE, "examples", 1, 1.0),
    (EXAMPLE, "codet", 0, 2 / (3 * sqrt(2))),
    (EXAMPLE, "mbr_exec", 0, 1 / 2),
    (NOTHING, "s", 0, 0.0),
    (NOTHING, "pass_fraction", 0, 0.0),
    (NOTHING, "codet", 0, 0.0),
    (NOTHING, "b4", 0, 0.0),
    (NOTHING, "mbr_exec", 0, 0.0),
    (NOTHING, "agreement", 0, 0.0),
    (NOTHING, "examples", 0, 0.5),
    (ONLY_EXAMPLES, "s", 1, 0.0),
    (ONLY_EXAMPLES, "examples", 1, 1.0),
    (ONLY_EXAMPLES, "agreement", 0, 1 / 2),
    (TWO_WAYS, "s", 0, 0.0),
    (TWO_WAYS, "mbr_exec", 0, 1 / 2),
    (TWO_WAYS, "agreement", 0, 1.0),
    (TWO_WAYS, "codet", 0, 0.0),
]


@pytest.mark.parametrize(("case", "name", "pick", "score"), BY_HAND)
def test_a_rule_on_a_matrix_worked_out_by_hand(
    case: Case, name: str, pick: int, score: float
) -> None:
    assert choices(case)[name] == (pick, pytest.approx(score))


OF_TOKENS = [
    (LOGPROBS, "first_3", 0.6),
    (LOGPROBS, "first_3_syntax", 0.6),
    (LOGPROBS, "mccom", 0.6),
    (LOGPROBS, "logprob_mean", log(0.9 * 0.6 * 0.3 * 0.5) / 4),
    (LOGPROBS, "logprob_first_8", log(0.9 * 0.6 * 0.3 * 0.5) / 4),
    (LOGPROBS, "logprob_min", log(0.3)),
    (LOGPROBS, "length", -4.0),
    ((-1.0,) * 8 + (-10.0,), "logprob_first_8", -1.0),
    ((), "first_3", 0.0),
    ((), "logprob_min", scores.FLOOR),
    ((), "length", 0.0),
]


@pytest.mark.parametrize(("logprobs", "name", "score"), OF_TOKENS)
def test_a_rule_on_tokens_picks_the_greedy_answer(
    logprobs: Sequence[float], name: str, score: float
) -> None:
    case = case_of("F", "P", logprobs=logprobs)
    assert choices(case)[name] == (0, pytest.approx(score))


def test_broken_syntax_is_no_confidence() -> None:
    case = case_of("P", syntax_ok=False)
    assert choices(case)["first_3_syntax"] == (0, 0.0)
    assert choices(case)["first_3"][1] > 0


# -- B4 -----------------------------------------------------------------------------------------


def test_b4s_posterior_is_a_sum_of_log_beta_functions() -> None:
    # B(a, 1) = 1 / a, B(a, 2) = 1 / (a (a + 1)), B(1, b) = 1 / b, B(2, b) = 1 / (b (b + 1)).
    right = scores.log_posterior([(True,)], [0], (True,))
    assert right == pytest.approx(-2 * log(1001) - log(10_000))
    nobody = scores.log_posterior([(True,)], [], (False,))
    assert nobody == pytest.approx(-2 * log(1000 * 1001) - log(10_000 * 10_001))
    # One of two is right, and the other passes the right test and fails the wrong one.
    one = scores.log_posterior([(True, False), (True, False)], [0], (True, False))
    unknown = 2 * log(1001 * 1002)  # one of two right, twice: B(1001, 2)
    assert one == pytest.approx(-unknown - log(2) - log(10_001), abs=1e-6)


def test_b4_holds_a_pass_of_all_for_certain_and_ranks_what_is_less() -> None:
    found = [choices(case_of(*rows))["b4"] for rows in (["PPPP"] * 2, ["PPPP", "FFFF"], ["PFFF"])]
    assert found[0] == (0, pytest.approx(1.0))
    assert 1.0 > found[1][1] > found[2][1] > 0.0


def test_b4_prefers_the_larger_set_where_tests_do_not_tell() -> None:
    assert choices(case_of("PFF", "FPF", "FPF"))["b4"][0] == 1


# -- what holds for every matrix ----------------------------------------------------------------


@st.composite
def permuted(draw: st.DrawFn) -> tuple[Case, Case]:
    """Return a case, and the same one with the model's tests written in another order."""
    k, n = draw(st.integers(1, 4)), draw(st.integers(0, 6))
    examples = draw(st.integers(0, min(n, 2)))
    row = st.text("PFET", min_size=n, max_size=n)
    rows = draw(st.lists(row, min_size=k, max_size=k))
    order = draw(st.permutations(range(n - examples)))
    return case_of(*rows, examples=examples), case_of(*rows, examples=examples, order=order)


@given(permuted())
def test_a_share_is_in_the_unit_interval_and_the_order_of_tests_does_not_matter(
    cases: tuple[Case, Case],
) -> None:
    first, again = map(choices, cases)
    assert first.keys() == scores.RULES.keys() >= SHARES
    assert all(0.0 <= first[name][1] <= 1.0 for name in SHARES)
    assert first == again


# -- what is asked of the records ---------------------------------------------------------------


def test_tests_are_those_of_the_first_samples_and_of_the_docstring() -> None:
    case = case_of("PPF", examples=1)
    without = scores.observe(case, "small", 1, 0)
    assert [test.trusted for test in without.matrix.tests] == [True]
    both = scores.observe(case, "small", 1, 1)
    assert [test.trusted for test in both.matrix.tests] == [True, False, False]


@pytest.mark.parametrize(
    ("model", "style", "k", "samples"),
    [
        ("large", "chat", 1, 1),
        ("small", "text", 1, 1),
        ("small", "chat", 2, 1),
        ("small", "chat", 0, 1),
        ("small", "chat", 1, 2),
    ],
)
def test_what_is_not_recorded_is_said(model: str, style: str, k: int, samples: int) -> None:
    with pytest.raises(UsageError, match="ecord"):
        scores.choices(case_of("P"), model, k, samples, style)


def test_features_are_the_scores_and_counts_of_the_pick() -> None:
    found = scores.features(EXAMPLE, "small", 2, 1)
    assert found["codet"] == pytest.approx(2 / (3 * sqrt(2)))
    assert all(type(value) is float for value in found.values())
    counts = {
        "n_s": 1,
        "n_tests": 2,
        "n_t": 2,
        "tests_kept": 3,
        "tests_dropped": 0,
        "inconclusive": 1,
        "examples_stated": 1,
        "examples_passed": 1,
        "examples_failed": 0,
        "syntax_ok": 1,
        "prompt_chars": EXAMPLE.chars,
        "answer_chars": EXAMPLE.answers[2].chars,
    }
    assert {name: found[name] for name in counts} == counts


def test_dropped_tests_are_counted_by_reason() -> None:
    case = case_of("PPP", examples=1)
    useless = replace(case.columns[2], stub="passed")
    wrote = case.written["small"]["chat"]
    wrote = replace(wrote, samples=(Sample(9, (0, 1, 2, 1, "tautology")),))
    case = replace(case, columns=(*case.columns[:2], useless), written={"small": {"chat": wrote}})
    found = scores.features(case, "small", 1, 1)
    assert (found["tests_kept"], found["tests_dropped"]) == (1, 3)
    dropped = {name: n for name, n in found.items() if name.startswith("dropped_")}
    assert dropped == {"dropped_useless": 1, "dropped_repeated": 1, "dropped_tautology": 1}


# -- a learned score ----------------------------------------------------------------------------


def toy(n: int = 60) -> tuple[list[dict[str, float]], list[bool]]:
    """Return answers of which those are right whose `x` is above the middle."""
    return [{"x": float(i), "noise": float(i % 3)} for i in range(n)], [
        i >= n / 2 for i in range(n)
    ]


@pytest.mark.parametrize("make", [Logistic, Grouped])
def test_a_model_learns_what_separates(make: Callable[[], Logistic | Grouped]) -> None:
    rows, labels = toy()
    model = make().fit(rows, labels)
    found = [model.probability(row) for row in rows]
    assert auroc(found, labels) == 1.0
    assert found[0] < 0.1 < 0.9 < found[-1]
    assert all(0.0 <= p <= 1.0 for p in found)


def test_a_missing_feature_is_zero_and_an_unknown_one_nothing() -> None:
    model = Logistic().fit(*toy())
    assert model.probability({"noise": 1.0}) == model.probability({"x": 0.0, "noise": 1.0, "y": 9})


@pytest.mark.parametrize("make", [Logistic, Grouped])
def test_where_all_labels_are_alike_only_their_rate_is_learned(
    make: Callable[[], Logistic | Grouped],
) -> None:
    rows, _ = toy(8)
    right, wrong = make().fit(rows, [True] * 8), make().fit(rows, [False] * 8)
    assert right.probability(rows[0]) > 0.85
    assert wrong.probability(rows[0]) < 0.15
    assert Logistic().fit(rows, [True] * 8).probability({}) == pytest.approx(9 / 10)


def test_a_model_of_no_answer_is_refused() -> None:
    with pytest.raises(UsageError):
        Logistic().fit([], [])


def test_without_scikit_learn_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(UsageError, match=r"cascade-lsp\[lab\]"):
        Logistic().fit(*toy())


def test_groups_correct_what_a_straight_line_cannot() -> None:
    # Right in the middle tercile of lengths only; the length itself says nothing in a line.
    rows = [{"prompt_chars": float(i), "examples_stated": float(i % 2)} for i in range(90)]
    labels = [30 <= i < 60 for i in range(90)]
    plain, grouped = Logistic().fit(rows, labels), Grouped(ridge=1.0).fit(rows, labels)
    by_line = [plain.probability(row) for row in rows]
    by_group = [grouped.probability(row) for row in rows]
    assert quality(by_group, labels).skill > 0.7 > quality(by_line, labels).skill
    assert grouped.groups(rows[45]) == ("examples", "middle")
    assert grouped.groups(rows[0]) == ("no_examples", "short")


def test_an_offset_is_the_smaller_the_stronger_the_ridge() -> None:
    rows = [{"prompt_chars": float(i)} for i in range(90)]
    labels = [30 <= i < 60 for i in range(90)]
    fitted = [Grouped(ridge=ridge).fit(rows, labels).offsets["middle"] for ridge in (1, 10, 1000)]
    assert fitted[0] > fitted[1] > fitted[2] > 0


# -- how good a score is ------------------------------------------------------------------------

RANKED = [
    ([1, 2, 3], [False, False, True], 1.0),
    ([3, 2, 1], [False, False, True], 0.0),
    ([1, 2, 2, 3], [False, True, False, True], 3.5 / 4),
    ([5, 5, 5, 5], [True, False, True, False], 0.5),
    ([-9, float("-inf")], [True, False], 1.0),
]


@pytest.mark.parametrize(("values", "labels", "area"), RANKED)
def test_auroc_of_known_vectors(
    values: Sequence[float], labels: Sequence[bool], area: float
) -> None:
    assert auroc(values, labels) == pytest.approx(area)


def test_quality_of_known_values() -> None:
    found = quality([0.8, 0.4], [True, False])
    # (0.2^2 + 0.4^2) / 2 against 0.5 * 0.5; each probability in a bin of its own.
    assert (found.n, found.auroc) == (2, 1.0)
    assert (found.brier, found.skill, found.ece) == pytest.approx((0.1, 0.6, 0.3))


def test_twenty_probabilities_are_ten_pairs() -> None:
    # A pair of 0.0 and 0.1 with none right is off by 0.05; the other pairs, all right at 1.0, not.
    p = [0.0, 0.1] + [1.0] * 18
    assert quality(p, [False] * 2 + [True] * 18).ece == pytest.approx(0.1 / 20)


def test_equal_probabilities_are_judged_together() -> None:
    found = quality([0.5] * 40, [i >= 20 for i in range(40)])
    assert (found.ece, found.skill, found.auroc) == pytest.approx((0.0, 0.0, 0.5))


@pytest.mark.parametrize("label", [True, False])
def test_where_all_labels_are_alike_there_is_no_skill_and_no_area(label: bool) -> None:
    found = quality([0.3, 0.6], [label] * 2)
    assert found.skill != found.skill
    assert found.auroc != found.auroc


def test_the_quality_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        quality([], [])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_a_quality_is_within_its_bounds(pairs: list[tuple[float, bool]]) -> None:
    found = quality([p for p, _ in pairs], [y for _, y in pairs])
    assert 0.0 <= found.brier <= 1.0
    assert 0.0 <= found.ece <= 1.0
    again = quality([p for p, _ in pairs[::-1]], [y for _, y in pairs[::-1]])
    assert found.ece == pytest.approx(again.ece)


def test_probabilities_are_of_log_odds() -> None:
    model = Logistic()
    model.intercept = 1.0
    assert model.probability({}) == pytest.approx(1 / (1 + exp(-1)))
