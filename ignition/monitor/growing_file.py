"""The whole lines that have come to a file since it was read last."""

from __future__ import annotations

import os
import time
from pathlib import Path

LONGEST = 2**24  # bytes; a line that is longer is none of a log's
HEAD = 256  # bytes at the file's beginning, and before the place read to, by which it is known again


class GrowingFile:
    """Reads a file that others write, never what it has read before.

    A line counts once its end is there, or once the file has stood still for ``STILL`` seconds; if it goes on growing
    after that, the line comes again, whole. A file that has shrunk, or is another one under the same name, is read from
    its beginning: `renewed` says so.

    Args:
        path: it may come later, and go.
    """

    STILL = 60.0

    def __init__(self, path: Path):
        self.path = path
        self.size = self.offset = 0
        self.problem = ""  # why it cannot be read
        self._seen: tuple[int, int, int] | None = None  # inode, size and time of the last look
        self._head = self._seam = b""
        self._inode = -1
        self._skipping = False  # within a line that is too long
        self._taken: int | None = None  # where an unfinished line begins that was taken for whole

    def renewed(self) -> bool:
        """Look at the file. Whether what was read of it is no longer what it holds."""
        try:
            found = os.stat(self.path)
        except OSError as error:
            self.problem = "" if isinstance(error, FileNotFoundError) else f"{error.strerror or error}"
            gone, self._seen = self.offset > 0, None
            self._forget()
            return gone
        self.problem = ""
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        if seen == self._seen:
            return False
        another = self.offset > 0 and (found.st_ino != self._inode or found.st_size < self.offset or self._differs())
        if another:
            self._forget()
        self._seen, self._inode, self.size = seen, found.st_ino, found.st_size
        if self._taken is not None and found.st_size > self.offset:  # it was not whole after all
            self.seek(self._taken)
        return another

    @property
    def left(self) -> int:
        """Bytes that have not been read, as of the last look."""
        return max(self.size - self.offset, 0)

    def read(self, most: int = 2**20) -> bytes:
        """The next whole lines, at most about ``most`` bytes of them; empty where there are none."""
        while self.left:
            block = self._bytes(self.offset, most)
            end = block.rfind(b"\n") + 1
            if end == 0:
                if len(block) < most or not block:
                    return self._unfinished(block)
                if most < LONGEST:
                    most = min(2 * most, LONGEST)
                    continue
                self._go_on(block)
                self._skipping = True
                continue
            begin = block.find(b"\n") + 1 if self._skipping else 0
            self._skipping = False
            self._go_on(block[:end])
            return block[begin:end]
        return b""

    def peek(self, most: int) -> bytes:
        """The next ``most`` bytes, of a file without lines; `take` says how far one has come."""
        return self._bytes(self.offset, min(most, self.left))

    def take(self, block: bytes) -> None:
        """Go on after these bytes, which `peek` has given."""
        self._go_on(block)

    def around(self, begin: int, size: int) -> tuple[int, bytes]:
        """The whole lines within ``size`` bytes from ``begin`` on, whatever has been read; and where they end."""
        block = self._bytes(begin, size)
        first = block.find(b"\n") + 1 if begin > 0 else 0
        end = block.rfind(b"\n") + 1
        return begin + end, block[first:end]

    def seek(self, offset: int) -> None:
        """Go on from there: the beginning of a line."""
        self.offset, self._taken, self._skipping = offset, None, False
        self._seam = self._bytes(max(offset - HEAD, 0), min(offset, HEAD))
        self._head = self._bytes(0, min(offset, HEAD))

    def _go_on(self, block: bytes) -> None:
        self.offset += len(block)
        self._taken = None
        self._seam = (self._seam + block[-HEAD:])[-HEAD:]
        if len(self._head) < HEAD:
            self._head = self._bytes(0, min(self.offset, HEAD))

    def _unfinished(self, block: bytes) -> bytes:
        """A last line without an end, where nobody is about to end it."""
        if self._skipping or not block.strip() or self._seen is None:
            return b""
        if time.time() - self._seen[2] / 1e9 < self.STILL or self.offset + len(block) < self.size:
            return b""
        begin = self.offset
        self._go_on(block)
        self._taken = begin
        return block + b"\n"

    def _differs(self) -> bool:
        """Whether other bytes stand where it was read to; a file may be written anew in its old place."""
        begin = self.offset - len(self._seam)
        return self._bytes(begin, len(self._seam)) != self._seam or self._bytes(0, len(self._head)) != self._head

    def _forget(self) -> None:
        self.offset = self.size = 0
        self._head = self._seam = b""
        self._taken, self._skipping = None, False

    def _bytes(self, begin: int, size: int) -> bytes:
        try:
            with open(self.path, "rb") as file:
                file.seek(begin)
                return file.read(size)
        except FileNotFoundError:  # gone since the last look
            return b""
        except OSError as error:
            self.problem = f"{error.strerror or error}"
            return b""
