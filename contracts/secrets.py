"""Secrets are read from a file or from the environment of the process, never from a setting.

Settings are visible: Serve logs an application's `args` and shows them and `runtime_env` in its dashboard, and jobs
write their settings into the bundle.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from contracts.errors import ConfigError

_CREDENTIALS: Final = re.compile(
    r"^\w+://([^/\s]*@|(?<!s3://)(\S*@|\S*[?&][^=&\s]*(key|token|secret|password|sig|auth|credential)[^=&\s]*=))",
    re.IGNORECASE,
)
"""Addresses with a user, or with a secret in the query; in S3 keys "@" and "?" are legal characters."""


def read_secret(file: Path | None, variable: str) -> str | None:
    """Reads a secret from a file or else from an environment variable, without a final newline; None if there is none.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8 or is empty.
    """
    if file is None:
        return os.environ.get(variable) or None
    try:
        secret = file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"the secret in {file} cannot be read: {error.strerror}; correct the path") from error
    except UnicodeDecodeError:
        raise ConfigError(f"the secret in {file} cannot be read: it is not UTF-8") from None
    if not secret:
        raise ConfigError(f"the secret in {file} is empty; write it there or leave the setting out")
    return secret


def refuse_credentials(values: Mapping[str, object]) -> None:
    """Raises ValueError if an address in the settings holds a password or key; the message does not show it."""
    for name, value in values.items():
        texts = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(text, str) and _CREDENTIALS.search(text) for text in texts):
            raise ValueError(
                f"{name} holds credentials, which would be shown in logs and in the dashboard; leave them out: those "
                "of a store go into username and password_file, those of a trace collector into the environment "
                "variable OTEL_EXPORTER_OTLP_HEADERS, those of S3 into its usual variables and files"
            )


def refuse_secret(values: object, name: str, variable: str) -> None:
    """Raises ValueError if the settings hold a secret named `name`; the message does not show it."""
    if isinstance(values, Mapping) and values.get(name) is not None:
        raise ValueError(
            f"{name} would be shown in logs and in the dashboard; write it into a file that only the service can read "
            f"and set {name}_file, or set {variable} in the environment of the process that starts Ray"
        )


def refuse_secret_variables(runtime_env: object, variables: Collection[str], *, source: str) -> None:
    """Raises ConfigError if a `runtime_env` sets an environment variable for a secret; the message does not show it.

    Args:
        runtime_env: for Ray; anything but a mapping sets no variables.
        variables: names of the variables for secrets.
        source: its origin, for the message.
    """
    env_vars = runtime_env.get("env_vars") if isinstance(runtime_env, Mapping) else None
    if shown := sorted(set(variables) & set(env_vars or ())):
        raise ConfigError(
            f"{source} sets {', '.join(shown)} in the env_vars of a runtime_env, which Ray shows in its logs and "
            "dashboard; set it in the environment of the process that starts Ray or write the secret into a file"
        )
