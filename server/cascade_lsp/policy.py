"""Judge evidence: the only module that compares anything with a threshold.

Pure: no clock, no files, no randomness. Serving, measuring and tuning all call `decide`,
so what is measured is what ships.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal


class Reason(StrEnum):
    """Why a candidate was accepted or handed to the next tier."""

    EMPTY = "empty_answer"
    SYNTAX = "syntax_error"
    TRUSTED_FAILED = "trusted_test_failed"
    TRUSTED_PASSED = "trusted_tests_passed"
    OWN_FAILED = "project_test_failed"
    OWN_PASSED = "project_tests_passed"
    TESTS_FAILED = "self_tests_failed"
    TESTS_PASSED = "self_tests_passed"
    NO_TESTS = "no_valid_tests"
    NOT_TESTABLE = "not_testable"
    NOT_EXECUTED = "execution_off"
    INCONCLUSIVE = "inconclusive"
    LOW_CONFIDENCE = "low_confidence"
    UNLIKELY_TOKEN = "unlikely_token"
    REJECTED = "typed_otherwise"
    NOT_CHECKED = "not_checked"


Execution = Literal["ran", "not_testable", "off", "not_asked"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one tier's answer before it is judged.

    `n_tests` is N_t, the valid generated test lines with a conclusive verdict; `n_s` the ones
    the chosen solution passes; `n_t` the most of the `k` solutions that pass any one line which
    it passes. `trusted_*` count the docstring's examples, `own_*` the project's own tests, those
    with a verdict that counts. `confidence` is the mean probability of the first tokens, in [0, 1],
    `least` the probability of the least likely one. `rejected` says that the user has just typed
    something else than the tier had suggested.
    """

    execution: Execution
    empty: bool = False
    syntax_ok: bool = True
    n_tests: int = 0
    n_s: int = 0
    n_t: int = 0
    k: int = 1
    trusted_passed: int = 0
    trusted_failed: int = 0
    inconclusive: int = 0
    confidence: float | None = None
    own_passed: int = 0
    own_failed: int = 0
    least: float | None = None
    rejected: bool = False

    @property
    def score(self) -> float:
        """Return S = (n_s / N_t) * (n_t / k), in [0, 1] (arXiv 2405.15842, normalised)."""
        return (self.n_s / self.n_tests) * (self.n_t / self.k) if self.n_tests and self.k else 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The thresholds in force for one tier.

    `theta` bounds S from below; `theta_trusted` replaces it where docstring examples exist and
    all pass, `theta_own` where the user's own tests do. `min_least` gates what neither of these
    vouches for, and with `escalate == "on_doubt"` `min_confidence` what no test does. Own tests can
    be forged by what they test: so `theta_own` is above 0, and something that cannot must agree
    where there is any.
    """

    theta: float = 0.5
    theta_trusted: float = 0.25
    escalate: Literal["on_failure", "on_doubt"] = "on_failure"
    min_confidence: float = 0.6
    theta_own: float = 0.1
    min_least: float = 0.0

    def theta_for(self, evidence: Evidence) -> float:
        """Return the bound of S that applies to this evidence."""
        bounds = [self.theta]
        if evidence.trusted_passed:
            bounds.append(self.theta_trusted)
        if evidence.own_passed:
            bounds.append(self.theta_own)
        return min(bounds)


@dataclass(frozen=True, slots=True)
class Decision:
    """The judgement: what to do, why, and the figure observed against the one required.

    `best_effort` is an answer that failed where no larger tier is left to ask.
    """

    action: Literal["accept", "escalate", "best_effort"]
    reason: Reason
    observed: float | None = None
    required: float | None = None


def decide(evidence: Evidence, policy: Policy, *, last: bool = False) -> Decision:
    """Accept the answer or escalate to the next tier; `last` says that there is none.

    No evidence (nothing testable, an inconclusive run) is never counted against an answer; a
    testable function for which no valid test could be had is not accepted on trust.
    """
    decision = _judge(evidence, policy)
    if last and decision.action == "escalate":
        return replace(decision, action="best_effort")
    return decision


def _judge(evidence: Evidence, policy: Policy) -> Decision:
    if evidence.empty:
        return Decision("escalate", Reason.EMPTY)
    if not evidence.syntax_ok:
        return Decision("escalate", Reason.SYNTAX)
    if evidence.trusted_failed:
        trusted = evidence.trusted_passed + evidence.trusted_failed
        share = evidence.trusted_passed / trusted
        return Decision("escalate", Reason.TRUSTED_FAILED, share, 1.0)
    if evidence.own_failed:
        share = evidence.own_passed / (evidence.own_passed + evidence.own_failed)
        return Decision("escalate", Reason.OWN_FAILED, share, 1.0)
    if evidence.n_tests:
        theta = policy.theta_for(evidence)
        if evidence.score < theta:
            return Decision("escalate", Reason.TESTS_FAILED, evidence.score, theta)
        if not (evidence.own_passed or evidence.trusted_passed) and _unlikely(evidence, policy):
            return Decision("escalate", Reason.UNLIKELY_TOKEN, evidence.least, policy.min_least)
        reason = Reason.OWN_PASSED if evidence.own_passed else Reason.TESTS_PASSED
        return Decision("accept", reason, evidence.score, theta)
    if evidence.own_passed:
        return Decision("accept", Reason.OWN_PASSED, 1.0, 1.0)
    if evidence.trusted_passed:
        return Decision("accept", Reason.TRUSTED_PASSED, 1.0, 1.0)
    if evidence.execution == "ran" and not evidence.inconclusive:
        return Decision("escalate", Reason.NO_TESTS, 0, 1)
    return _unverified(evidence, policy)


def _unlikely(evidence: Evidence, policy: Policy) -> bool:
    """Say whether the model itself doubted a token; its own tests share its blind spots."""
    return evidence.least is not None and evidence.least < policy.min_least


def _unverified(evidence: Evidence, policy: Policy) -> Decision:
    if evidence.rejected:
        return Decision("escalate", Reason.REJECTED)
    if _unlikely(evidence, policy):
        return Decision("escalate", Reason.UNLIKELY_TOKEN, evidence.least, policy.min_least)
    if policy.escalate == "on_doubt" and evidence.confidence is not None:
        observed, required = evidence.confidence, policy.min_confidence
        if observed < required:
            return Decision("escalate", Reason.LOW_CONFIDENCE, observed, required)
    reason = {
        "ran": Reason.INCONCLUSIVE,
        "not_testable": Reason.NOT_TESTABLE,
        "off": Reason.NOT_EXECUTED,
        "not_asked": Reason.NOT_CHECKED,
    }[evidence.execution]
    return Decision("accept", reason)
