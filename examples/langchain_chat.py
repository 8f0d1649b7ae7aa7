"""Ask a running server through LangChain, in a chain and as a stream.

Usage: specdec serve &
       python langchain_chat.py [URL]
"""

import sys

try:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr
except ModuleNotFoundError:
    sys.exit("this example needs LangChain: pip install langchain-openai")


def main(url: str = "http://127.0.0.1:8080") -> None:
    """Answer two questions."""
    model = ChatOpenAI(
        base_url=f"{url}/v1",
        api_key=SecretStr("any"),
        model="smollm2-135m",
        temperature=0,
        max_completion_tokens=40,
    )
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Be brief."), ("user", "List the {things} of the year.")]
    )
    chain = prompt | model | StrOutputParser()
    print(chain.invoke({"things": "months"}))
    for text in chain.stream({"things": "seasons"}):
        print(text, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:2])
