"""Query texts with LlamaIndex; a running server answers.

Usage: specdec serve &
       python llama_index_query.py [URL]
The index is a summary index, which gives all texts to the model: the server has no embeddings.
"""

import sys

try:
    from llama_index.core import Document, SummaryIndex
    from llama_index.llms.openai_like import OpenAILike
except ModuleNotFoundError:
    sys.exit(
        "this example needs LlamaIndex: pip install llama-index-core llama-index-llms-openai-like"
    )

TEXTS = ["The old cat sleeps on the red mat.", "The young dog sleeps on the brown log."]


def main(url: str = "http://127.0.0.1:8080") -> None:
    """Answer a question about the texts."""
    model = OpenAILike(
        model="smollm2-135m",
        api_base=f"{url}/v1",
        api_key="any",
        is_chat_model=True,
        context_window=2048,
        temperature=0,
        max_tokens=40,
    )
    index = SummaryIndex.from_documents([Document(text=text) for text in TEXTS])
    print(index.as_query_engine(llm=model).query("Where does the dog sleep?"))


if __name__ == "__main__":
    main(*sys.argv[1:2])
