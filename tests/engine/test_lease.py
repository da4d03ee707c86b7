"""The lease lets one engine compute at a time: the most urgent request's, the oldest of those."""

from cascade_lsp.engine import Priority
from cascade_lsp.engine.lease import Lease


class Model:
    """An engine of which only the computing is of interest."""

    def __init__(self) -> None:
        self.computing = False
        self.told = 0

    def set_computing(self, computing: bool) -> None:
        self.computing = computing
        self.told += 1


def computing(*models: Model) -> list[bool]:
    return [model.computing for model in models]


def test_one_engine_computes_and_the_next_when_it_is_done() -> None:
    lease, first, second = Lease(), Model(), Model()
    claim = lease.claim(first, Priority.VERIFY)
    later = lease.claim(second, Priority.VERIFY)
    assert computing(first, second) == [True, False]
    lease.release(claim)
    assert computing(first, second) == [False, True]
    lease.release(later)
    assert computing(first, second) == [False, False]


def test_a_more_urgent_request_interrupts_and_the_other_goes_on_after_it() -> None:
    lease, large, small = Lease(), Model(), Model()
    lease.claim(large, Priority.VERIFY)
    keystroke = lease.claim(small, Priority.KEYSTROKE)
    assert computing(large, small) == [False, True]
    lease.release(keystroke)
    assert computing(large, small) == [True, False]


def test_what_may_be_asked_next_waits_for_everything_else() -> None:
    lease, ahead, behind = Lease(), Model(), Model()
    lease.claim(ahead, Priority.AHEAD)
    lease.claim(behind, Priority.VERIFY)
    assert computing(ahead, behind) == [False, True]


def test_an_engine_with_several_requests_is_told_once() -> None:
    lease, model = Lease(), Model()
    claims = [lease.claim(model, priority) for priority in Priority]
    for claim in claims:
        assert model.computing
        lease.release(claim)
    assert (model.computing, model.told) == (False, 2)
