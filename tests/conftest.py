"""What pytest leaves alone: programs that other environments run."""

collect_ignore_glob = ["sdk/*_judge.py"]
