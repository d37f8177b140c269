"""The page's files, as they lie beside this one: no build, nothing from elsewhere."""

from importlib.resources import files

ASSETS = {
    "/": ("text/html", "index.html"),
    "/style.css": ("text/css", "style.css"),
    "/app.js": ("text/javascript", "app.js"),
    "/chart.js": ("text/javascript", "chart.js"),
    "/icon.svg": ("image/svg+xml", "icon.svg"),
}


def asset(path: str) -> tuple[str, bytes]:
    """Its media type and its bytes, read anew each time: they are small, and an update shows at the next reload."""
    kind, name = ASSETS[path]
    return kind, (files(__package__) / name).read_bytes()
