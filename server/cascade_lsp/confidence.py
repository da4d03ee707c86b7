"""What a model's own log-probabilities say: raw features, and one figure in [0, 1].

Pure. The figure is the mean probability of the first three tokens (MCCom, arXiv 2603.05974;
SynConfRoute, arXiv 2605.04894). It is uncalibrated: `policy` gates on it only when asked to.
"""

from collections.abc import Mapping, Sequence
from math import exp, isnan
from statistics import fmean

FIRST = 3


def features(logprobs: Sequence[float]) -> Mapping[str, float]:
    """Return raw features of the natural-log probabilities of one answer's tokens; of a model that
    does not tell them (NaN) only how many there are."""
    if not logprobs or any(map(isnan, logprobs)):
        return {"tokens": float(len(logprobs))}
    return {
        "tokens": float(len(logprobs)),
        "probability_first_3": fmean(map(exp, logprobs[:FIRST])),
        "logprob_first_8": fmean(logprobs[:8]),
        "logprob_mean": fmean(logprobs),
        "logprob_min": min(logprobs),
    }


def least(known: Mapping[str, float]) -> float | None:
    """Return the probability of the least likely token by `features`, None for an empty answer."""
    return exp(known["logprob_min"]) if "logprob_min" in known else None


def confidence(logprobs: Sequence[float]) -> float | None:
    """Return the mean probability of the first three tokens, None for an empty answer."""
    return features(logprobs).get("probability_first_3")
