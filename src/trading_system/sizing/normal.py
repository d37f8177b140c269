"""The normal distribution, right in its tails, and Student's t with four degrees of freedom."""

import math
from statistics import NormalDist

_ROOT_2 = math.sqrt(2)
MEAN_ABSOLUTE = math.sqrt(2 / math.pi)  # E|Z| of a standard normal Z
_STANDARD = NormalDist()


def density(z: float) -> float:
    """φ(z)."""
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def below(z: float) -> float:
    """Φ(z), the chance of less than z; of relative accuracy far out, too.

    >>> f"{below(-10):.3e}"
    '7.620e-24'
    """
    return math.erfc(-z / _ROOT_2) / 2


def quantile(p: float) -> float:
    """Φ⁻¹(p); minus and plus infinity at 0 and 1."""
    if p <= 0 or p >= 1:
        return math.copysign(math.inf, p - 0.5)
    return _STANDARD.inv_cdf(p)


def fat_quantile(p: float) -> float:
    """The p-quantile of Student's t with four degrees of freedom, scaled to deviation 1: tails as daily returns have them. 0 < p < 1.

    Source: Shaw, "Sampling Student's T distribution", Journal of Computational Finance 9 (2006): of four degrees it has this closed form.
    """
    alpha = math.sqrt(4 * p * (1 - p))
    return math.copysign(math.sqrt(2 * max(0.0, math.cos(math.acos(min(1.0, alpha)) / 3) / alpha - 1)), p - 0.5)
