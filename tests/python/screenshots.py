"""Screenshots of the playground of a running server.

python tests/python/screenshots.py FOLDER [URL]
"""

import sys
import tempfile
from pathlib import Path

from browser import (
    ask,
    choose_view,
    chromium,
    find,
    open_settings,
    prefer,
    resize,
    set_field,
    wait,
)
from selenium import webdriver
from selenium.webdriver.common.by import By


def take(page: webdriver.Chrome, folder: Path, url: str) -> None:
    """Go through the page, and write what it looks like into the folder."""

    def shot(name: str) -> None:
        page.save_screenshot(str(folder / f"{name}.png"))

    page.get(url)
    wait(page, "#toy:not([hidden]), #model:not(:empty)")
    shot("empty")
    open_settings(page)
    shot("settings")
    set_field(page, "temperature", "9")
    ask(page, "Write a Python function that adds two numbers, with an example.")
    wait(page, "#error:not([hidden])")
    find(page, "#settings-button")[0].click()
    shot("error")
    set_field(page, "temperature", "0")
    find(page, "#settings-button")[0].click()
    page.find_element(By.ID, "send").click()
    (compare,) = wait(page, ".compare")
    shot("light")
    choose_view(page, "markdown")
    shot("markdown")
    choose_view(page, "tokens")
    compare.click()
    wait(page, ".verdict")
    shot("comparison")
    prefer(page, "dark")
    shot("dark")
    choose_view(page, "markdown")
    shot("dark-markdown")
    resize(page, 380, 700)
    shot("narrow-markdown")
    prefer(page, "light")
    choose_view(page, "tokens")
    shot("narrow")
    open_settings(page)
    shot("narrow-settings")
    find(page, "#settings-button")[0].click()
    find(page, "#clear")[0].click()
    shot("narrow-empty")


def main() -> None:
    """Write the screenshots."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    url = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080"
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as page:
        take(page, folder, url)


if __name__ == "__main__":
    main()
