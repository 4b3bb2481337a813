# SPDX-License-Identifier: Apache-2.0
"""Medians, spreads and ratios of what rounds gave. Pure: no clock, no machine.

One round measures every contestant once, one after the other. So a ratio is taken within a round, where both sides had
the same neighbours, and the ratio of a row is the median of the ratios of its rounds. None stands for a round that gave
nothing.
"""
import statistics


def present(values):
    return [value for value in values if value is not None]


def median(values):
    values = present(values)
    return statistics.median(values) if values else None


def mad(values):
    """Median absolute deviation: half of the rounds are closer to the median. One wild round does not move it."""
    values = present(values)
    if not values:
        return None
    middle = statistics.median(values)
    return statistics.median(abs(value - middle) for value in values)


def spread(values):
    """The deviation as a part of the median: 0.02 says that half of the rounds are within 2 %. None for fewer than
    two."""
    values = present(values)
    if len(values) < 2:
        return None
    middle = statistics.median(values)
    return mad(values) / abs(middle) if middle else 0.0


def ratios(values, others):
    """Round by round; a round without both sides, or with a divisor of 0, gives none."""
    return [value / other for value, other in zip(values, others) if value is not None and other]


def percentile(values, fraction):
    """The smallest value that at least this part of all values does not exceed."""
    ordered = sorted(present(values))
    if not ordered:
        return None
    return ordered[max(0, min(len(ordered) - 1, -int(-fraction * len(ordered) // 1) - 1))]


def best(candidates, higher_is_better=False):
    """The name with the best value of {name: value}, or None when there is none."""
    named = {name: value for name, value in candidates.items() if value is not None}
    if not named:
        return None
    return (max if higher_is_better else min)(named, key=named.get)
