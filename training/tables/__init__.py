"""Raw tables: which files there are, whether their schemas and values are usable, and their canonical form.

Schemas are checked before any row is read, so that a wrong table fails within seconds.
"""

from training.tables.read import Piece, empty_table, pieces, read_files, read_piece, read_table
from training.tables.table import ColumnMap, RawTable, find_table, is_given
from training.tables.texts import check_ids, first_illegal, illegal_ids, text_column
from training.tables.types import arrow_type

__all__ = [
    "ColumnMap",
    "Piece",
    "RawTable",
    "arrow_type",
    "check_ids",
    "empty_table",
    "find_table",
    "first_illegal",
    "illegal_ids",
    "is_given",
    "pieces",
    "read_files",
    "read_piece",
    "read_table",
    "text_column",
]
