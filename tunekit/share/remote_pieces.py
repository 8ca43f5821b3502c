"""A large file to and from an object store in pieces, side by side; hashed in order as they come and go."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from tunekit.hashing import PREFIX

_PIECE = 48 << 20
_MOST = 9000  # pieces of one file: S3 takes 10,000
_AHEAD = 4  # pieces in flight, of one file
T = TypeVar("T")


def download(fs: Any, path: str, target: str, size: int, check: Callable[[], None]) -> tuple[str, int]:
    """Write an object of so many bytes to a new file (0444): digest and size. `check` is called between two pieces."""
    h, come = hashlib.sha256(), 0

    def piece(begin: int) -> bytes:
        check()
        return bytes(fs.cat_file(path, start=begin, end=min(begin + _PIECE, size)))

    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444), "wb", 0) as file:
        for data in _in_order(piece, iter(range(0, size, _PIECE))):
            h.update(data)
            file.write(data)
            come += len(data)
    return PREFIX + h.hexdigest(), come


def upload(fs: Any, source: str, path: str, size: int, fault: Callable[[str, int], str]) -> str:
    """Send a file to S3 and hash what is sent. `fault` says of digest and size what is wrong: then the object gets no
    name, and this is what comes back."""
    bucket, key, _ = fs.split_path(path)
    at = {"Bucket": bucket, "Key": key}
    h, sent = hashlib.sha256(), 0
    length = max(_PIECE, -(-size // _MOST))

    def pieces(file: Any) -> Iterator[tuple[int, bytes]]:
        nonlocal sent
        number = 0
        while sent <= size and (data := file.read(length)):
            number += 1
            h.update(data)
            sent += len(data)
            yield number, data

    with open(source, "rb", 0) as file:
        at["UploadId"] = fs.call_s3("create_multipart_upload", **at)["UploadId"]
        try:

            def send(piece: tuple[int, bytes]) -> dict[str, Any]:
                number, data = piece
                answer = fs.call_s3("upload_part", **at, PartNumber=number, Body=data)
                return {"PartNumber": number, "ETag": answer["ETag"]}

            parts = list(_in_order(send, pieces(file)))
            wrong = fault(PREFIX + h.hexdigest(), sent)
            if not wrong:
                fs.call_s3("complete_multipart_upload", **at, MultipartUpload={"Parts": parts})
                return ""
        except BaseException:
            fs.call_s3("abort_multipart_upload", **at)
            raise
        fs.call_s3("abort_multipart_upload", **at)
        return wrong


def _in_order(work: Callable[[Any], T], items: Iterator[Any]) -> Iterator[T]:
    """`work` of each, in order, a few ahead of who takes them."""
    pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="piece")
    running: deque[Future[T]] = deque()
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) >= _AHEAD:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
