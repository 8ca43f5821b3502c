"""Files to rows: which files of a source are data, and each of them block by block."""

from tunekit.data.readers.agreement import compare_columns
from tunekit.data.readers.blocks import Block, Lines, Rows
from tunekit.data.readers.count import count_rows
from tunekit.data.readers.files import Warn, data_files
from tunekit.data.readers.parse import parse, parse_all
from tunekit.data.readers.read import read_blocks, read_file, rows_of

__all__ = [
    "Block",
    "Lines",
    "Rows",
    "Warn",
    "compare_columns",
    "count_rows",
    "data_files",
    "parse",
    "parse_all",
    "read_blocks",
    "read_file",
    "rows_of",
]
