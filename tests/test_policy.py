"""The judgement: each rule of `decide` by name, and what holds for every evidence."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp.policy import Decision, Evidence, Policy, Reason, decide

TESTED = Evidence("ran", n_tests=4, n_s=4, n_t=1, k=1)

RULES = [
    (replace(TESTED, empty=True), "escalate", Reason.EMPTY),
    (replace(TESTED, syntax_ok=False), "escalate", Reason.SYNTAX),
    (replace(TESTED, trusted_passed=2, trusted_failed=1), "escalate", Reason.TRUSTED_FAILED),
    (TESTED, "accept", Reason.TESTS_PASSED),
    (replace(TESTED, n_s=1), "escalate", Reason.TESTS_FAILED),
    (replace(TESTED, n_s=1, trusted_passed=1), "accept", Reason.TESTS_PASSED),
    (Evidence("ran", trusted_passed=1), "accept", Reason.TRUSTED_PASSED),
    (replace(TESTED, own_passed=2, own_failed=1), "escalate", Reason.OWN_FAILED),
    (replace(TESTED, trusted_failed=1, own_passed=2), "escalate", Reason.TRUSTED_FAILED),
    (replace(TESTED, own_passed=2), "accept", Reason.OWN_PASSED),
    (replace(TESTED, n_tests=10, n_s=1, own_passed=1), "accept", Reason.OWN_PASSED),
    (replace(TESTED, n_s=0, n_t=0, own_passed=9), "escalate", Reason.TESTS_FAILED),
    (Evidence("ran", own_passed=1), "accept", Reason.OWN_PASSED),
    (Evidence("ran", own_passed=1, inconclusive=3), "accept", Reason.OWN_PASSED),
    (Evidence("ran"), "escalate", Reason.NO_TESTS),
    (Evidence("ran", inconclusive=3), "accept", Reason.INCONCLUSIVE),
    (Evidence("not_testable"), "accept", Reason.NOT_TESTABLE),
    (Evidence("off"), "accept", Reason.NOT_EXECUTED),
    (Evidence("not_asked"), "accept", Reason.NOT_CHECKED),
]


@pytest.mark.parametrize(("evidence", "action", "reason"), RULES, ids=lambda v: str(v)[:24])
def test_each_rule_gives_its_reason(evidence: Evidence, action: str, reason: Reason) -> None:
    decision = decide(evidence, Policy(theta=0.5, theta_trusted=0.25))
    assert (decision.action, decision.reason) == (action, reason)


def test_the_score_is_the_papers() -> None:
    assert Evidence("ran", n_tests=8, n_s=6, n_t=2, k=4).score == pytest.approx(6 / 8 * 2 / 4)


def test_a_score_at_the_threshold_is_accepted() -> None:
    evidence = Evidence("ran", n_tests=4, n_s=2, n_t=1, k=1)
    assert decide(evidence, Policy(theta=0.5)) == Decision(
        "accept", Reason.TESTS_PASSED, observed=0.5, required=0.5
    )


def test_low_confidence_escalates_only_when_the_user_asked_for_doubt() -> None:
    doubtful = Evidence("not_testable", confidence=0.2)
    assert decide(doubtful, Policy(escalate="on_failure")).action == "accept"
    assert decide(doubtful, Policy(escalate="on_doubt")) == Decision(
        "escalate", Reason.LOW_CONFIDENCE, observed=0.2, required=0.6
    )


UNLIKELY = 0.19
GATED = [
    # What no example and no test of the project vouches for.
    (Evidence("not_testable", least=UNLIKELY), "escalate", Reason.UNLIKELY_TOKEN),
    (Evidence("off", least=UNLIKELY), "escalate", Reason.UNLIKELY_TOKEN),
    (Evidence("not_asked", least=UNLIKELY), "escalate", Reason.UNLIKELY_TOKEN),
    (Evidence("ran", inconclusive=2, least=UNLIKELY), "escalate", Reason.UNLIKELY_TOKEN),
    (replace(TESTED, least=UNLIKELY), "escalate", Reason.UNLIKELY_TOKEN),
    # What one of them vouches for.
    (replace(TESTED, trusted_passed=1, least=UNLIKELY), "accept", Reason.TESTS_PASSED),
    (replace(TESTED, own_passed=1, least=UNLIKELY), "accept", Reason.OWN_PASSED),
    (Evidence("ran", trusted_passed=1, least=UNLIKELY), "accept", Reason.TRUSTED_PASSED),
    (Evidence("ran", own_passed=1, least=UNLIKELY), "accept", Reason.OWN_PASSED),
    # What is likely enough, or not known to be unlikely.
    (Evidence("not_asked", least=0.2), "accept", Reason.NOT_CHECKED),
    (Evidence("not_asked"), "accept", Reason.NOT_CHECKED),
    (TESTED, "accept", Reason.TESTS_PASSED),
    # What has failed already.
    (Evidence("ran", least=UNLIKELY), "escalate", Reason.NO_TESTS),
    (replace(TESTED, n_s=1, least=UNLIKELY), "escalate", Reason.TESTS_FAILED),
    (replace(TESTED, trusted_failed=1, least=UNLIKELY), "escalate", Reason.TRUSTED_FAILED),
    (Evidence("off", empty=True, least=UNLIKELY), "escalate", Reason.EMPTY),
    (Evidence("off", syntax_ok=False, least=UNLIKELY), "escalate", Reason.SYNTAX),
]


@pytest.mark.parametrize(("evidence", "action", "reason"), GATED)
def test_an_unlikely_token_escalates_only_what_nothing_else_vouches_for(
    evidence: Evidence, action: str, reason: Reason
) -> None:
    decision = decide(evidence, Policy(min_least=0.2))
    assert (decision.action, decision.reason) == (action, reason)
    if reason == Reason.UNLIKELY_TOKEN:
        assert (decision.observed, decision.required) == (UNLIKELY, 0.2)


def test_an_unlikely_token_is_told_before_low_confidence() -> None:
    evidence, policy = Evidence("off", confidence=0.1, least=0.1), Policy(escalate="on_doubt")
    assert decide(evidence, policy).reason == Reason.LOW_CONFIDENCE
    assert decide(evidence, replace(policy, min_least=0.2)).reason == Reason.UNLIKELY_TOKEN


def test_the_last_tier_never_escalates_but_says_that_it_failed() -> None:
    failed = replace(TESTED, n_s=0)
    assert decide(failed, Policy(), last=True) == replace(
        decide(failed, Policy()), action="best_effort"
    )


def test_own_tests_lower_the_bound_and_never_raise_it() -> None:
    policy = Policy(theta=0.5, theta_trusted=0.2, theta_own=0.3)
    assert policy.theta_for(TESTED) == 0.5
    assert policy.theta_for(replace(TESTED, own_passed=1)) == 0.3
    assert policy.theta_for(replace(TESTED, own_passed=1, trusted_passed=1)) == 0.2


def test_what_could_forge_its_own_tests_needs_another_one_that_agrees() -> None:
    assert Policy().theta_own > 0


counts = st.integers(0, 30)


@given(n_tests=st.integers(1, 30), n_s=counts, theta=st.floats(0, 1), trusted=counts)
def test_one_more_passed_test_never_turns_an_acceptance_into_an_escalation(
    n_tests: int, n_s: int, theta: float, trusted: int
) -> None:
    policy = Policy(theta=theta, theta_trusted=theta / 2)
    fewer = Evidence(
        "ran", n_tests=n_tests, n_s=min(n_s, n_tests - 1), n_t=1, trusted_passed=trusted
    )
    more = replace(fewer, n_s=fewer.n_s + 1)
    if decide(fewer, policy).action == "accept":
        assert decide(more, policy).action == "accept"


@given(inconclusive=counts, execution=st.sampled_from(["not_testable", "off", "not_asked"]))
def test_what_could_not_be_tested_is_never_held_against_an_answer(
    inconclusive: int, execution: str
) -> None:
    evidence = Evidence(execution, inconclusive=inconclusive)  # type: ignore[arg-type]
    assert decide(evidence, Policy()).action == "accept"


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    n_tests = draw(st.integers(0, 5))
    n_s = draw(st.integers(0, n_tests))
    few = st.integers(0, 2)
    return Evidence(
        draw(st.sampled_from(["ran", "not_testable", "off", "not_asked"])),
        empty=draw(st.booleans()),
        syntax_ok=draw(st.booleans()),
        n_tests=n_tests,
        n_s=n_s,
        n_t=min(n_s, 1),
        trusted_passed=draw(few),
        trusted_failed=draw(few),
        inconclusive=draw(few),
        own_passed=draw(few),
        own_failed=draw(few),
        least=draw(st.none() | st.floats(0, 1)),
    )


@given(evidences())
def test_without_a_bound_an_unlikely_token_changes_nothing(evidence: Evidence) -> None:
    assert Policy().min_least == 0.0
    assert decide(evidence, Policy()) == decide(replace(evidence, least=None), Policy())


@given(evidences(), st.floats(0, 1))
def test_the_bound_turns_acceptances_only_and_never_those_of_what_is_vouched_for(
    evidence: Evidence, bound: float
) -> None:
    before, after = decide(evidence, Policy()), decide(evidence, Policy(min_least=bound))
    if before != after:
        assert (before.action, after.action) == ("accept", "escalate")
        assert after.reason == Reason.UNLIKELY_TOKEN
        assert not evidence.trusted_passed and not evidence.own_passed
