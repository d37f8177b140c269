"""Where a desk is killed: every named point, how often one life passes it, and the lives that are killed while they recover."""

import msgspec


class Plan(msgspec.Struct, frozen=True):
    """One desk's misfortunes, a life each: where it is killed, and at the so many-th time. "a > b": at b, once a was passed."""

    lives: tuple[tuple[str, int], ...]


def _wire(method: str, times: int) -> dict[str, int]:
    return {f"{method} {place}": times for place in ("before its first byte", "first byte out", "last byte out", "first byte in", "answer in")}


POINTS: dict[str, int] = {
    # coming up
    "leases taken": 1,
    "migration begun": 1,
    "migration before its commit": 1,
    "migrated": 1,
    "checkpoint begun": 1,
    "checkpoint done": 1,
    "replayed": 1,
    "accounts proven": 1,
    "start noted": 1,
    "start noted > group inserted": 1,
    "start noted > group committed": 1,
    "started": 1,
    "mark noted": 1,
    "look begun": 1,
    "orders compared": 1,
    "fills read": 1,
    "positions compared": 1,
    "watermark moved": 1,
    "watermark moved > group committed": 1,
    "recovered": 1,
    "socket up": 1,
    **_wire("GET", 6),
    # an order's way
    "intent opened": 6,
    "intent opened > group begun": 6,
    "intent opened > group inserted": 6,
    "intent opened > group committed": 6,
    "intent opened > head written": 6,
    "intent durable": 6,
    "last hop passed": 6,
    **_wire("POST", 5),
    "answer received": 5,
    "report before fold": 6,
    "report folded": 6,
    "report folded > group inserted": 4,
    "report folded > group committed": 4,
    "report folded > head written": 4,
    **_wire("PATCH", 1),
    "cancel noted": 3,
    "cancel noted > group committed": 3,
    **_wire("DELETE", 3),
    "cancel answered": 3,
    "order closed": 1,
    "order closed > group committed": 1,
    "doubt noted": 1,
    "doubt noted > group committed": 1,
    # stopping
    "halt folded": 1,
    "halt folded > group inserted": 1,
    "halt folded > group committed": 1,
    "halt folded > head written": 1,
    "halt durable": 1,
    "halt durable > DELETE first byte out": 1,
    "halt durable > DELETE last byte out": 1,
    "halt durable > DELETE last byte out > DELETE last byte out": 1,
    "halt durable > kill cancelled one": 1,
    "resume durable": 1,
    "stop wanted": 1,
    "stop wanted > intent opened > group committed": 1,
    "stop wanted > intent durable": 1,
    "stop wanted > POST last byte out": 1,
    "stop placed": 1,
    "flatten begun": 1,
    "flatten cancelled": 1,
    "alert noted": 1,
    "alert noted > group committed": 1,
    "backup begun": 1,
    "backup has its head": 1,
    "backup done": 1,
    "shutdown begun": 1,
    "shutdown begun > checkpoint begun": 1,
    "shutdown begun > checkpoint done": 1,
    "journal closed": 1,
}
RECOVERING = (
    "chain verified",
    "checkpoint begun",
    "checkpoint done",
    "replayed",
    "accounts proven",
    "start noted > group committed",
    "old doubt noted",
    "doubts asked",
    "orders compared",
    "fills read",
    "positions compared",
    "socket up",
)


def plans(kills: int) -> list[Plan]:
    """Every point in turn, then every point of a recovery twice over (RELIABILITY.md row 57), and again, until there are so many kills."""
    made: list[Plan] = []
    left, turn = kills, 0
    while left > 0:
        made += [Plan(((point, turn % times + 1),)) for point, times in POINTS.items()]
        made += [Plan((("POST last byte out", turn % 5 + 1), (point, 1), (point, 1))) for point in RECOVERING]
        left -= len(POINTS) + 3 * len(RECOVERING)
        turn += 1
    while sum(len(plan.lives) for plan in made) > kills and len(made) > len(POINTS):
        made.pop()
    return made[:kills]


def all_points() -> list[str]:
    return [*POINTS, *(point for point in RECOVERING if point not in POINTS)]
