"""The script for a GPU runs on the processor as well, where everything that it judges conforms."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "judge.py"


@pytest.mark.slow
def test_the_script_runs_on_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the Triton kernel and torch.compile, which it judges on a GPU only."""
    spec = importlib.util.spec_from_file_location("judge", SCRIPT)
    assert spec is not None and spec.loader is not None
    judge = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "judge", judge)
    spec.loader.exec_module(judge)
    few = ("LayerNorm", "Linear", "GELU")  # all of them are judged by tests/oracle/modules/test_kernels.py
    monkeypatch.setattr(judge, "LAYERS", {name: judge.LAYERS[name] for name in few})
    assert judge.main(["--device", "cpu", "--out", str(tmp_path / "gpu.md")]) == 0
    text = (tmp_path / "gpu.md").read_text()
    assert "# Judged on the processor" in text and ", 0 not as expected." in text
    assert text.count("| conforms | conforms |") == 16
    assert "| LayerNorm | torch.bfloat16 | grad.bias |" in text  # which a processor adds up in 16 bits
    assert "| Linear | torch.bfloat16 |" not in text and "| GELU |" not in text
