"""The guide's import line, `from src.brokers.credentials import BrokerCredentials`, from a checkout."""

from trading_system.brokers.credentials import BrokerCredentials

__all__ = ["BrokerCredentials"]
