"""Tell a decision, or a week of them, as Markdown and as JSON: the verdict first, then why.

It judges nothing: what would have decided otherwise is found by asking `policy.decide` about
altered evidence. What models wrote stays text: it can form no heading, table, link or markup,
and control characters are shown, not sent to the terminal.

`as_json` (`cascade explain --json`) has this shape; fields may be added, none is renamed:

    {id, created, uri, language, line, column, function, untestable, trigger, plan, ms, chosen,
     verdict, otherwise, events: [{kind, at, value}],
     attempts: [{tier, model, text, why, tests: [{text, origin, trusted, strong, outcome, seen,
       detail, ms}], dropped: {REASON: count}, features: {NAME: figure},
       evidence: {execution, empty, syntax_ok, n_tests, n_s, n_t, k, trusted_passed,
         trusted_failed, inconclusive, confidence, own_passed, own_failed, least, rejected},
       score, policy: {theta, theta_trusted, theta_own, escalate, min_confidence, min_least},
       decision: {action, reason, observed, required}, unused: {REASON: count},
       usage: {prompt_tokens, cached_tokens, new_tokens, ms, cost, money,
         sent: [{host, api, chars, withheld: {KIND: lines}, body}]}}],
     remote, lost: [{host, api, chars, withheld, body}], power}
"""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import cattrs

from cascade_lsp.engine import Sent, Usage
from cascade_lsp.ledger import DOCUMENT, PROJECT, Attempt, Event, Record, TestRun
from cascade_lsp.policy import Evidence, Policy, Reason, decide
from cascade_lsp.sandbox import Outcome

WHY: Mapping[Reason, str] = {
    Reason.EMPTY: "it offered nothing",
    Reason.SYNTAX: "its text breaks the syntax of the file",
    Reason.TRUSTED_FAILED: "it fails {e.trusted_failed} of {trusted} docstring examples",
    Reason.TRUSTED_PASSED: "it passes all {trusted} docstring examples; no other test counts",
    Reason.OWN_FAILED: "it fails {e.own_failed} of {own} tests of the project that import it",
    Reason.OWN_PASSED: "it passes all {own} tests of the project that import it",
    Reason.TESTS_FAILED: "it passes {e.n_s} of {e.n_tests} tests, which is not enough",
    Reason.TESTS_PASSED: "it passes {e.n_s} of {e.n_tests} tests",
    Reason.NO_TESTS: "there is no usable test, and what can be tested is not taken on trust",
    Reason.NOT_TESTABLE: "nothing can be tested here, which is not held against it",
    Reason.NOT_EXECUTED: "running code is turned off, so nothing was tested",
    Reason.INCONCLUSIVE: "its tests say nothing either way, which is not held against it",
    Reason.LOW_CONFIDENCE: "its confidence is {observed}, and {required} is needed",
    Reason.UNLIKELY_TOKEN: "its least likely token had a probability of {observed}, and {required} "
    "is needed where no example vouches for it",
    Reason.REJECTED: "the user had just typed something else than it suggested",
    Reason.NOT_CHECKED: "it was shown at once and has not been tested",
}
_DONE = {"accept": "accepted", "escalate": "escalated", "best_effort": "best effort"}
_BODY_NOT_KEPT = (
    "The text itself is kept until the editor closes, and longer with `cascade.ledger.source_text`."
)
_NOT_KEPT = "Its text is not kept: turn on `cascade.ledger.source_text` to see it here."


def as_result(record: Record) -> dict[str, Any]:
    """Return what `cascade complete --json` prints, as README.md documents it."""
    answer = record.answer
    return {
        "id": record.id,
        "text": answer.text,
        "tier": answer.tier,
        "decision": asdict(record.decision),
        "tests": [{"text": t.text, "verdict": t.outcome, "seen": t.seen} for t in answer.tests],
        "usage": {tier: _without_cost(usage) for tier, usage in _usage([record]).items()},
        "ms": record.ms,
    }


def as_json(record: Record, events: Sequence[Event] = ()) -> dict[str, Any]:
    """Return everything known of a decision; the shape is in this module's docstring."""
    told: dict[str, Any] = cattrs.unstructure(record)
    for attempt, tried in zip(told["attempts"], record.attempts, strict=True):
        attempt |= {"score": tried.evidence.score, "why": why(tried)}
    said = {"verdict": verdict(record), "otherwise": otherwise(record)}
    return {**told, **said, "events": [asdict(event) for event in events]}


def as_row(record: Record, events: Sequence[Event]) -> dict[str, Any]:
    """Return a decision in brief, as a list of decisions shows it."""
    return {
        "id": record.id,
        "created": record.created,
        "uri": record.uri,
        "line": record.line,
        "function": record.function,
        "trigger": record.trigger,
        "tier": record.answer.tier,
        "action": record.decision.action,
        "reason": record.decision.reason,
        "verdict": verdict(record),
        "ms": record.ms,
        "accepted": any(event.kind == "accepted" for event in events),
    }


def decision(record: Record) -> str:
    """Explain one decision as Markdown."""
    blocks = [f"**{_plain(verdict(record))}**", _asked(record)]
    if record.power:
        blocks.append(f"Spared: {_plain(record.power)}.")
    for attempt in record.attempts:
        blocks += _turn(attempt, record.language)
    blocks += ["## What would have changed it", _plain(otherwise(record))]
    blocks += _sent(record)
    blocks += ["## What it cost", _cost_table(_usage([record]))]
    return "\n\n".join(blocks) + "\n"


def period(records: Sequence[Record]) -> str:
    """Sum up the decisions of a period as Markdown."""
    if not records:
        return "**No decision was recorded in this time.**\n"
    escalated = [r for r in records if r.decision.action == "escalate"]
    share = _share(len(escalated), len(records))
    blocks = [
        f"**{_count(len(records), 'suggestion')}, {len(escalated)} escalated ({share}).**",
        "## Why",
        _reason_table(records),
        _tests_in_all(records),
        "## What it cost",
        _cost_table(_usage(records)),
    ]
    if escalated:
        blocks += ["## Latest escalations", "\n".join(map(_brief, escalated[:-6:-1]))]
    return "\n\n".join(blocks) + "\n"


# -- the verdict --------------------------------------------------------------------------------


def _decisive(record: Record) -> Attempt:
    return record.attempts[max(0, len(record.attempts) - 2)]


def verdict(record: Record) -> str:
    """Return the verdict of a decision as one sentence or two."""
    first, answer = _decisive(record), record.answer
    if record.attempts[0].tier == DOCUMENT:
        return _verdict_on_document(record)
    if len(record.attempts) == 1:
        if first.decision.action == "accept":
            return f"Accepted the {first.tier} model's answer: {why(first)}."
        return f"Best effort of the {first.tier} model: {why(first)}, and no larger one answered."
    last = record.attempts[-1]
    refused = f"Escalated: the {first.tier} model's answer was not accepted ({why(first)})"
    if answer is last:
        return f"{refused}; the {last.tier} model's was taken ({why(last)})."
    no_better = f"the {last.tier} model's is no better ({why(last)})"
    return f"{refused}; {no_better}, so the {answer.tier} model's was kept."


def _verdict_on_document(record: Record) -> str:
    own, answer = record.attempts[0], record.answer
    name = record.function
    if own.decision.action == "accept":
        return f"Nothing speaks against {name} as it stands: {why(own)}."
    failed = f"{name} as it stands is not confirmed: {why(own)}"
    if answer is own:
        return f"{failed}; no model has written a better one."
    return f"{failed}; the {answer.tier} model's version is better ({why(answer)})."


def why(attempt: Attempt) -> str:
    """Return why an attempt was judged as it was, as a clause."""
    e, d = attempt.evidence, attempt.decision
    return WHY[d.reason].format(
        e=e,
        trusted=e.trusted_passed + e.trusted_failed,
        own=e.own_passed + e.own_failed,
        observed=_figure(d.observed),
        required=_figure(d.required),
    )


# -- what would have been needed ----------------------------------------------------------------


def otherwise(record: Record) -> str:
    """Return the smallest change of the evidence that would have turned the decision."""
    attempt = _decisive(record)
    e, policy = attempt.evidence, attempt.policy
    accepted = _accepts(e, policy)
    written = attempt.tier != DOCUMENT
    answer = f"The {attempt.tier} model's answer" if written else "The function as it stands"
    for words, altered in _worse(e, policy) if accepted else _better(e, policy):
        if _accepts(altered, policy) != accepted:
            return f"{answer} would {'not ' if accepted else ''}have been accepted if {words}."
    return f"{answer} is judged so under these thresholds whatever its tests show."


def _accepts(evidence: Evidence, policy: Policy) -> bool:
    return decide(evidence, policy).action == "accept"


def _better(evidence: Evidence, policy: Policy) -> Iterator[tuple[str, Evidence]]:
    """Yield ever better evidence, each with the words for the change."""
    repairs, e = _repaired(evidence)
    said = "".join(f"{repair} and " for repair in repairs)
    if repairs:
        yield " and ".join(repairs), e
    if e.least is not None and e.least < policy.min_least:
        surer = replace(e, least=policy.min_least)
        yield f"{said}its least likely token had had a probability of {policy.min_least:g}", surer
    asked = policy.min_confidence
    yield f"{said}its confidence had been {asked:g}", replace(e, confidence=asked)
    for n in range(e.n_s + 1, e.n_tests + 1):
        words = f"{n - e.n_s} more of its {e.n_tests} tests had passed"
        yield said + words, replace(e, n_s=n, n_t=max(e.n_t, 1))
    if e.n_tests:
        for agreeing in range(e.n_t + 1, e.k + 1):
            words = f"all its tests had passed, with {agreeing} of {e.k} answers in agreement"
            yield said + words, replace(e, n_s=e.n_tests, n_t=agreeing)
    else:
        written = replace(e, execution="ran", n_tests=1, n_s=1, n_t=e.k)
        yield f"{said}a usable test had been written and had passed", written


def _repaired(e: Evidence) -> tuple[list[str], Evidence]:
    repairs = []
    if e.empty:
        repairs.append("it had offered an answer")
    if not e.syntax_ok:
        repairs.append("its text had kept the syntax whole")
    if e.trusted_failed:
        repairs.append(f"{e.trusted_failed} more of the docstring examples had passed")
    if e.own_failed:
        repairs.append(f"{e.own_failed} more of the project's tests had passed")
    if e.rejected:
        repairs.append("the user had typed what it suggested")
    trusted, own = e.trusted_passed + e.trusted_failed, e.own_passed + e.own_failed
    fixed = replace(e, empty=False, syntax_ok=True, trusted_passed=trusted, trusted_failed=0)
    return repairs, replace(fixed, own_passed=own, own_failed=0, rejected=False)


def _worse(e: Evidence, policy: Policy) -> Iterator[tuple[str, Evidence]]:
    """Yield ever worse evidence, each with the words for the change."""
    for n in reversed(range(e.n_s)):
        words = f"{e.n_s - n} fewer of its {e.n_tests} tests had passed"
        yield words, replace(e, n_s=n, n_t=e.n_t if n else 0)
    if e.trusted_passed:
        failed = replace(e, trusted_passed=e.trusted_passed - 1, trusted_failed=1)
        yield "a docstring example had failed", failed
    if e.own_passed:
        failed = replace(e, own_passed=e.own_passed - 1, own_failed=1)
        yield "a test of the project had failed", failed
    if policy.min_least and e.least is not None:
        unsure = replace(e, least=0.0)
        yield f"one of its tokens had had a probability below {policy.min_least:g}", unsure
    words = f"its confidence had been below {policy.min_confidence:g}"
    yield words, replace(e, confidence=0.0)
    yield "a test could have been run and had failed", replace(e, execution="ran", n_tests=1)


# -- one tier's turn ----------------------------------------------------------------------------


def _asked(record: Record) -> str:
    place = _code(f"{record.uri.removeprefix('file://')}:{record.line}:{record.column}")
    what = f"function {_code(record.function)}"
    if not record.function:
        what = f"not testable: {_plain(record.untestable)}"
    how = f"{_plain(record.trigger)} request, plan {_plain(record.plan)}, {_time(record.ms)}"
    return f"At {place}, {what}; {how}; decision {_code(record.id)}."


def _turn(attempt: Attempt, language: str) -> Iterator[str]:
    action = attempt.decision.action
    yield f"## {_plain(attempt.tier)}: {_DONE[action]}"
    who = f"{_code(attempt.model)}: " if attempt.model else ""
    yield f"{who}{_plain(why(attempt))}.{_score(attempt)}"
    if attempt.text:
        yield _fenced(attempt.text, language)
    elif not attempt.evidence.empty:
        yield _NOT_KEPT
    for origin in dict.fromkeys(test.origin for test in attempt.tests):
        tests = [test for test in attempt.tests if test.origin == origin]
        yield _tests_heading(origin, tests)
        yield "\n".join(map(_test, sorted(tests, key=_rank)))
    if attempt.dropped:
        reasons = (f"{_plain(_words(label))} ({n})" for label, n in attempt.dropped.items())
        lines = _count(sum(attempt.dropped.values()), "generated line")
        yield f"{lines} not used: {', '.join(reasons)}."
    if attempt.unused:
        reasons = (f"{_plain(_words(label))} ({n})" for label, n in attempt.unused.items())
        yield f"Not used of the project's own tests: {', '.join(reasons)}."


def _score(attempt: Attempt) -> str:
    e, d = attempt.evidence, attempt.decision
    if not e.n_tests:
        return ""
    tests, answers = f"{e.n_s}/{e.n_tests} of the tests", f"{e.n_t}/{e.k} of the answers"
    judged = d.reason in (Reason.TESTS_PASSED, Reason.TESTS_FAILED, Reason.OWN_PASSED)
    needed = f", and {_figure(d.required)} is needed" if judged else ""
    return f" S = {tests} \N{MULTIPLICATION SIGN} {answers} = {e.score:.2f}{needed}."


def _tests_heading(origin: str, tests: Sequence[TestRun]) -> str:
    who = f"Tests written by {_plain(origin)}"
    if origin == PROJECT:
        who = "Tests of the project that import it"
    elif any(test.trusted for test in tests):
        who = f"Examples of the {_plain(origin)}, which are trusted"
    kinds = Counter(_rank(test) for test in tests)
    silent = f", {kinds[1]} without a verdict" if kinds[1] else ""
    return f"{who}: {kinds[2]} of {len(tests)} passed{silent}"


def _rank(test: TestRun) -> int:
    """Order failures first, then tests without a verdict, then those that passed."""
    return 2 if test.outcome == "passed" else 0 if Outcome(test.outcome).conclusive else 1


def _test(test: TestRun) -> str:
    return f"- {'✗?✓'[_rank(test)]} {_code(test.text)}{_shown(test)}"


def _shown(test: TestRun) -> str:
    """Say what a test that did not pass has shown."""
    seen = _code(test.seen or test.detail or "nothing")
    expected = _expected(test.text)
    match test.outcome:
        case "passed":
            return ""
        case "assert_failed" if expected:
            return f": expected {_code(expected)}, saw {seen}"
        case "assert_failed" | "error":
            return f": saw {seen}"
    reason = f" ({_code(test.detail or test.seen)})" if test.detail or test.seen else ""
    return f": {_plain(_words(test.outcome))}, no evidence{reason}"


def _expected(text: str) -> str:
    try:
        match ast.parse(text).body:
            case [ast.Assert(test=ast.Compare(ops=[ast.Eq()], comparators=[right]))]:
                return ast.unparse(right)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        pass
    return ""


# -- sums ---------------------------------------------------------------------------------------


def _usage(records: Iterable[Record]) -> dict[str, Usage]:
    sums: dict[str, Usage] = {}
    for attempt in (attempt for record in records for attempt in record.attempts):
        sums[attempt.tier] = sums.get(attempt.tier, Usage()) + attempt.usage
    return sums


def _without_cost(usage: Usage) -> dict[str, Any]:
    figures = asdict(usage)
    del figures["cost"], figures["money"], figures["sent"]
    return figures


def _cost_table(usage: Mapping[str, Usage]) -> str:
    paid = any(u.money for u in usage.values())
    rows = [
        (
            _plain(tier),
            *(f"{x:,.0f}" for x in (u.prompt_tokens, u.cached_tokens, u.new_tokens, u.ms, u.cost)),
            *([f"{u.money:,.5f}"] if paid else []),
        )
        for tier, u in usage.items()
    ]
    head = ("tier", "prompt tokens", "cached", "new", "ms", "GFLOP", *(["money"] if paid else []))
    return _table(head, rows)


def sending(model: str, refused: str, requests: Sequence[Sent]) -> str:
    """Tell as Markdown what a remote model would be sent at a place."""
    blocks = [f"**{_plain(model)} would {'not ' if refused else ''}be asked here.**"]
    if refused:
        blocks.append(f"{_plain(refused)}.")
    if requests:
        blocks.append(f"It would be sent{' if it were' if refused else ''}:")
    for one in requests:
        blocks += _request(one)
    return "\n\n".join(blocks) + "\n"


def _request(one: Sent) -> Iterator[str]:
    kept_back = ", ".join(f"{_count(n, 'line')} ({kind})" for kind, n in one.withheld.items())
    withheld = f"; withheld: {_plain(kept_back)}" if kept_back else ""
    yield f"To {_plain(one.host)} ({one.api}): {one.chars:,} characters{withheld}."
    yield _fenced(one.body, "json") if one.body else _BODY_NOT_KEPT


def _sent(record: Record) -> Iterator[str]:
    """Tell what left this machine for this decision, and why not more; nothing without a remote
    model."""
    sent = (*(one for attempt in record.attempts for one in attempt.usage.sent), *record.lost)
    if sent or record.remote:
        yield "## What left this machine"
    if record.remote:
        how = "It failed" if record.lost else "It was not asked"
        yield f"{how}: {_plain(record.remote)}"
    for one in sent:
        yield from _request(one)


def _reason_table(records: Sequence[Record]) -> str:
    counts = Counter((r.decision.action, r.decision.reason) for r in records)
    rows = [
        (_DONE[action], _words(reason), str(n), _share(n, len(records)))
        for (action, reason), n in counts.most_common()
    ]
    return _table(("decision", "reason", "count", "share"), rows, left=2)


def _tests_in_all(records: Sequence[Record]) -> str:
    tests = [test for r in records for attempt in r.attempts for test in attempt.tests]
    kinds = Counter(_rank(test) for test in tests)
    return (
        f"{_count(len(tests), 'test')} run: {kinds[2]} passed, {kinds[0]} failed, {kinds[1]} "
        f"({_share(kinds[1], len(tests))}) without a verdict."
    )


def _brief(record: Record) -> str:
    return f"- {_code(record.id)} {_code(record.function or '-')}: {_plain(why(_decisive(record)))}"


# -- Markdown that nothing breaks out of --------------------------------------------------------


def _visible(text: str, keep: str = "") -> str:
    """Show what has no glyph (line ends, escapes, bidirectional marks) as Python would write it."""
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~&!$])", r"\\\1", _visible(text))


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _code(text: str, most: int = 160) -> str:
    """Return inline code on one line, cut at `most` characters."""
    line = _visible(text)
    line = line if len(line) <= most else line[:most] + "…"
    ticks = "`" * (_longest_run(line) + 1)
    return f"{ticks} {line} {ticks}" if "`" in line or not line.strip() else f"{ticks}{line}{ticks}"


def _fenced(text: str, language: str) -> str:
    fence = "`" * max(3, _longest_run(text) + 1)
    name = language if re.fullmatch(r"[\w+#-]*", language, re.ASCII) else ""
    shown = _visible(text, keep="\n\t").rstrip("\n")
    return f"{fence}{name}\n{shown}\n{fence}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    lines = [head, ["---"] * left + ["---:"] * (len(head) - left), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _words(label: str) -> str:
    return label.replace("_", " ")


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "0%"


def _figure(figure: float | None) -> str:
    return "nothing" if figure is None else f"{figure:.2f}"


def _time(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"
