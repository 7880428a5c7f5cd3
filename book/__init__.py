"""The book: its chapters, and what stages, executes and renders them."""

import sys

# jsonschema, which nbformat needs, would build the grammar of a format that no notebook uses: a
# second of each process.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
