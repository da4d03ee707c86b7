"""What turns cost, worked out by hand."""

import json

import pytest

from cascade_lsp.lab.prices import (
    Dollars,
    Operations,
    Seconds,
    Speed,
    as_row,
    from_row,
)
from cascade_lsp.lab.replay import Batch, Spent

SPEED = Speed(read_per_s=100.0, step_ms={1: 10.0, 2: 12.0, 4: 20.0})
SECONDS = Seconds({"s": SPEED})


def spent(*written: int, read: int = 0, checks: int = 0, model: str = "s") -> Spent:
    return Spent(model, (Batch(read, written),), checks, 0.002)


STEPS = [
    (1, 0.010),
    (2, 0.012),
    (3, 0.016),  # half way between 12 and 20
    (4, 0.020),
    (8, 0.040),  # beyond what was measured: in proportion to the widest
]


@pytest.mark.parametrize(("width", "seconds"), STEPS)
def test_the_time_of_a_decode_is_read_off_between_measured_widths(
    width: int, seconds: float
) -> None:
    assert SPEED.step_s(width) == pytest.approx(seconds)


def test_between_widths_that_are_far_apart_the_nearer_one_weighs_more() -> None:
    assert Speed(1.0, {1: 10.0, 5: 50.0}).step_s(2) == pytest.approx(0.020)


TURNS = [
    (spent(), 0.0),
    (spent(read=50), 0.5),
    (spent(5), 0.05),
    (spent(5, 5), 5 * 0.012),
    # Three together for 2 steps, two for 3 more, one for the last 5.
    (spent(10, 2, 5), 2 * 0.016 + 3 * 0.012 + 5 * 0.010),
    (spent(0, 4), 4 * 0.010),  # one that wrote nothing does not widen the batch
    (spent(checks=7), 7 * 0.002),
    (spent(5, read=50, checks=10), 0.5 + 0.05 + 0.02),
]


@pytest.mark.parametrize(("turn", "seconds"), TURNS)
def test_seconds_are_reading_writing_and_checking(turn: Spent, seconds: float) -> None:
    assert SECONDS.of(turn) == pytest.approx(seconds)


def test_batches_are_written_one_after_the_other() -> None:
    turn = Spent("s", (Batch(50, (5,)), Batch(20, (5, 3))), 10, 0.002)
    assert (turn.read, turn.written) == (70, 13)
    together = 3 * 0.012 + 2 * 0.010
    assert SECONDS.of(turn) == pytest.approx(0.5 + 5 * 0.010 + 0.2 + together + 0.02)
    assert Operations({"s": 0.5}).of(turn) == 83.0


def test_every_turn_has_its_overhead() -> None:
    price = Seconds({"s": SPEED}, overhead_s=0.25)
    assert price.of(spent()) == 0.25
    assert price.of(spent(read=100)) == pytest.approx(1.25)


def test_sequences_are_priced_alike_in_any_order() -> None:
    assert SECONDS.of(spent(9, 1, 4)) == SECONDS.of(spent(1, 4, 9))


def test_operations_are_two_a_parameter_and_token() -> None:
    price = Operations({"s": 0.5, "l": 1.5})
    assert price.of(spent(10, 20, read=70, checks=99)) == 100.0
    assert price.of(spent(10, model="l")) == 30.0


def test_money_is_paid_for_tokens_and_for_local_seconds() -> None:
    price = Dollars({"far": 2.0}, {"far": 8.0}, SECONDS, local=0.5)
    assert price.of(spent(5, read=50)) == pytest.approx(0.5 * 0.55)
    # A million read for 2, half a million written for 8 each, and 10 checks of 2 ms here.
    remote = spent(400_000, 100_000, read=1_000_000, checks=10, model="far")
    assert price.of(remote) == pytest.approx(2.0 + 4.0 + 0.5 * 0.02)


def test_a_machine_that_is_there_anyway_costs_nothing() -> None:
    assert Dollars({}, {}, SECONDS).of(spent(5, read=50, checks=3)) == 0.0


def test_units_name_what_is_paid() -> None:
    prices = SECONDS, Operations({}), Dollars({}, {}, SECONDS)
    assert [price.unit for price in prices] == ["seconds", "gflop", "dollars"]


def test_speeds_survive_a_file() -> None:
    speeds = {"s": SPEED, "l": Speed(33.3, {1: 31.25, 16: 99.5})}
    assert from_row(json.loads(json.dumps(as_row(speeds)))) == speeds
    assert from_row(as_row(speeds)) == speeds


def test_what_else_stands_in_a_price_file_is_no_model() -> None:
    row = {"machine": "here", "note": {"by": "hand"}, **as_row({"s": SPEED})}
    assert from_row(row) == {"s": SPEED}
