"""Serve several requests at once from one event loop.

Usage: python async_generation.py [TARGET [DRAFT]]
"""

import asyncio
import sys

from specdec_rs import SpeculativeDecoder

PROMPTS = ["The capital of France is", "Water boils at", "The first month of the year is"]


async def answer(decoder: SpeculativeDecoder, prompt: str) -> None:
    """Generate for one prompt and print the result."""
    generation = await decoder.generate_async(prompt, temperature=0, max_new_tokens=24)
    print(f"{prompt!r}: {generation.text!r}")


async def main(target: str = "smollm2-135m", draft: str = "auto") -> None:
    """Run concurrent requests, then a stream, then a request that times out."""
    decoder = SpeculativeDecoder(target, draft)
    await asyncio.gather(*(answer(decoder, prompt) for prompt in PROMPTS))

    async for chunk in decoder.stream_async("Once upon a time,", temperature=0, max_new_tokens=24):
        print(chunk.text, end="", flush=True)
    print()

    try:
        # Cancelling the task cancels the generation: here a timeout, in a server a disconnect.
        await asyncio.wait_for(decoder.generate_async("Forever", max_new_tokens=500), timeout=0.01)
    except asyncio.TimeoutError:
        print("gave up after 0.01 s")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
