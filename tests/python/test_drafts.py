"""Draft sources that the caller fills: predictions and tables."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import PAIR
from specdec_rs import (
    CorruptModel,
    FileError,
    InvalidConfig,
    SpeculativeConfig,
    SpeculativeDecoder,
)

CONFIG = SpeculativeConfig(temperature=0, max_new_tokens=32, ignore_eos=True)


def test_drafts_from_what_was_learned(tmp_path: Path) -> None:
    decoder = SpeculativeDecoder(PAIR / "target", num_threads=1)
    plain = decoder.generate("You may", CONFIG, draft="none")
    path = tmp_path / "texts.table"
    decoder.learn([*decoder.tokenizer.encode("You may"), *plain.tokens])
    decoder.save_table(path)
    loaded = SpeculativeDecoder(PAIR / "target", table=path, num_threads=1)
    for learned in (decoder, loaded):
        again = learned.generate("You may", CONFIG, draft="table")
        assert again.tokens == plain.tokens
        assert again.stats.steps < plain.stats.steps
        assert {token.source for token in again.details} == {"table", "target"}
    path.write_bytes(b"not a table but a text")
    with pytest.raises(CorruptModel, match=r"texts\.table"):
        SpeculativeDecoder(PAIR / "target", table=path)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of files' sizes")
def test_a_table_that_does_not_fit_the_disk_leaves_nothing(tmp_path: Path) -> None:
    # A limit of files' sizes is met as a full disk is, by this process alone.
    program = f"""
        import pathlib, resource, signal
        from specdec_rs import OutOfMemory, SpeculativeDecoder
        folder = pathlib.Path({str(tmp_path)!r})
        decoder = SpeculativeDecoder({str(PAIR / "target")!r}, num_threads=1)
        decoder.save_table(folder / "table")
        small = (folder / "table").read_bytes()
        (folder / "table").chmod(0o640)
        decoder.learn(list(range(500)))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            decoder.save_table(folder / "table")
        except OutOfMemory as error:
            print("no room" in str(error))
        print((folder / "table").read_bytes() == small)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        decoder.save_table(folder / "table")
        print(len((folder / "table").read_bytes()) > 10000)
        print(oct((folder / "table").stat().st_mode), [file.name for file in folder.iterdir()])
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\nTrue\nTrue\n0o100640 ['table']\n", done.stderr


def test_drafts_from_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    alone = SpeculativeDecoder(PAIR / "target", num_threads=1)
    plain = alone.generate("You may", CONFIG, draft="none")
    texts = tmp_path / "texts"
    (texts / "inner").mkdir(parents=True)
    (texts / "inner/licence.txt").write_text(f"You may{plain.text}")
    (texts / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    (texts / ".hidden").write_text("what is hidden stays so")

    def drafted() -> tuple[int, bytes]:
        decoder = SpeculativeDecoder(PAIR / "target", corpus=texts, num_threads=1)
        for draft in ("corpus", "auto"):
            again = decoder.generate("You may", CONFIG, draft=draft)
            assert again.tokens == plain.tokens
        again = decoder.generate("You may", CONFIG, draft="corpus", adaptive=False, gamma=4)
        assert {token.source for token in again.details} <= {"corpus", "target"}
        (index,) = (tmp_path / "home/specdec/corpora").glob("*.index")
        return again.stats.steps, index.read_bytes()

    steps, index = drafted()
    assert steps < plain.stats.steps / 2
    # The index is used again, until a file changes.
    assert drafted() == (steps, index)
    (texts / "inner/licence.txt").write_text("Another text.")
    steps, changed = drafted()
    assert changed != index
    assert steps > plain.stats.steps / 2
    with pytest.raises(InvalidConfig, match="a corpus, and there is none"):
        SpeculativeDecoder(PAIR / "target").generate("You may", CONFIG, draft="corpus")
    with pytest.raises(InvalidConfig, match="a corpus to draft from"):
        SpeculativeDecoder(PAIR / "target", "corpus")
    (texts / "inner/licence.txt").unlink()
    with pytest.raises(InvalidConfig, match="a folder with texts"):
        SpeculativeDecoder(PAIR / "target", corpus=texts)
    with pytest.raises(FileError, match="nowhere"):
        SpeculativeDecoder(PAIR / "target", corpus=tmp_path / "nowhere")


def test_a_prediction_is_drafted(decoder: SpeculativeDecoder) -> None:
    plain = decoder.generate("You may", CONFIG, draft="none")
    right = decoder.generate("You may", CONFIG, draft="prediction", prediction=plain.text)
    assert right.tokens == plain.tokens
    assert "prediction" in {token.source for token in right.details}
    assert right.stats.steps < plain.stats.steps
    wrong = decoder.generate("You may", CONFIG, draft="prediction", prediction="another text")
    assert wrong.tokens == plain.tokens


def test_shared_statistics_change_no_text(decoder: SpeculativeDecoder) -> None:
    plain = decoder.generate("The licensee", CONFIG, draft="none")
    for _ in range(3):
        again = decoder.generate("The licensee", CONFIG, draft="auto")
        assert again.tokens == plain.tokens
    recycled = decoder.generate("The licensee", CONFIG, draft="recycling")
    assert recycled.tokens == plain.tokens
    assert recycled.stats.steps < plain.stats.steps
