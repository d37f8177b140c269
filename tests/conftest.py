"""What pytest leaves alone: programs that other environments run."""

collect_ignore = ["sdk/alpaca_judge.py"]
