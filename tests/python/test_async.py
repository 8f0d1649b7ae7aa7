"""Coroutines: the event loop is not blocked, and tasks can be cancelled."""

import asyncio

import pytest
from specdec_rs import InvalidConfig, SpeculativeConfig, SpeculativeDecoder

GREEDY = SpeculativeConfig(temperature=0, max_new_tokens=40)
LONG = SpeculativeConfig(max_new_tokens=1000, ignore_eos=True, draft="none", seed=0)


def test_concurrent_requests(decoder: SpeculativeDecoder, prompts: list[list[int]]) -> None:
    alone = [decoder.generate(prompt, GREEDY).tokens for prompt in prompts[:8]]
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def main() -> list[list[int]]:
        ticking = asyncio.create_task(tick())
        requests = (decoder.generate_async(prompt, GREEDY) for prompt in prompts[:8])
        generations = await asyncio.gather(*requests)
        ticking.cancel()
        return [generation.tokens for generation in generations]

    assert asyncio.run(main()) == alone
    # The loop ran far more often than there are requests: it was free meanwhile.
    assert ticks > 100


def test_asyncio_run_accepts_the_coroutine(decoder: SpeculativeDecoder) -> None:
    generation = asyncio.run(decoder.generate_async([5], GREEDY, max_new_tokens=3))
    assert len(generation.tokens) == 3


def test_errors_are_raised_where_they_are_awaited(decoder: SpeculativeDecoder) -> None:
    with pytest.raises(InvalidConfig, match="temperature"):
        asyncio.run(decoder.generate_async([5], temperature=-1))
    with pytest.raises(InvalidConfig, match="prompt"):
        asyncio.run(decoder.generate_async([]))
    with pytest.raises(InvalidConfig, match="prompt"):
        decoder.stream_async([])


def test_cancelling_the_task_ends_the_generation(decoder: SpeculativeDecoder) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(decoder.generate_async([5], LONG)) for _ in range(4)]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(decoder.generate_async([5], LONG), 0.01)
        # The model is free for other requests.
        assert len((await decoder.generate_async([5], GREEDY)).tokens) == 40

    asyncio.run(main())


def test_concurrent_streams(decoder: SpeculativeDecoder, prompts: list[list[int]]) -> None:
    async def text(prompt: list[int]) -> str:
        stream = decoder.stream_async(prompt, GREEDY)
        text = "".join([chunk.text async for chunk in stream])
        assert stream.generation is not None
        assert stream.generation.text == text
        return text

    async def main() -> list[str]:
        return await asyncio.gather(*(text(prompt) for prompt in prompts[:4]))

    expected = [decoder.generate(prompt, GREEDY).text for prompt in prompts[:4]]
    assert asyncio.run(main()) == expected


def test_a_stream_can_be_abandoned(decoder: SpeculativeDecoder) -> None:
    async def main() -> str | None:
        async for _ in decoder.stream_async([5], LONG):
            break
        stream = decoder.stream_async([5], LONG)
        await anext(stream)
        stream.cancel()
        # Tokens generated before the cancellation may arrive, but few more.
        assert sum([len(chunk.tokens) async for chunk in stream]) < 500
        return stream.generation.finish_reason if stream.generation else None

    assert asyncio.run(main()) == "cancelled"


def test_a_chunk_whose_awaiter_was_cancelled_goes_to_the_next(decoder: SpeculativeDecoder) -> None:
    config = SpeculativeConfig(temperature=0, max_new_tokens=40, ignore_eos=True, draft="none")
    whole = decoder.generate([5], config)

    async def impatient() -> list[int]:
        stream = decoder.stream_async([5], config)
        tokens: list[int] = []
        while True:
            try:
                chunk = await asyncio.wait_for(anext(stream), 0.0001)
            except asyncio.TimeoutError:
                continue
            except StopAsyncIteration:
                return tokens
            tokens.extend(token.id for token in chunk.tokens)

    assert asyncio.run(impatient()) == whole.tokens
