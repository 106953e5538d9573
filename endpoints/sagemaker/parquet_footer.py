"""The rows and columns of a Parquet file, from its footer, without a Parquet library.

The footer is a struct in Thrift's compact protocol:
https://parquet.apache.org/docs/file-format/ and
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Callable
from typing import Any

MAGIC = b"PAR1"
TAIL_BYTES = 8
"""The end of a file: the footer's length, and MAGIC."""
SCHEMA, ROWS, CHILDREN = 2, 3, 5
"""The fields `schema` and `num_rows` of FileMetaData, and `num_children` of SchemaElement."""
STOP, TRUE, FALSE, BYTE, I16, I32, I64, BINARY, LIST, STRUCT = 0, 1, 2, 3, 4, 5, 6, 8, 9, 12
"""The types that occur before ROWS."""


def read_shape(read_end: Callable[[int], bytes]) -> tuple[int, int]:
    """Return a file's numbers of rows and of columns.

    Args:
        read_end: Returns the last bytes of the file, as many as it is asked for.

    Raises:
        ValueError: The file is not Parquet, or its footer is damaged or encrypted.
    """
    tail = read_end(TAIL_BYTES)
    if len(tail) < TAIL_BYTES or tail[4:] != MAGIC:
        raise ValueError("it doesn't end as a Parquet file does")
    length = int.from_bytes(tail[:4], "little")
    footer = read_end(length + TAIL_BYTES)
    try:
        fields = _CompactReader(footer).read_struct(until=ROWS)
        root, rows = fields[SCHEMA][0], fields[ROWS]
        return int(rows), int(root[CHILDREN])
    except (IndexError, KeyError, TypeError, RecursionError):
        raise ValueError("its footer is damaged") from None


class _CompactReader:
    """A reader of values in Thrift's compact protocol."""

    def __init__(self, content: bytes) -> None:
        self._content, self._position = content, 0

    def read_struct(self, until: int = 0) -> dict[int, Any]:
        """Return the fields of a struct by their ids, up to the field `until`."""
        fields: dict[int, Any] = {}
        field = 0
        while (header := self._read_byte()) != STOP:
            delta, kind = header >> 4, header & 0x0F
            field = field + delta if delta else self._read_integer()
            fields[field] = kind == TRUE if kind in {TRUE, FALSE} else self._read_value(kind)
            if field == until:
                break
        return fields

    def _read_value(self, kind: int) -> Any:  # noqa: ANN401 - a value of any type
        if kind in {I16, I32, I64}:
            return self._read_integer()
        if kind == BYTE:
            return self._read_byte()
        if kind == BINARY:
            return self._read_bytes(self._read_varint())
        if kind == LIST:
            return self._read_list()
        if kind == STRUCT:
            return self.read_struct()
        raise TypeError(f"a value of type {kind}")

    def _read_list(self) -> list[Any]:
        header = self._read_byte()
        size, kind = header >> 4, header & 0x0F
        size = self._read_varint() if size == 15 else size
        return [self._read_value(kind) for _ in range(size)]

    def _read_integer(self) -> int:
        value = self._read_varint()
        return (value >> 1) ^ -(value & 1)  # zigzag: small negative numbers are short, too

    def _read_varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._read_byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _read_byte(self) -> int:
        self._position += 1
        return self._content[self._position - 1]

    def _read_bytes(self, size: int) -> bytes:
        self._position += size
        if self._position > len(self._content):
            raise IndexError
        return self._content[self._position - size : self._position]
