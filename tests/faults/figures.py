"""The few numbers that a row of the table shows of many measured ones."""

from collections.abc import Sequence

import numpy as np


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum; empty if nothing was measured."""
    if not values:
        return {}
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "max": round(float(max(values)), 2)}


def slope_per_hour(at_s: Sequence[float], values: Sequence[float]) -> float:
    """By least squares; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    return round(float(np.polyfit(np.asarray(at_s) / 3600, values, 1)[0]), 3)
