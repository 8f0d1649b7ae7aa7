"""Draft sources that the caller fills: predictions and tables."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import PAIR
from specdec_rs import CorruptModel, SpeculativeConfig, SpeculativeDecoder

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
