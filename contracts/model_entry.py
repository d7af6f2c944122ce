"""The `config.json` beside the weights of a trained model: what its builder needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from contracts.errors import BundleError

MODEL_CONFIG: Final = "config.json"


@dataclass(frozen=True)
class ModelEntry:
    """Arguments of the model's builder.

    Attributes:
        name: `two_tower` or the name of a ranker.
        config: of the model.
        schema: sizes of the data.
    """

    name: str
    config: dict[str, JsonValue]
    schema: dict[str, JsonValue]

    @classmethod
    def of(cls, values: JsonValue, source: str) -> ModelEntry:
        """Reads the content of the file; further keys are ignored.

        Raises:
            BundleError: a key is missing or of a wrong type; names the source and the key.
        """
        match values:
            case {"name": str(name), "config": dict(config), "schema": dict(schema)}:
                return cls(name, config, schema)
        found = values if isinstance(values, dict) else {}
        expected = {"name": str, "config": dict, "schema": dict}
        key = next(key for key, kind in expected.items() if not isinstance(found.get(key), kind))
        raise BundleError(f"{source} has no {key!r} of type {expected[key].__name__}")
