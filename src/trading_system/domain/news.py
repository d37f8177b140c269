"""News as a broker passes it on: somebody else's words, for people to read."""

import msgspec


class NewsItem(msgspec.Struct, frozen=True, kw_only=True):
    """One article. symbols are the source's own spelling; text has neither markup nor control characters."""

    news_id: str
    headline: str
    summary: str
    source: str
    author: str
    symbols: tuple[str, ...]
    url: str
    created_ns: int
    updated_ns: int
