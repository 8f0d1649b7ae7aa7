"""A plugin for `llm` (https://llm.datasette.io): models of this package on its command line.

`pip install llm` beside this package is all that it needs. The default model is there from the
start, and `llm specdec add` names others:

    llm -m smollm2-135m "List the months of the year."
    llm specdec add ./model.gguf --name mine
    llm -m specdec/mine "Hello!"
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from specdec_rs import SpecdecError, SpeculativeDecoder, Stats

try:
    import llm
except ModuleNotFoundError as error:
    if error.name != "llm":
        raise
    raise ModuleNotFoundError(f"{__name__} needs llm: pip install llm", name="llm") from error

# What llm itself needs.
import click
from llm.parts import TextPart
from pydantic import Field

DEFAULT = "smollm2-135m"
"""The model that needs not be added."""


class Options(llm.Options):
    """The options of `llm -o NAME VALUE`; what is left out is the model's own default."""

    temperature: float | None = Field(None, description="0 is greedy decoding.")
    max_tokens: int | None = Field(None, description="Maximum number of new tokens.")
    seed: int | None = Field(None, description="Makes sampling repeatable.")
    top_p: float | None = Field(None, description="Sample among tokens of this share.")
    top_k: int | None = Field(None, description="Sample among this many tokens; 0 is off.")
    min_p: float | None = Field(None, description="Sample among tokens at least so probable.")
    draft: str | None = Field(None, description='"auto", "ngram", "none", or a draft model.')


@cache
def _decoder(name: str, draft: str | None) -> SpeculativeDecoder:
    """Load a model, once for all conversations of a process."""
    return SpeculativeDecoder(name, draft)


def _text(part: Any) -> str:
    """Return the text of a part of a message."""
    if not isinstance(part, TextPart):
        raise llm.ModelError(f"{type(part).__name__} is not supported: only text is")
    return part.text


class _Shared:
    """What both kinds of model do."""

    can_stream = True
    supports_schema = True

    def __init__(self, model_id: str, name: str) -> None:
        self.model_id = model_id
        self._name = name

    def _ask(self, prompt: Any) -> tuple[SpeculativeDecoder, list[dict[str, str]], dict[str, Any]]:
        """Return the decoder, the conversation and the settings of a prompt."""
        settings = prompt.options.model_dump(exclude_none=True)
        draft = settings.pop("draft", None)
        if "max_tokens" in settings:
            settings["max_new_tokens"] = settings.pop("max_tokens")
        if prompt.schema:
            schema = {"schema": prompt.schema}
            settings["response_format"] = {"type": "json_schema", "json_schema": schema}
        messages = [
            {"role": message.role, "content": "".join(map(_text, message.parts))}
            for message in prompt.messages
        ]
        return _decoder(self._name, draft), messages, settings

    @staticmethod
    def _note(response: Any, stats: Stats) -> None:
        """Log what the answer took."""
        response.set_usage(input=stats.prompt_tokens, output=stats.new_tokens)
        response.response_json = {"stats": stats.as_dict()}


class Specdec(_Shared, llm.Model):
    """A model of this package."""

    class Options(Options):
        """See above; llm looks for a class of this name."""

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        """Answer a conversation, chunk by chunk."""
        try:
            decoder, messages, settings = self._ask(prompt)
            answer = decoder.stream_chat(messages, **settings)
            for chunk in answer:
                yield chunk.text
        except SpecdecError as error:
            raise llm.ModelError(str(error)) from error
        assert answer.generation is not None
        self._note(response, answer.generation.stats)


class AsyncSpecdec(_Shared, llm.AsyncModel):
    """The same for coroutines; concurrent answers share forward passes."""

    class Options(Options):
        """See above; llm looks for a class of this name."""

    async def execute(
        self, prompt: Any, stream: bool, response: Any, conversation: Any
    ) -> AsyncGenerator[str, None]:
        """Answer a conversation, chunk by chunk."""
        try:
            decoder, messages, settings = self._ask(prompt)
            answer = decoder.stream_chat_async(messages, **settings)
            async for chunk in answer:
                yield chunk.text
        except SpecdecError as error:
            raise llm.ModelError(str(error)) from error
        assert answer.generation is not None
        self._note(response, answer.generation.stats)


def _added() -> Path:
    """Return the file of the models that were added."""
    folder: Path = llm.user_dir()  # type: ignore[no-untyped-call]
    return folder / "specdec.json"


def _models() -> dict[str, str]:
    """Return the models that were added, by their names here."""
    models: dict[str, str] = json.loads(_added().read_text()) if _added().exists() else {}
    return models


@llm.hookimpl
def register_models(register: Any) -> None:
    """Register the default model, and those that were added."""
    for name, model in {**_models(), DEFAULT: DEFAULT}.items():
        model_id = f"specdec/{name}"
        aliases = (DEFAULT,) if name == DEFAULT else ()
        register(Specdec(model_id, model), AsyncSpecdec(model_id, model), aliases=aliases)


@llm.hookimpl
def register_commands(cli: click.Group) -> None:
    """Register `llm specdec`."""

    @cli.group()
    def specdec() -> None:
        """Models of specdec_rs."""

    @specdec.command()
    @click.argument("model")
    @click.option("--name", help="What follows specdec/ in its name; by default MODEL.")
    def add(model: str, name: str | None) -> None:
        """Make MODEL known: a hub name, a folder or a .gguf file."""
        if Path(model).exists():
            model, name = str(Path(model).resolve()), name or Path(model).stem
        _added().write_text(json.dumps({**_models(), (name or model): model}, indent=2) + "\n")
        click.echo(f"specdec/{name or model}")

    @specdec.command()
    @click.argument("name")
    def remove(name: str) -> None:
        """Forget a model that was added; its files stay."""
        models = _models()
        if name not in models:
            raise click.ClickException(f"no model specdec/{name} was added")
        del models[name]
        _added().write_text(json.dumps(models, indent=2) + "\n")
