"""Where settings and secrets come from. The bottom of the house: imports nothing of ours."""
