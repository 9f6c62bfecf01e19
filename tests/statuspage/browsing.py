"""A headless Chromium that opens the pages and records their messages and requests."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support import tool

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 400, "height": 800}

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Start Chromium with its own libraries and font, not those of the machine."""
    root = tool("chromium-headless-shell").parents[2]
    program = root / "usr/lib/chromium/chromium-headless-shell"  # the chromium in usr/bin is a script with fixed paths
    fonts = folder / "fonts.conf"
    fonts.write_text(
        f'<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">'
        f"<fontconfig><dir>{root}/usr/share/fonts</dir><cachedir>{folder}/fonts</cachedir></fontconfig>"
    )
    libraries = {str(file.parent) for file in root.glob("usr/lib/*-linux-gnu/**/lib*.so*")}
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LD_LIBRARY_PATH": ":".join(sorted(libraries)),
        "FONTCONFIG_FILE": str(fonts),
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS, env=environ)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page of the browser that records every message, error, dialog and request."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith("data:"):
            self.hosts.add(urlsplit(url).netloc)

    def go(self, path: str = "/") -> Page:
        """Open a page of the exporter."""
        self.page.goto(f"http://{self.address}{path}")
        return self.page


@contextmanager
def looking(browser: Browser, address: str, *, ignore_complaints: str = "$^", **options: Any) -> Iterator[Watched]:
    """Open a page; at the end assert that its log is empty and that it sent requests only to the exporter.

    Messages that match `ignore_complaints` are expected.
    """
    context = browser.new_context(**{"viewport": DESKTOP, **options})
    context.set_default_timeout(15_000)
    try:
        watched = Watched(context.new_page(), address)
        yield watched
        assert [one for one in watched.complaints if not re.search(ignore_complaints, one)] == []
        assert watched.hosts <= {address}
    finally:
        context.close()
