"""The links of the built pages: those within the manual must lead somewhere, those out of it must be addresses."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class Links(HTMLParser):
    """What a page links to, and the anchors that it has."""

    def __init__(self, text: str):
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each tag."""
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.add(value)


def broken(folder: Path) -> list[str]:
    """Check the links of all pages of a folder; nothing is fetched."""
    pages = {path.resolve(): Links(path.read_text("utf-8")) for path in folder.rglob("*.html")}
    found = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                right = parts.scheme in ("http", "https") and "." in parts.netloc or parts.scheme in ("mailto", "data")
                if not right or " " in link:
                    found.append(f"{path.relative_to(folder.resolve())}: {link} is no address")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.exists():
                found.append(f"{path.relative_to(folder.resolve())}: {link}: no such file")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                found.append(f"{path.relative_to(folder.resolve())}: {link}: no such anchor")
    return found


def on_post_build(config: Any) -> None:
    """Refuse a manual with a broken link."""
    from mkdocs.exceptions import PluginError

    folder = Path(config.site_dir)
    if found := [line for line in broken(folder) if not line.startswith("404.html")]:  # made for a server's root
        raise PluginError("\n".join(found))
