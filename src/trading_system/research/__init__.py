"""What is asked of the past: backtests, sweeps over parameters, reports."""
