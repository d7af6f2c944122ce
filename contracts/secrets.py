"""Secrets: they stand in a file or in the environment of the process, never in a setting.

Settings are shown: Serve logs an application's `args` and shows them in its dashboard, and the environment that a
`runtime_env` sets; jobs put theirs into the bundle.
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
"""Addresses that name a user, or a secret in their query; behind an S3 bucket, "@" and "?" belong to the key."""


def read_secret(file: Path | None, variable: str) -> str | None:
    """The secret in a file, else in an environment variable, else None; an end of line after it does not count.

    Raises:
        ConfigError: the file cannot be read, is no UTF-8 or is empty.
    """
    if file is None:
        return os.environ.get(variable) or None
    try:
        secret = file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"the secret in {file} cannot be read: {error.strerror}; correct the path") from error
    except UnicodeDecodeError:
        raise ConfigError(f"the secret in {file} cannot be read: it is no UTF-8") from None
    if not secret:
        raise ConfigError(f"the secret in {file} is empty; write it there or leave the setting out")
    return secret


def refuse_credentials(values: Mapping[str, object]) -> None:
    """Raises ValueError if an address in settings holds a password or a key; the message does not show it."""
    for name, value in values.items():
        texts = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(text, str) and _CREDENTIALS.search(text) for text in texts):
            raise ValueError(
                f"{name} holds credentials, which would be shown in logs and in the dashboard; leave them out: those "
                "of a store go into username and password_file, those of a trace collector into the environment "
                "variable OTEL_EXPORTER_OTLP_HEADERS, those of S3 into its usual variables and files"
            )


def refuse_secret(values: object, name: str, variable: str) -> None:
    """Raises ValueError if settings hold a secret under a name; the message does not show it."""
    if isinstance(values, Mapping) and values.get(name) is not None:
        raise ValueError(
            f"{name} would be shown in logs and in the dashboard; write it into a file that only the service can read "
            f"and set {name}_file, or set {variable} in the environment of the process that starts Ray"
        )


def refuse_secret_variables(runtime_env: object, variables: Collection[str], *, source: str) -> None:
    """Raises ConfigError if a `runtime_env` sets an environment variable that holds a secret; its value is not shown.

    Args:
        runtime_env: as Ray takes it; whatever is no mapping sets nothing.
        variables: names of the variables.
        source: where it stands, for the message.
    """
    env_vars = runtime_env.get("env_vars") if isinstance(runtime_env, Mapping) else None
    if shown := sorted(set(variables) & set(env_vars or ())):
        raise ConfigError(
            f"{source} sets {', '.join(shown)} in the env_vars of a runtime_env, which Ray shows in its logs and "
            "dashboard; set it in the environment of the process that starts Ray or write the secret into a file"
        )
