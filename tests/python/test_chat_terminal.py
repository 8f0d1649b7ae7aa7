"""`specdec chat` on a terminal, as a person sees it."""

import json
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from serving import chatting_target
from terminal import CTRL_C, CTRL_D, CTRL_R, ENTER, LEFT, TAB, UP, Terminal, terminal

# An answer that takes minutes.
ENDLESS = ("--ignore-eos", "--context-length", "200000")


class Chatting:
    """Starts conversations that share a cache folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = chatting_target(folder)
        self.history = folder / "cache" / "specdec" / "chat_history"

    def start(
        self, *arguments: str, tokens: int = 8, columns: int = 80, **variables: str
    ) -> AbstractContextManager[Terminal]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("SPECDEC_") and name not in ("NO_COLOR", "CLICOLOR_FORCE")
        } | {
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "SPECDEC_NUM_THREADS": "1",
            "TERM": "xterm-256color",
        }
        command = [sys.executable, "-m", "specdec_rs", "chat", "--target", str(self.target)]
        command += ["-n", str(tokens), *arguments]
        if "--temperature" not in arguments:
            command += ["--temperature", "0"]
        return terminal(command, environment | variables, columns)

    def saved(self, chat: Terminal) -> list[tuple[str, str]]:
        """Return the roles and texts of the conversation so far."""
        file = self.folder / "saved.json"
        file.unlink(missing_ok=True)
        if "nothing to save" in chat.ask(f"/save {file}"):
            return []
        return [(message["role"], message["content"]) for message in json.loads(file.read_text())]


@pytest.fixture
def chatting(tmp_path: Path) -> Chatting:
    return Chatting(tmp_path)


def test_lines_can_be_edited_and_earlier_ones_recalled(chatting: Chatting) -> None:
    with chatting.start() as chat:
        chat.wait_for_prompt()
        chat.type("Hllo" + 3 * LEFT + "e" + ENTER)
        chat.wait_for("> Hello\n")
        chat.wait_for_prompt()
        chat.ask("Goodbye")
        chat.type(UP + UP)
        chat.wait_until(lambda: chat.lines()[-1] == "> Hello", "the earlier line")
        chat.type(ENTER)
        chat.wait_for_prompt()
        asked = [text for role, text in chatting.saved(chat) if role == "user"]
        assert asked == ["Hello", "Goodbye", "Hello"]
        chat.type(CTRL_D)
        assert chat.wait() == 0
        assert chat.echoes()
    assert chatting.history.stat().st_mode & 0o777 == 0o600

    with chatting.start() as chat:
        chat.wait_for_prompt()
        chat.type(CTRL_R + "Goodb")
        chat.wait_for("Goodbye")
        chat.type(ENTER)
        chat.wait_for_prompt()
        assert chatting.saved(chat)[0] == ("user", "Goodbye")


def test_the_history_can_be_switched_off(chatting: Chatting) -> None:
    with chatting.start("--no-history") as chat:
        chat.wait_for_prompt()
        chat.ask("A secret")
        chat.type(UP)
        chat.wait_until(lambda: chat.lines()[-1] == "> A secret", "the line of this conversation")
    assert not chatting.history.exists()


def test_a_message_can_have_several_lines(chatting: Chatting) -> None:
    with chatting.start() as chat:
        chat.wait_for_prompt()
        chat.paste("/* one\n  two \\\n\nthree")
        chat.wait_for("three")
        chat.type(ENTER)
        chat.wait_for_prompt()
        chat.type('"""/four' + ENTER + "five" + ENTER + '"""' + ENTER)
        chat.wait_for_prompt()
        chat.type("six\\" + ENTER + "seven" + ENTER)
        chat.wait_for_prompt()
        asked = [text for role, text in chatting.saved(chat) if role == "user"]
        assert asked == ["/* one\n  two \\\n\nthree", "/four\nfive", "six\nseven"]


def test_unknown_commands_are_not_sent_to_the_model(chatting: Chatting) -> None:
    with chatting.start() as chat:
        chat.wait_for_prompt()
        assert "did you mean /clear?" in chat.ask("/claer")
        assert "/help lists the commands" in chat.ask("/xyz")
        assert chatting.saved(chat) == []
        chat.ask("//xyz")
        assert chatting.saved(chat)[0] == ("user", "/xyz")
        chat.type("/und" + TAB)
        chat.wait_until(lambda: chat.lines()[-1].startswith("> /undo"), "the completed command")
        chat.type(ENTER)
        chat.wait_for("forgot: /xyz")
        chat.wait_for_prompt()
        assert chatting.saved(chat) == []


def test_ctrl_c_stops_an_answer_and_keeps_it(chatting: Chatting) -> None:
    with chatting.start(*ENDLESS, tokens=190000) as chat:
        chat.wait_for_prompt()
        chat.type("Hello" + ENTER)
        chat.wait_until(lambda: len(chat.lines()) > 4, "an answer")
        assert not chat.echoes()
        chat.type("kept for later")
        chat.wait_until(lambda: len(chat.lines()) > 8, "more of it")
        assert "kept for" not in chat.text()
        chat.type(CTRL_C)
        chat.wait_for("(stopped; /more continues)")
        chat.wait_until(lambda: chat.lines()[-1] == "> kept for later", "what was typed")
        chat.type(CTRL_C)
        chat.wait_until(lambda: chat.lines()[-1] == ">", "the prompt")
        (_, (role, answer)) = chatting.saved(chat)
        assert role == "assistant"
        assert len(answer) > 40


def test_what_is_typed_during_an_answer_waits_for_the_prompt(chatting: Chatting) -> None:
    with chatting.start("--ignore-eos", tokens=800, columns=200) as chat:
        chat.wait_for_prompt()
        chat.type("Hello" + ENTER)
        chat.wait_until(lambda: len(chat.lines()) > 3, "an answer")
        chat.paste("kept\nwhole")
        chat.wait_for("(cut off at 800 tokens; /more continues)")
        chat.wait_until(lambda: chat.lines()[-2:] == ["> kept", "whole"], "the pasted text")
        assert chat.text().count("kept") == 1


def test_every_line_that_was_typed_is_answered(chatting: Chatting) -> None:
    with chatting.start(tokens=200) as chat:
        chat.wait_for_prompt()
        chat.type(ENTER.join(["/set max_new_tokens 3", "/set top_k 5", "One", "Two", ""]))
        chat.wait_until(lambda: chat.text().count("(cut off at 3 tokens") == 2, "two answers")
        assert "top_k = 5" in chat.text()
        chat.type(ENTER.join(["Three", "/set seed 4", "half"]))
        chat.wait_until(lambda: chat.lines()[-1] == "> half", "the rest")
        assert "seed = 4" in chat.text()
        chat.type(CTRL_C)
        asked = [text for role, text in chatting.saved(chat) if role == "user"]
        assert asked == ["One", "Two", "Three"]


def test_ctrl_c_at_the_prompt_does_not_lose_the_conversation(chatting: Chatting) -> None:
    advice = "press Ctrl-C again or Ctrl-D to quit"
    with chatting.start() as chat:
        chat.wait_for_prompt()
        chat.ask("Hello")
        chat.type(CTRL_C)
        chat.wait_for(advice)
        chat.wait_for_prompt()
        assert len(chatting.saved(chat)) == 2
        # On a line with text, it drops the line.
        before = len(chat.lines())
        chat.type("to be dropped" + CTRL_C)
        chat.wait_until(lambda: len(chat.lines()) > before, "the next prompt")
        chat.wait_for_prompt()
        assert chat.text().count(advice) == 1
        chat.type(CTRL_C)
        chat.wait_until(lambda: chat.text().count(advice) == 2, "the advice")
        chat.wait_for_prompt()
        chat.type(CTRL_C)
        assert chat.wait() == 130
        assert chat.echoes()


def test_a_continued_answer_is_the_longer_answer(chatting: Chatting) -> None:
    with chatting.start() as chat:
        chat.wait_for_prompt()
        assert "nothing to continue" not in chat.ask("Hello")
        assert "(cut off at 16 tokens; /more continues)" in chat.ask("/more")
        assert "(cut off at 24 tokens; /more continues)" in chat.ask("/more")
        continued = chatting.saved(chat)
    with chatting.start(tokens=24) as chat:
        chat.wait_for_prompt()
        chat.ask("Hello")
        assert chatting.saved(chat) == continued
        assert "acceptance" in chat.ask("/stats")
        chat.ask("/clear")
        assert "no answer to continue" in chat.ask("/more")


def test_retry_answers_again_and_undo_forgets(chatting: Chatting) -> None:
    with chatting.start("--system", "Be brief.", "--temperature", "1.5", tokens=32) as chat:
        chat.wait_for_prompt()
        chat.ask("Hello")
        first = chatting.saved(chat)
        chat.ask("/retry")
        second = chatting.saved(chat)
        assert second[:2] == first[:2]
        assert second[2] != first[2], "a fresh seed"
        chat.ask("/set seed 7")
        chat.ask("/retry")
        third = chatting.saved(chat)
        chat.ask("/retry")
        assert chatting.saved(chat) == third
        chat.ask("And?")
        assert len(chatting.saved(chat)) == 5
        assert "forgot: And?" in chat.ask("/undo")
        assert chatting.saved(chat) == third
        chat.ask("/undo")
        assert chatting.saved(chat) == [("system", "Be brief.")]
        assert "no message to undo" in chat.ask("/undo")
        assert "no message to answer" in chat.ask("/retry")


def test_a_conversation_can_be_saved_and_loaded(chatting: Chatting) -> None:
    file = chatting.folder / "saved.json"
    with chatting.start() as chat:
        chat.wait_for_prompt()
        chat.ask("/system Be brief.")
        chat.ask("Hello")
        saved = chatting.saved(chat)
        assert saved[0] == ("system", "Be brief.")
    with chatting.start() as chat:
        chat.wait_for_prompt()
        assert "3 messages" in chat.ask(f"/load {file}")
        assert chat.ask("/system") == "Be brief."
        assert chatting.saved(chat) == saved
        assert "there is no such file" in chat.ask("/load missing.json")
        file.write_text("{}")
        assert "a JSON list of messages" in chat.ask(f"/load {file}").replace("\n", " ")
        assert chatting.saved(chat) == saved
        chat.ask('/system ""')
        assert chat.ask("/system") == "there is no system message"
        assert "saved 2 messages to" in chat.ask(f"/save {file}")
        file.write_text("precious")
        assert "holds no conversation" in chat.ask(f"/save {file}").replace("\n", " ")
        assert file.read_text() == "precious"
        chat.ask("/clear")
        assert "nothing to save" in chat.ask(f"/save {file}")


def test_settings_can_be_changed(chatting: Chatting) -> None:
    with chatting.start() as chat:
        chat.wait_for_prompt()
        assert chat.ask("/set max-new-tokens 3") == "max_new_tokens = 3"
        assert "(cut off at 3 tokens; /more continues)" in chat.ask("Hello")
        assert "did you mean temperature?" in chat.ask("/set temprature 1")
        refused = chat.ask("/set temperature hot")
        assert "invalid temperature = hot: expected a finite number >= 0" in refused
        assert "invalid --draft model" in chat.ask("/set draft model")
        assert chat.ask("/set max_new_tokens default") == "max_new_tokens = 8"
        assert "top_p               0.95" in chat.ask("/set")


def test_answers_are_wrapped_between_words(chatting: Chatting) -> None:
    with chatting.start("--ignore-eos", tokens=200, columns=40) as chat:
        chat.wait_for_prompt()
        shown = chat.ask("Hello").removesuffix("(cut off at 200 tokens; /more continues)")
        text = chatting.saved(chat)[1][1]
        assert len(shown.splitlines()) > 5
        assert all(len(word) < 40 for word in text.split())
        assert shown.split() == text.split()


def test_a_terminal_without_escape_sequences_is_left_alone(chatting: Chatting) -> None:
    with chatting.start(TERM="dumb") as chat:
        chat.wait_for_prompt()
        assert chat.echoes()
        chat.ask("Hello")
        assert len(chatting.saved(chat)) == 2
        assert b"\x1b" not in chat.written


def test_a_full_context_says_what_to_do(chatting: Chatting) -> None:
    room = "/clear, /undo, or a larger --context-length"
    options = ("--context-length", "40", "--ignore-eos")
    with chatting.start(*options, tokens=100, columns=120) as chat:
        chat.wait_for_prompt()
        assert f"(the context of 40 tokens is full: {room})" in chat.ask("Hello")
        before = chatting.saved(chat)
        assert f"do not fit the context of 40: {room}" in chat.ask("And then?")
        assert chatting.saved(chat) == before
        chat.ask("/clear")
        assert room in chat.ask("Hello")


def test_colours_are_explained_and_can_be_switched_off(chatting: Chatting) -> None:
    drafts = ("--fixed", "--gamma", "4", "--show-draft")
    with chatting.start(*drafts, tokens=40) as chat:
        chat.wait_for_prompt()
        chat.ask("Hello")
        chat.ask("And?")
        assert chat.text().count("tokens from: target ngram") == 1
        assert b"\x1b[32;4m" in chat.written
    with chatting.start(*drafts, tokens=40, NO_COLOR="1") as chat:
        chat.wait_for_prompt()
        assert "--color always" in chat.ask("Hello")
        assert b"\x1b[32" not in chat.written
