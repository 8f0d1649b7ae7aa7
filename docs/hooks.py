"""What `make site` does to a page before it is rendered."""

import re
from typing import Any

# Its table takes the place of the table of contents.
WIDE = {"comparison.md"}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Drops what follows a code block's language: it says how the tests treat the block."""
    if page.file.src_path in WIDE:
        page.meta["hide"] = ["toc"]
    return re.sub(r"^```(\w+)[ ,].*$", r"```\1", markdown, flags=re.MULTILINE)
