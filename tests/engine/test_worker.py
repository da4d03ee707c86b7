"""The parts of the worker that need no model."""

import numpy as np
import pytest

from cascade_lsp.engine import Prompt
from cascade_lsp.engine.worker import StopFilter, common_prefix, sample

STOPS = [
    ("a stop string is cut", ["x``", "` y"], ("```",), 0, "x", True),
    ("what may become a stop is held back", ["x`", "y"], ("```",), 0, "x`y", False),
    ("the earliest stop counts", ["ab", "cd"], ("d", "b"), 0, "a", True),
    ("a line indented less ends it", ["  a\n", "    b\n", "\n", "c"], (), 4, "  a\n    b", True),
    ("blank lines stay", ["a\n    b", "\n\n", "   ", " c"], (), 4, "a\n    b\n\n    c", False),
    ("the first line has no indentation of its own", ["a", "b"], (), 4, "ab", False),
    ("without a block any line may follow", ["a\n", "b"], (), 0, "a\nb", False),
]


@pytest.mark.parametrize(
    ("pieces", "stops", "indent", "text", "ended"),
    [s[1:] for s in STOPS],
    ids=[s[0] for s in STOPS],
)
def test_stop_filter(
    pieces: list[str], stops: tuple[str, ...], indent: int, text: str, ended: bool
) -> None:
    stop_filter, shown, done = StopFilter(stops, indent), "", False
    for piece in pieces:
        more, done = stop_filter.feed(piece)
        shown += more
        if done:
            break
    assert (shown + stop_filter.held, done) == (text, ended)


def test_the_common_prefix_of_token_lists() -> None:
    assert common_prefix([[1, 2, 3], [1, 2, 4], [1, 2]]) == 2
    assert common_prefix([[1, 2]]) == 2
    assert common_prefix([[1], []]) == 0


def test_greedy_sampling_takes_the_likeliest_and_its_log_probability() -> None:
    logits = np.log(np.array([0.1, 0.7, 0.2], dtype=np.float32))
    token, logprob = sample(logits, Prompt(()), np.random.default_rng(0))
    assert token == 1
    assert logprob == pytest.approx(np.log(0.7), abs=1e-5)


def test_sampling_stays_within_top_k_and_top_p() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], dtype=np.float32))
    random = np.random.default_rng(1)
    by_k = {
        sample(logits, Prompt((), temperature=1, top_k=2, top_p=1), random)[0] for _ in range(99)
    }
    by_p = {
        sample(logits, Prompt((), temperature=1, top_k=4, top_p=0.7), random)[0] for _ in range(99)
    }
    assert by_k == by_p == {0, 1}
