"""One desk that trades through seven brokers, paper and live. Start with `trading --help` or docs/GLOSSARY.md."""

__version__ = "0.1.0"
