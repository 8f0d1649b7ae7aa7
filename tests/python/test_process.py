"""Whole processes: Ctrl-C, forks, threads, exit."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from conftest import PAIR
from specdec_rs import SpeculativeConfig, SpeculativeDecoder

PRELUDE = f"""
import asyncio, os, signal, sys, threading, time
from specdec_rs import Benchmark, SpecdecError, SpeculativeDecoder
# A process that a shell starts in the background ignores SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
MODEL = {str(PAIR / "target")!r}
decoder = SpeculativeDecoder(MODEL, "none", device="cpu")
"""


def run(program: str, expected_status: int = 0) -> str:
    """Run a program with the tiny pair and return its output; fail if it hangs."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == expected_status, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a single process")
@pytest.mark.parametrize(
    "call",
    [
        "decoder.generate([5], max_new_tokens=10**6, ignore_eos=True)",
        "decoder.generate_batch([[5]] * 10**6)",
        "Benchmark(decoder).run_comparison([5], num_runs=10**6)",
        "[list(decoder.stream([5])) for _ in range(10**6)]",
        "asyncio.run(decoder.generate_async([5], max_new_tokens=10**6, ignore_eos=True))",
        "decoder.logits([5] * 1000)",
    ],
)
def test_ctrl_c(call: str) -> None:
    # A context of 1024 tokens would be full before the signal: repeat until it comes.
    program = f"""
        def interrupt():
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            while True:
                {call}
        except KeyboardInterrupt:
            print("interrupted")
        print(len(decoder.generate([5], max_new_tokens=3, ignore_eos=True).tokens))
    """
    assert run(program) == "interrupted\n3\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_after_import_and_loading_generates() -> None:
    program = """
        child = os.fork()
        length = len(decoder.generate([5], max_new_tokens=5, ignore_eos=True).tokens)
        if child:
            length += 10 * os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(length)
        sys.exit(length)
    """
    assert run(program, 55) == "55\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_after_computing_keeps_working() -> None:
    program = """
        decoder = SpeculativeDecoder(MODEL, num_threads=3)
        before = decoder.generate([5], max_new_tokens=9, temperature=0).text
        child = os.fork()
        same = decoder.generate([5], max_new_tokens=9, temperature=0).text == before
        if child:
            print(same, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        sys.exit(0 if same else 1)
    """
    assert run(program) == "True 0\n"


# Ends a child as a program does whose first use of the decoder fails, or works.
CHILD = """
        def child():
            try:
                decoder.generate([5], max_new_tokens=5, ignore_eos=True)
            except RuntimeError as error:
                sys.exit(3 if "forked while another thread" in str(error) else 4)
            sys.exit(0)

        def fork():
            number = os.fork()
            if number == 0:
                child()
            return number

        def status(number):
            # A child that hangs is not waited for longer than a minute.
            for _ in range(6000):
                ended, status = os.waitpid(number, os.WNOHANG)
                if ended:
                    return os.waitstatus_to_exitcode(status)
                time.sleep(0.01)
            os.kill(number, signal.SIGKILL)
            return "hangs"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_fork_while_another_thread_generates(num_threads: int) -> None:
    program = f"""
        decoder = SpeculativeDecoder(MODEL, num_threads={num_threads})
        running = True
        def work():
            while running:
                decoder.generate([5], max_new_tokens=100)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        outcomes = set()
        for _ in range(10):
            time.sleep(0.02)
            outcomes.add(status(fork()))
        running = False
        for thread in threads:
            thread.join()
        # Once they have ended, a child can do all that its parent can.
        print(outcomes <= {{0, 3}}, status(fork()))
    """
    assert run(CHILD + program) == "True 0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_while_coroutines_generate() -> None:
    program = """
        async def main():
            stream = decoder.stream_async([5], max_new_tokens=1000, ignore_eos=True)
            await anext(stream)
            number = os.fork()
            if number == 0:
                try:
                    decoder.generate([5], max_new_tokens=5)
                except RuntimeError as error:
                    os._exit(3 if "forked while another thread" in str(error) else 4)
                os._exit(0)
            outcome = status(number)
            async for _ in stream:
                pass
            return outcome
        for _ in range(10):
            print(asyncio.run(main()) in (0, 3), status(fork()))
    """
    assert run(CHILD + program) == "True 0\n" * 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_of_a_model_that_computes_goes_on() -> None:
    program = """
        import numpy
        from specdec_rs import Tokenizer
        class Forking:
            vocab_size, context_length, child = 512, 64, None
            def extend(self, sequence, tokens, rows):
                if self.child is None:
                    self.child = os.fork()
                return numpy.zeros((rows, 512), numpy.float32)
            def truncate(self, sequence, length): pass
            def free(self, sequence): pass
        model = Forking()
        own = SpeculativeDecoder.with_models(model, None, Tokenizer(MODEL))
        length = len(own.generate([5], max_new_tokens=5, ignore_eos=True).tokens)
        if model.child == 0:
            sys.exit(length + len(own.generate([5], max_new_tokens=5, ignore_eos=True).tokens))
        print(length, status(model.child))
    """
    assert run(CHILD + program) == "5 10\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize(
    ("options", "outcome"), [('kernels="candle"', "3\n"), ('quantize="q4_0"', "0\n")]
)
def test_a_fork_after_another_librarys_threads_were_started(options: str, outcome: str) -> None:
    program = f"""
        def use():
            decoder = SpeculativeDecoder(MODEL, {options}, progress=False)
            decoder.generate([5] * 200, max_new_tokens=5, ignore_eos=True)
        use()
        number = os.fork()
        if number == 0:
            try:
                use()
            except SpecdecError as error:
                os._exit(3 if "forked after Candle" in str(error) else 4)
            os._exit(0)
        print(status(number))
    """
    assert run(CHILD + program) == outcome


def test_exit_waits_for_coroutines() -> None:
    program = """
        async def main():
            stream = decoder.stream_async([5], max_new_tokens=1000, ignore_eos=True)
            asyncio.create_task(decoder.generate_async([5], max_new_tokens=1000))
            await anext(stream)
        asyncio.run(main())
    """
    for _ in range(5):
        run(program)


def test_nothing_starts_at_import() -> None:
    program = "import specdec_rs, threading; print(threading.active_count(), len(__import__('os')"
    program += ".listdir('/proc/self/task')) if __import__('os').path.exists('/proc') else 1)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        # numpy starts threads of its own.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.split() == ["1", "1"]


def test_other_threads_keep_running(decoder: SpeculativeDecoder) -> None:
    count, running = 0, True

    def work() -> None:
        nonlocal count
        while running:
            count += 1

    thread = threading.Thread(target=work)
    thread.start()
    before = count
    stats = decoder.generate([5], max_new_tokens=1000, ignore_eos=True).stats
    during = count - before
    running = False
    thread.join()
    # If the GIL were not released, the thread would run at most once per step.
    assert during > 100 * stats.steps


def test_many_threads_share_a_decoder(
    decoder: SpeculativeDecoder, prompts: list[list[int]]
) -> None:
    config = SpeculativeConfig(temperature=0, max_new_tokens=30)
    alone = [decoder.generate(prompt, config) for prompt in prompts]
    together: dict[int, str] = {}

    def work(index: int) -> None:
        together[index] = decoder.generate(prompts[index], config).text

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[index] for index in range(len(prompts))] == [each.text for each in alone]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGALRM")
def test_exceptions_of_signal_handlers_pass_through() -> None:
    program = """
        def expire(*_):
            raise LookupError("late")
        signal.signal(signal.SIGALRM, expire)
        for call in (
            lambda: decoder.generate_batch([[5]] * 10**6),
            lambda: Benchmark(decoder).run_comparison([5], num_runs=10**6),
        ):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            try:
                call()
            except LookupError as error:
                print(error, error.__cause__)
    """
    assert run(program) == "late None\n" * 2


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGALRM")
def test_exceptions_of_log_handlers_are_not_lost() -> None:
    program = """
        import logging
        class Alarm(logging.Handler):
            def emit(self, record):
                signal.raise_signal(signal.SIGALRM)
        def expire(*_):
            raise LookupError("late")
        signal.signal(signal.SIGALRM, expire)
        logging.getLogger("specdec_rs").addHandler(Alarm())
        logging.getLogger("specdec_rs").setLevel(logging.INFO)
        for call in (
            lambda: decoder.generate([5], max_new_tokens=3),
            lambda: decoder.generate_batch([[5]] * 2, max_new_tokens=3),
            lambda: list(decoder.stream([5], max_new_tokens=3)),
            lambda: Benchmark(decoder).run_comparison([5], num_runs=1),
        ):
            try:
                print("nothing raised", call())
            except LookupError as error:
                print(error, error.__cause__)
    """
    assert run(program) == "late None\n" * 4


def test_pythons_signal_handler_stays() -> None:
    program = """
        decoder.generate([5], max_new_tokens=1)
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    """
    assert run(program) == "True\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a script of the shell")
@pytest.mark.parametrize("frozen", [False, True])
def test_models_in_wheels_are_asked_of_the_pip_of_this_python(tmp_path: Path, frozen: bool) -> None:
    python = tmp_path / "own-python"
    python.write_text('#!/bin/sh\necho "ERROR: I was asked for $*" >&2\nexit 1\n')
    python.chmod(0o755)
    program = f"""
        import sys
        sys.executable, sys.frozen = {str(python)!r}, True
        {"" if frozen else "del sys.frozen"}
        import specdec_rs
        try:
            specdec_rs.SpeculativeDecoder("pypi:package==1")
        except specdec_rs.ModelNotFound as error:
            print(error)
    """
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    if frozen:
        assert "no pip was found" in done.stdout
    else:
        assert "ERROR: I was asked for -m pip" in done.stdout
        assert done.stdout.count("package==1") >= 2, done.stdout
