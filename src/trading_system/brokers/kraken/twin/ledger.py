"""The account's ledger: every movement of every asset, as Kraken books them, with the fee beside the amount."""

from collections.abc import Mapping
from decimal import Decimal
from random import Random

import msgspec

from trading_system.brokers.kraken import wire
from trading_system.brokers.kraken.twin.forms import invalid, money, new_id, seconds, whole
from trading_system.brokers.kraken.twin.universe import MONEY, Universe
from trading_system.domain.money import ZERO, plain
from trading_system.sim.exchange import Exchange, Execution

PAGE = 50


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """One entry; asset as the streams write it."""

    ledger_id: str
    ref_id: str
    time_ns: int
    kind: str
    asset: str
    amount: Decimal
    fee: Decimal
    balance: Decimal


class Ledger:
    """Entries in the order in which they came."""

    def __init__(self, universe: Universe, exchange: Exchange, names: Random) -> None:
        self._universe = universe
        self._exchange = exchange
        self._names = names
        self.entries: list[Booked] = []

    def trade(self, done: Execution) -> list[Booked]:
        """Two entries: what came and what went; the fee stands with the asset that it was taken from."""
        base = self._exchange.terms[done.symbol].base
        moved = ((base, done.side.sign * done.qty), (MONEY, -done.side.sign * done.qty * done.price))
        entries = []
        for asset, amount in moved:
            fee = done.fee if asset == done.fee_asset else ZERO
            entries.append(self.book("trade", asset, amount, fee, done.exec_id, done.transact_ns))
        return entries

    def book(self, kind: str, asset: str, amount: Decimal, fee: Decimal, ref_id: str, now_ns: int) -> Booked:
        """Write down what the exchange has moved already."""
        entry = Booked(
            ledger_id=new_id("L", self._names),
            ref_id=ref_id,
            time_ns=now_ns,
            kind=kind,
            asset=asset,
            amount=amount,
            fee=fee,
            balance=self._exchange.holdings.get(asset, ZERO),
        )
        self.entries.append(entry)
        return entry

    def list(self, form: Mapping[str, str]) -> wire.Ledgers:
        """Newest first, fifty a page."""
        wanted, kind = form.get("asset", "all"), form.get("type", "all")
        keys = {self._universe.assets[key].altname: key for key in self._universe.assets}
        assets = {keys.get(name, name) for name in wanted.split(",")}
        start, end = bounds(form, {entry.ledger_id: entry.time_ns for entry in self.entries})
        found = [
            entry
            for entry in reversed(self.entries)
            if kind in ("all", "", entry.kind) and ("all" in assets or self._key(entry.asset) in assets) and start < entry.time_ns <= end
        ]
        offset = whole(form, "ofs", 0, 1 << 31)
        return wire.Ledgers(ledger={entry.ledger_id: self._show(entry) for entry in found[offset : offset + PAGE]}, count=len(found))

    def query(self, form: Mapping[str, str]) -> Mapping[str, wire.LedgerEntry]:
        wanted = form.get("id", "").split(",")
        return {entry.ledger_id: self._show(entry) for entry in self.entries if entry.ledger_id in wanted}

    def _key(self, asset: str) -> str:
        return self._universe.asset_keys[asset]

    def _show(self, entry: Booked) -> wire.LedgerEntry:
        return wire.LedgerEntry(
            refid=entry.ref_id,
            time=seconds(entry.time_ns),
            type=entry.kind,
            asset=self._key(entry.asset),
            amount=plain(entry.amount),
            fee=plain(entry.fee),
            balance=money(entry.balance) if entry.asset == MONEY else plain(entry.balance),
        )


def bounds(form: Mapping[str, str], times: Mapping[str, int]) -> tuple[int, int]:
    """start (not included) and end (included) of a listing: seconds, or the id of one of its rows. Raises Refusal."""

    def at(name: str, default: int) -> int:
        text = form.get(name, "")
        if not text:
            return default
        if text in times:
            return times[text]
        try:
            return int(Decimal(text) * 1_000_000_000)
        except ArithmeticError:
            raise invalid(name) from None

    return at("start", -1), at("end", 1 << 63)
