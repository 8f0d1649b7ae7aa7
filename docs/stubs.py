"""How the Python API's reference is read: mkdocs.yml names this extension of griffe.

The stub describes the compiled module, whose constructors are `__new__`; and our docstrings say
"Example:", where griffe shows only "Examples:" as code.
"""

import re
from typing import Any

import griffe


class Stubs(griffe.Extension):
    """Reads constructors and examples as the reference shows them."""

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Show the arguments of the constructor."""
        constructor = cls.members.get("__new__")
        if isinstance(constructor, griffe.Function) and "__init__" not in cls.members:
            constructor.name = "__init__"
            cls.set_member("__init__", constructor)

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Show examples as code."""
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = re.sub("^Example:$", "Examples:", text, flags=re.MULTILINE)
