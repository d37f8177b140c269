"""The desk over HTTP: JSON, server-sent events and one page. A client of the desk like the command line: no logic of trading is here."""
