"""`sftp:` and `ssh:` with the host keys that ssh knows: fsspec's own driver believes whoever answers first."""

from __future__ import annotations

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem

CONNECT, SILENCE = 30.0, 60.0  # seconds


class KnownHosts(SFTPFileSystem):
    """The driver of fsspec but for the connection. Keys come from the agent and from ~/.ssh, as paramiko has it."""

    def _connect(self) -> None:
        self.client = paramiko.SSHClient()
        self.client.load_system_host_keys()
        self.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        self.client.connect(self.host, timeout=CONNECT, **self.ssh_kwargs)
        self.ftp = self.client.open_sftp()
        self.ftp.get_channel().settimeout(SILENCE)
