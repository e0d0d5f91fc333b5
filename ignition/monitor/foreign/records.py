"""The framing of TFRecord files: each record with its length and checksums (CRC-32C, masked)."""

from __future__ import annotations

import numpy as np

LONGEST = 2**14  # bytes of a record that is looked at; longer ones are pictures and graphs
_HEADER, _FOOTER = 12, 4
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected


def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> np.uint32(1)) ^ np.uint32(_POLYNOMIAL), table >> np.uint32(1))
    return table


_TABLE = _table()


def checksums(rows: np.ndarray) -> np.ndarray:
    """The masked CRC-32C of each row of bytes: uint8 [N,L] to uint32 [N].

    >>> checksums(np.zeros((1, 8), np.uint8)).tolist()
    [127402793]
    """
    crc = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for column in rows.T:
        crc = _TABLE[(crc ^ column) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    crc = ~crc
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


def split(block: bytes) -> tuple[list[bytes], int, int]:
    """The whole records in ``block``, how many of its bytes they take, and how many places are damaged.

    A record whose checksum is wrong is left out; after a damaged length the next one is looked for. Where a long record
    stands at the beginning the bytes taken may be more than there are: then the next record begins that far on.
    """
    bytes_, good = np.frombuffer(block, np.uint8), _good_headers(block)
    place = bad = 0
    found: list[tuple[int, int]] = []
    while place + _HEADER <= len(block):
        if not good[place]:
            bad += 1
            further = np.flatnonzero(good[place:])
            if len(further) == 0:
                place = max(len(good), place)
                break
            place += int(further[0])
        length = int.from_bytes(block[place : place + 8], "little")
        end = place + _HEADER + length + _FOOTER
        if length <= LONGEST:
            if end > len(block):  # not written to its end yet
                break
            found.append((place + _HEADER, length))
        elif end > len(block) and place > 0:  # it comes alone, next
            break
        place = end
    whole = _whole(bytes_, found)
    records = [block[begin : begin + length] for (begin, length), right in zip(found, whole) if right]
    return records, place, bad + len(found) - len(records)


def _good_headers(block: bytes) -> np.ndarray:
    """At which bytes a length stands with its checksum behind it."""
    count = len(block) - _HEADER + 1
    if count <= 0:
        return np.zeros(0, bool)
    windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(block, np.uint8), _HEADER)
    stored = np.ascontiguousarray(windows[:, 8:]).view("<u4")[:, 0]
    right: np.ndarray = checksums(windows[:, :8]) == stored
    return right


def _whole(bytes_: np.ndarray, found: list[tuple[int, int]]) -> np.ndarray:
    """Whether each record, by begin and length, has the checksum that stands behind it."""
    right = np.zeros(len(found), bool)
    by_length: dict[int, list[int]] = {}
    for number, (_, length) in enumerate(found):
        by_length.setdefault(length, []).append(number)
    for length, numbers in by_length.items():
        begins = np.array([found[number][0] for number in numbers])
        rows = bytes_[begins[:, None] + np.arange(length + _FOOTER)]
        stored = np.ascontiguousarray(rows[:, length:]).view("<u4")[:, 0]
        right[numbers] = checksums(rows[:, :length]) == stored
    return right
