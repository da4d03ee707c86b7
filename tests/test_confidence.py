"""Figures from log-probabilities."""

from math import log

import pytest

from cascade_lsp.confidence import confidence, features


def test_confidence_is_the_mean_probability_of_the_first_three_tokens() -> None:
    assert confidence([log(0.9), log(0.6), log(0.3), log(0.001)]) == pytest.approx(0.6)


def test_an_empty_answer_has_no_confidence() -> None:
    assert confidence([]) is None
    assert features([]) == {"tokens": 0}


def test_features_name_the_least_likely_token() -> None:
    assert features([log(0.5), log(0.01)])["logprob_min"] == pytest.approx(log(0.01))
