"""The README's Python runs as printed."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.mark.smoke
def test_the_five_lines_run(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
    auroc, decisions = capsys.readouterr().out.splitlines()[-2:]
    assert 0 <= float(auroc) <= 1
    assert decisions in ("[ True]", "[False]")
    lines = [line for line in block.splitlines() if line]
    assert len(lines) == 5
