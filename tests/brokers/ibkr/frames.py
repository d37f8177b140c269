"""Messages as TWS has sent them, captured by others and published with their clients; fields end where a bar stands."""

OPEN_ORDER = (
    "5|5|265598|AAPL|STK||0|?||SMART|USD|AAPL|NMS|BUY|100|MKT|0.0|0.0|DAY||DU1234567||0|myref|100|600745656|0|0|0|||||||||||0||-1|0||||||2147483647|0|0"
    "|0||3|0|0||0|0||0|None||0||||?|0|0||0|0||||||0|0|0|2147483647|2147483647|||0||IB|0|0||0|0|PreSubmitted|U|U|U|U|U|U|U|U|U||||||0|0|0|None|U|U|U|U|U|U"
    "|0||||0|1|0|0|0|||0||100|0.02|||"
)
ORDER_STATUS = "3|5|PreSubmitted|0|100|0|600745656|0|0|100||0|"
EXECUTION = (
    "11|-1|5|265598|AAPL|STK||0.0|||IEX|USD|AAPL|NMS|0000e0d5.67fe667b.01.01|20250415  19:38:31|DU1234567|IEX|BOT|100|201.94|600745656|100|0|100"
    "|201.94|myref||||2|0|"
)
COMMISSION = "59|1|0000e0d5.67fe667b.01.01|1.0|USD|1.7976931348623157E308|1.7976931348623157E308||"
CONTRACT = (
    "10|3|AAPL|STK||0||SMART|USD|AAPL|NMS|NMS|265598|0.01||LMT,MKT|SMART,NASDAQ|1|0|APPLE INC|NASDAQ||Technology|Computers|Computers|US/Eastern"
    "|20260405:CLOSED;20260406:0930-20260406:1600|20260405:CLOSED;20260406:0930-20260406:1600|||1|ISIN|US0378331005|1|||26,26||COMMON|0.0001|0.0001|100|"
)
ERROR = "4|2|-1|2104|Market data farm connection is OK:usfarm||"
POSITION = "61|3|DU1|265598|AAPL|STK||0.0|||NASDAQ|USD|AAPL|NMS|-110|201.8829709|"


def raw(shown: str) -> bytes:
    """The bytes of a message."""
    return "\0".join("1.7976931348623157E308" if field == "U" else field for field in shown.split("|")).encode()
