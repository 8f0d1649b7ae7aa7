"""What the site needs beside the pages of docs/: mkdocs.yml names this file as a hook.

Links that lead out of docs/, to sources and to the pages at the repository's root, lead to pages
that are made here, so that they work in the site as they do in the repository. Code blocks lose
the marks for our tests.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# Pages of the site that are not in docs/.
ROOT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"\[([^\]\[]*)\]\((?!https?:|#)([^)\s#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^```(\w+)(?:,\S*| no-run)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOADED = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=["']?https?:[^>]*"""
)


def _repository_path(link: str, page: str) -> str:
    """Return what a link of a page names, relative to the repository."""
    folder = "" if page in ROOT_PAGES else "docs"
    return posixpath.normpath(posixpath.join(folder, link))


def _source_page(path: str) -> str:
    """Return the page that shows a source file."""
    return f"source/{path}.md"


def _site_path(path: str) -> str | None:
    """Return where the site has a file of the repository; None if it is a folder."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/") or path in ROOT_PAGES:
        return path.removeprefix("docs/")
    if (ROOT / path).is_dir():
        return None
    return _source_page(path)


def _title(page: File) -> str:
    """Return a page's title, by which the site refers to it where the repository uses its name."""
    heading = re.search("^# (.*)$", page.content_string, re.MULTILINE)
    return heading[1] if heading else page.src_uri


def _content_of_source(path: str) -> str:
    """Return a page with a file's text, without a place in the search."""
    text = (ROOT / path).read_text(encoding="utf-8")
    language = {".rs": "rust", ".py": "python", ".toml": "toml"}.get(Path(path).suffix, "text")
    fence = "`" * (3 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"---\nsearch:\n  exclude: true\n---\n# {path}\n\n{fence}{language}\n{text}\n{fence}\n"


def _shown(block: re.Match[str]) -> str:
    """Return a code block without our tests' marks, and without the lines that rustdoc hides."""
    language, code = block.groups()
    if language == "rust":
        code = re.sub(r"^# .*\n", "", code, flags=re.MULTILINE)
    return f"```{language}\n{code}```"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages at the repository's root, and those of the sources that pages link to."""
    for name in ROOT_PAGES:
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    icon = ROOT / "src/server/routes/playground"
    files.append(File("icon.svg", str(icon), config.site_dir, config.use_directory_urls))
    sources = set()
    for page in files.documentation_pages():
        for _, link, _ in LINK.findall(page.content_string):
            path = _repository_path(link, page.src_uri)
            place = _site_path(path)
            if place and place.startswith("source/"):
                if not (ROOT / path).is_file():
                    raise PluginError(f"{page.src_uri} links to {path}, which does not exist")
                sources.add(path)
    for path in sorted(sources):
        content = _content_of_source(path)
        inclusion = InclusionLevel.NOT_IN_NAV
        files.append(
            File.generated(config, _source_page(path), content=content, inclusion=inclusion)
        )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to the pages above, and show code as a reader needs it."""
    uri = page.file.src_uri
    if uri.startswith("source/"):
        return markdown

    def relinked(match: re.Match[str]) -> str:
        text, link, anchor = match.groups(default="")
        place = _site_path(_repository_path(link, uri))
        if place is None:
            return f"`{text}`"
        linked = files.get_file_from_path(place)
        if linked and text in (link, posixpath.basename(link)) and link.endswith(".md"):
            text = _title(linked)
        return f"[{text}]({posixpath.relpath(place, posixpath.dirname(uri) or '.')}{anchor})"

    return FENCE.sub(_shown, LINK.sub(relinked, markdown))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads something from another host."""
    loaded = [tag for tag in LOADED.findall(output) if 'rel="canonical"' not in tag]
    if loaded:
        raise PluginError(f"{page.file.src_uri} loads from another host: {loaded[0]}")
    return output
