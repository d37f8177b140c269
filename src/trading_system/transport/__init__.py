"""Bytes to a broker and back. Knows no finance and imports nothing of ours."""
