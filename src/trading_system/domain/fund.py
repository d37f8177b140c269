"""Mutual funds by their symbol. They change hands once a day, at the net asset value that is struck after the market closed."""


def is_fund(text: str) -> bool:
    """Five letters, the last of which is an X.

    >>> is_fund("VFIAX"), is_fund("AAPL"), is_fund("GOOGL"), is_fund("NFLX")
    (True, False, False, False)

    Source: Nasdaq, fifth character symbol suffixes: X is a mutual fund
    """
    return len(text) == 5 and text.isascii() and text.isalpha() and text.isupper() and text.endswith("X")
