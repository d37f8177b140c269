"""The command line: parsing and tables, no logic. What the commands do is in app/verbs.py."""
