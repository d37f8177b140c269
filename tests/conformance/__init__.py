"""The one suite that every broker passes on its twin. What a broker can do is data in its facts; tests/subjects.py says what it brings."""
