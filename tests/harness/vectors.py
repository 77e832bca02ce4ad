"""Deletion vectors, decoded by the words of Delta's protocol and without any library."""

from __future__ import annotations

import struct
import uuid
import zlib
from pathlib import Path

Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
#: Characters of a base85 UUID.
UUID = 20
#: First word of a bitmap array, and cookies of roaring bitmaps without and with run containers.
MAGIC, WITHOUT_RUNS, WITH_RUNS = 1681511377, 12346, 12347
#: A container with more values is a bitmap; fewer containers with runs have no offsets.
ARRAY, NO_OFFSETS = 4096, 4


def file_of(uri: Path, vector: dict) -> Path | None:
    """Where a vector is stored, None for one in the log itself."""
    if vector["storageType"] == "i":
        return None
    if vector["storageType"] == "p":
        return Path(vector["pathOrInlineDv"].removeprefix("file://"))
    text = vector["pathOrInlineDv"]
    name = uuid.UUID(bytes=base85(text[-UUID:]))
    return uri / text[:-UUID] / f"deletion_vector_{name}.bin"


def deleted(uri: Path, vector: dict) -> set[int]:
    """Positions of the rows that a vector of the log deletes; what it says of itself holds."""
    size = vector["sizeInBytes"]
    file = file_of(uri, vector)
    if file is None:
        bitmap = base85(vector["pathOrInlineDv"])[:size]
    else:
        content, at = file.read_bytes(), vector.get("offset", 1)
        assert content[0] == 1, "version of the file's format"
        assert int.from_bytes(content[at : at + 4], "big") == size
        bitmap = content[at + 4 : at + 4 + size]
        checksum = int.from_bytes(content[at + 4 + size : at + 8 + size], "big")
        assert checksum == zlib.crc32(bitmap)
    assert len(bitmap) == size
    positions = _array(bitmap)
    assert len(positions) == vector["cardinality"]
    return positions


def base85(text: str) -> bytes:
    """Bytes of ZeroMQ's base85."""
    found = b""
    for start in range(0, len(text), 5):
        number = 0
        for character in text[start : start + 5]:
            number = number * 85 + Z85.index(character)
        found += number.to_bytes(4, "big")
    return found


def _array(data: bytes) -> set[int]:
    magic, count = struct.unpack_from("<IQ", data)
    assert magic == MAGIC
    at, positions = 12, set()
    for _ in range(count):
        (high,) = struct.unpack_from("<I", data, at)
        at, low = _bitmap(data, at + 4)
        positions |= {high << 32 | one for one in low}
    assert at == len(data)
    return positions


def _bitmap(data: bytes, at: int) -> tuple[int, set[int]]:
    """A roaring bitmap of 32 bits in its portable format, and where it ends."""
    (cookie,) = struct.unpack_from("<I", data, at)
    at += 4
    if cookie & 0xFFFF == WITH_RUNS:
        count = (cookie >> 16) + 1
        flags = data[at : at + (count + 7) // 8]
        at += len(flags)
    else:
        assert cookie == WITHOUT_RUNS
        (count,) = struct.unpack_from("<I", data, at)
        at += 4
        flags = bytes((count + 7) // 8)
    heads = [struct.unpack_from("<HH", data, at + 4 * n) for n in range(count)]
    at += 4 * count
    if cookie == WITHOUT_RUNS or count >= NO_OFFSETS:
        at += 4 * count
    found: set[int] = set()
    for n, (key, last) in enumerate(heads):
        if flags[n // 8] >> n % 8 & 1:
            (runs,) = struct.unpack_from("<H", data, at)
            numbers = struct.unpack_from(f"<{2 * runs}H", data, at + 2)
            at += 2 + 4 * runs
            pairs = zip(numbers[::2], numbers[1::2], strict=True)
            low = {value for start, more in pairs for value in range(start, start + more + 1)}
        elif last < ARRAY:
            low = set(struct.unpack_from(f"<{last + 1}H", data, at))
            at += 2 * (last + 1)
        else:
            low = {value for value in range(65536) if data[at + value // 8] >> value % 8 & 1}
            at += 8192
        assert len(low) == last + 1
        found |= {key << 16 | value for value in low}
    return at, found
