"""Pages in a headless Chromium of this machine: what they say on the console, what they ask for, how they look."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

TALLEST = 8000  # pixels of one screenshot; Chromium's own limit is 16,384


def executable() -> str:
    """Chromium: ROBUST_CHROMIUM, else the first on PATH; skips the test where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("ROBUST_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium: apt-get install chromium, or its path in ROBUST_CHROMIUM")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium. One at a time: two that overlap in one process are an error of playwright's."""
    path = executable()
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path) as browser:
        yield browser


@dataclass
class Watched:
    """A page with what it did so far: errors on its console or thrown in it, and every address it asked for."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(f"thrown: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", self._failed)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"console: {message.text} ({message.location['url']})")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page itself no longer wanted it, as when it is left
            self.errors.append(f"request: {request.failure} {request.url}")

    def beyond(self, *allowed: str) -> list[str]:
        """The addresses it asked for that begin with none of `allowed`; pages made by the page itself aside."""
        return [url for url in self.requests if not url.startswith((*allowed, "data:", "blob:", "about:"))]


@contextmanager
def opened(browser: Browser, url: str, *, width: int = 1280, height: int = 900) -> Iterator[Watched]:
    """`url` in a tab of its own, watched from the first request on; half a minute for each step at most."""
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(30_000)
    try:
        watched = Watched(context.new_page())
        watched.page.goto(url)
        yield watched
    finally:
        context.close()


def screenshot(page: Page, path: Path) -> Path:
    """The whole page as PNG, as far as TALLEST."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = page.evaluate(
        "[document.documentElement.clientWidth, document.documentElement.scrollHeight]"
    )
    page.screenshot(
        path=path, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": min(height, TALLEST)}
    )
    return path
