"""How quick it is, beside peers, in one interleaved run: python -m bench, or make bench."""
