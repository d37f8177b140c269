"""The paths of paths.py, many side by side: the same model compiled by numba, for a million of them. Only where the extra `research` is installed.

A group of paths moves day by day in arrays that stay in the processor's cache, without a branch in their loops, so that one instruction moves eight
or sixteen of them. Chance is each lane's own xoshiro128++; amounts are added in double precision, a day's move is worked out in single precision.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trading_system.sizing.goal import Goal
from trading_system.sizing.paths import (
    FAR,
    RUIN,
    SHARES,
    SHORTFALL,
    Limits,
    Simulated,
    Worked,
    checkpoints,
    floor_of,
    multiple,
    place_of,
    shocks_of,
    standard_error,
    steps,
)

LANES = 256  # paths that move together
CHUNK = 32 * LANES  # paths of one seed: what one thread does at a time
_AT_TARGET = 1e-7  # how near counts as there, in logarithms: what single precision makes of a year on cash

F, I, U = np.float32, np.int32, np.uint32  # noqa: E741 integers of one width keep the lanes wide


class Lanes(NamedTuple):
    """What became of so many paths. at: logarithms of wealth, a row a checkpoint; reached and halted: how many; touched: the sum of chances."""

    at: NDArray[np.float32]
    reached: int
    touched: float
    halted: int


def _compiled(function: Any) -> Any:
    """Compiled once, and kept where numba may keep it. Products and sums may become one instruction; nothing else is relaxed."""
    way: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return njit(cache=True, **way)(function)
    except RuntimeError:  # there is no folder that can be written: each process compiles anew
        return njit(**way)(function)


_HALF, _ONE, _TWO, _ZERO, _LEAST = F(0.5), F(1), F(2), F(0), F(-1)
_FAR, _RUIN = F(FAR), F(RUIN)
_UNIT = F(2.0**-24)
_LN2, _LOG2E, _ROOT2 = F(math.log(2)), F(1 / math.log(2)), F(math.sqrt(2))
_EIGHTH, _TURN = F(math.pi / 4), F(math.pi / 2 * 2.0**-30)
# Source: Moshier, Cephes 2.2 (logf, expf, sinf): polynomials right to single precision.
_LOG = tuple(
    F(value)
    for value in (
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    )
)
_EXP = tuple(F(value) for value in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1))
_SIN = tuple(F(value) for value in (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1))
_COS = tuple(F(value) for value in (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2))


@_compiled
def _log(x, beyond):  # type: ignore[no-untyped-def]
    """ln(x), x above 0. beyond: x − 1, of which no digit is lost near 1."""
    bits = F(x).view(np.int32)
    power = I((bits >> I(23)) - I(127))
    part = I((bits & I(0x7FFFFF)) | I(0x3F800000)).view(np.float32)
    upper = part > _ROOT2
    part = part * _HALF if upper else part
    shift = F(power) + (_ONE if upper else _ZERO)
    f = beyond if shift == _ZERO else part - _ONE
    z = f * f
    y = _LOG[0]
    y = y * f + _LOG[1]
    y = y * f + _LOG[2]
    y = y * f + _LOG[3]
    y = y * f + _LOG[4]
    y = y * f + _LOG[5]
    y = y * f + _LOG[6]
    y = y * f + _LOG[7]
    y = y * f + _LOG[8]
    return f + (y * f * z - _HALF * z) + shift * _LN2


@_compiled
def _exp(x):  # type: ignore[no-untyped-def]
    """eˣ, x from −40 to 0."""
    power = I(x * _LOG2E - _HALF)
    r = x - F(power) * _LN2
    y = _EXP[0]
    y = y * r + _EXP[1]
    y = y * r + _EXP[2]
    y = y * r + _EXP[3]
    y = y * r + _EXP[4]
    y = y * r + _EXP[5]
    y = y * r * r + r + _ONE
    return y * I((power + I(127)) << I(23)).view(np.float32)


@_compiled
def _waiting(word):  # type: ignore[no-untyped-def]
    """An exponential variate of mean 1: −ln of a uniform one between 0 and 1."""
    uniform = (F(I(word >> U(8))) + _HALF) * _UNIT
    return -_log(uniform, uniform - _ONE)


@_compiled
def _roll(state, out):  # type: ignore[no-untyped-def]
    """The next word of each lane. Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators" (2021), xoshiro128++."""
    a, b, c, d = state[0], state[1], state[2], state[3]
    for lane in range(LANES):
        total = U(a[lane] + d[lane])
        out[lane] = U(U(total << U(7)) | U(total >> U(25))) + a[lane]
        shifted = U(b[lane] << U(9))
        third, fourth = U(c[lane] ^ a[lane]), U(d[lane] ^ b[lane])
        b[lane] = U(b[lane] ^ third)
        a[lane] = U(a[lane] ^ fourth)
        c[lane] = U(third ^ shifted)
        d[lane] = U(U(fourth << U(11)) | U(fourth >> U(21)))


@_compiled
def _normals(radius, turn, first, second):  # type: ignore[no-untyped-def]
    """Two standard normal variates a lane, by Box and Muller: an angle within an eighth of a turn, and its quarter by the two upper bits."""
    for lane in range(LANES):
        r = np.sqrt(_TWO * _waiting(radius[lane]))
        word = turn[lane]
        x = F(I(word & U(0x3FFFFFFF))) * _TURN - _EIGHTH
        z = x * x
        sine = (((_SIN[0] * z + _SIN[1]) * z + _SIN[2]) * z * x + x) * r
        cosine = (((_COS[0] * z + _COS[1]) * z + _COS[2]) * z * z - _HALF * z + _ONE) * r
        swapped, negative = (word >> U(30)) & U(1), (word >> U(31)) & U(1)
        u = sine if swapped else cosine
        v = cosine if swapped else -sine
        first[lane] = -u if negative else u
        second[lane] = -v if negative else v


@_compiled
def _drawn(words, table, out):  # type: ignore[no-untyped-def]
    size = np.uint64(len(table))
    for lane in range(LANES):
        out[lane] = table[np.intp((np.uint64(words[lane]) * size) >> np.uint64(32))]


@_compiled
def _paths(state, table, days, marks, day, rate, sharpe, most, target, daily, fall, brake, count, at):  # type: ignore[no-untyped-def]
    """As many groups as `at` has room for: what paths.py does with one path, of all lanes at once. How many reached the target and were halted, and
    the sum of the chances to have touched it."""
    exact = len(table) == 0
    root, theta, usual = F(math.sqrt(day)), F(sharpe), F(most * sharpe)
    cash, day_, daily_, fall_ = F(rate * day), F(day), F(daily), F(fall)
    usual_drift = F(rate * day + sharpe * sharpe * ((most - most * most / 2) if exact else most) * day)
    floors = daily > -np.inf or fall > -np.inf
    words, others = np.empty(LANES, np.uint32), np.empty(LANES, np.uint32)
    shock, later = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    drift, scale = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    alive, missed = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    moved, here = np.empty(LANES, np.float32), np.empty(LANES)
    gap, down = np.empty(LANES, np.float32), np.empty(LANES, np.float32)  # how far below the target and the best
    reached, touched, halted = 0, 0.0, 0
    for group in range(at.shape[1]):
        here[:], gap[:], down[:], alive[:], missed[:] = 0.0, F(target), _ZERO, _ONE, _ONE if target > 0 else _ZERO
        mark = 0
        for number in range(days):
            if not exact:
                _roll(state, words)
                _drawn(words, table, shock)
            elif number % 2:
                shock[:] = later
            else:
                _roll(state, words)
                _roll(state, others)
                _normals(words, others, shock, later)
            if brake:
                left = (days - number) * day
                least, a_year = target - rate * left, F(2 / left)
                close = F(usual * usual * left / 2)
                for lane in range(LANES):
                    away = F(least - here[lane])
                    bet = np.sqrt((away if away > _ZERO else _ZERO) * a_year)  # the multiple of Kelly, times the Sharpe ratio
                    bet = (bet if away < close else usual) * alive[lane]
                    scale[lane] = bet * root
                    drift[lane] = cash + (theta * bet - (bet * bet * _HALF if exact else _ZERO)) * day_
            else:
                for lane in range(LANES):
                    scale[lane] = usual * root * alive[lane]
                    drift[lane] = usual_drift if alive[lane] > _ZERO else cash
            for lane in range(LANES):
                move = drift[lane] + scale[lane] * shock[lane]
                if not exact:
                    move = _log(_ONE + move, move) if move > _LEAST else _RUIN
                moved[lane] = move
            if floors:
                _roll(state, words)
                for lane in range(LANES):
                    deepest = down[lane] + fall_
                    ends = deepest >= daily_
                    floor = deepest if ends else daily_  # from here
                    after, variance = moved[lane] - floor, scale[lane] * scale[lane]
                    # a bridge touches where e^(−2·before·after / variance) is above a uniform variate
                    touches = _waiting(words[lane]) * variance > -_TWO * floor * after
                    hit = ((after <= _ZERO) | touches) & (variance > _ZERO)
                    moved[lane] = floor if hit else moved[lane]
                    alive[lane] = _ZERO if hit & ends else alive[lane]
            near = I(0)
            for lane in range(LANES):
                before, variance = gap[lane], scale[lane] * scale[lane]
                after = before - moved[lane]
                near |= I(((after <= _ZERO) | (_TWO * before * after < _FAR * variance)) & (missed[lane] > _ZERO))
            if near:
                for lane in range(LANES):
                    before, variance = gap[lane], scale[lane] * scale[lane]
                    after, some = before - moved[lane], variance > _ZERO
                    exponent = _TWO * before * after / (variance if some else _ONE)
                    exponent = exponent if exponent > _ZERO else _ZERO
                    far = exponent >= _FAR
                    chance = missed[lane] * (_ONE - _exp(-(_FAR if far else exponent)) if some & (not far) else _ONE)
                    missed[lane] = chance if after > _ZERO else _ZERO
            for lane in range(LANES):
                here[lane] += moved[lane]
                gap[lane] = F(target - here[lane])
                below = down[lane] - moved[lane]
                down[lane] = below if below > _ZERO else _ZERO
            if number + 1 == marks[mark]:
                for lane in range(LANES):
                    at[mark, group, lane] = here[lane]
                mark += 1
        for lane in range(min(LANES, count - group * LANES)):
            reached += here[lane] >= target - _AT_TARGET
            touched += 1.0 - missed[lane]
            halted += alive[lane] == _ZERO
    return reached, touched, halted


def run_chunk(goal: Goal, worked: Worked, limits: Limits, seed: int, chunk: int, count: int) -> Lanes:
    """`count` paths of one seed, which seed and chunk name. The same arguments give the same paths."""
    days = steps(goal, worked)
    marks = checkpoints(days)
    words = Random(f"{seed}/{chunk}").randbytes(4 * 4 * LANES)  # noqa: S311 a simulation
    state = np.frombuffer(words, np.uint32).reshape(4, LANES).copy()
    at = np.empty((len(marks), -(-count // LANES), LANES), np.float32)
    table = np.array([] if worked.tails == "normal" else shocks_of(worked), np.float32)
    rules = (goal.years / days, goal.rate, goal.sharpe, multiple(goal, worked, limits), goal.distance)
    reached, touched, halted = _paths(
        state, table, days, np.array(marks), *rules, floor_of(limits.daily_loss), floor_of(limits.drawdown), limits.brake, count, at
    )
    return Lanes(at.reshape(len(marks), -1)[:, :count], reached, touched, halted)


def summary(goal: Goal, chunks: Sequence[Lanes], mapped: Callable[..., Iterable[Any]] = map) -> Simulated:
    """All chunks as one answer. mapped: works on several columns at a time."""

    def column(place: int) -> tuple[tuple[float, ...], float]:
        """At one checkpoint: wealth at the shares, and of the worst twentieth on average."""
        ordered = np.concatenate([chunk.at[place] for chunk in chunks])
        ordered.sort()
        worst = np.exp(ordered[: max(1, round(len(ordered) * SHORTFALL))].astype(np.float64))
        return tuple(goal.capital * math.exp(ordered[place_of(share, len(ordered))]) for share in SHARES), goal.capital * float(worst.mean())

    fan, worst = zip(*mapped(column, range(len(chunks[0].at))), strict=True)
    count = sum(chunk.at.shape[1] for chunk in chunks)
    p_target = sum(chunk.reached for chunk in chunks) / count
    low, under, middle, over, high = fan[-1]
    return Simulated(
        paths=count,
        p_target=p_target,
        p_touch=sum(chunk.touched for chunk in chunks) / count,
        p_halted=sum(chunk.halted for chunk in chunks) / count,
        median_terminal=middle,
        percentiles={"5": low, "25": under, "75": over, "95": high},
        expected_shortfall=goal.capital - worst[-1],
        standard_error=standard_error(p_target, count),
        fan=fan,
        compiled=True,
    )
