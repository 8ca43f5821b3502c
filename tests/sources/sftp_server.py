"""A real SFTP server (paramiko) on the loopback interface: one folder, read only, anyone with the password."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import paramiko


class Door(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL if password == "secret" else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class Folder(paramiko.SFTPServerInterface):
    root: Path

    def _path(self, path: str) -> str:
        return str(self.root) + self.canonicalize(path)

    def list_folder(self, path: str):
        try:
            names = os.listdir(self._path(path))
        except OSError as e:
            return paramiko.SFTPServer.convert_errno(e.errno)
        return [
            paramiko.SFTPAttributes.from_stat(os.lstat(os.path.join(self._path(path), name)), name) for name in names
        ]

    def lstat(self, path: str):
        try:
            return paramiko.SFTPAttributes.from_stat(os.lstat(self._path(path)))
        except OSError as e:
            return paramiko.SFTPServer.convert_errno(e.errno)

    def stat(self, path: str):
        try:
            return paramiko.SFTPAttributes.from_stat(os.stat(self._path(path)))
        except OSError as e:
            return paramiko.SFTPServer.convert_errno(e.errno)

    def open(self, path: str, flags: int, attr: object):
        try:
            handle = paramiko.SFTPHandle(flags)
            handle.readfile = open(self._path(path), "rb")  # noqa: SIM115  (the handle closes it)
        except OSError as e:
            return paramiko.SFTPServer.convert_errno(e.errno)
        return handle


class SftpServer:
    def __init__(self, root: Path) -> None:
        self.key = paramiko.ECDSAKey.generate()
        self._handler = type("Here", (Folder,), {"root": root})
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._transports: list[paramiko.Transport] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def known_hosts(self) -> str:
        return f"[127.0.0.1]:{self.port} {self.key.get_name()} {self.key.get_base64()}\n"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, self._handler)
            self._transports.append(transport)
            try:
                transport.start_server(server=Door())
            except (paramiko.SSHException, EOFError, OSError):  # the client did not like our key
                transport.close()

    def cut(self) -> None:
        """All that are connected lose their connection."""
        for transport in self._transports:
            transport.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.cut()
        self._thread.join()
