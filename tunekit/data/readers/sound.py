"""Whether the parts of an Arrow array agree: pyarrow trusts what a file says, and reads wherever an offset points."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tunekit.data.arrays import numpy_of


def check_batch(batch: pa.RecordBatch) -> None:
    """Looks at the rows of this slice alone, which pyarrow's `validate` does not. Raises ArrowInvalid."""
    batch.validate()
    for column in batch.columns:
        _check(column)


def _check(array: pa.Array) -> None:
    type = array.type
    if pa.types.is_struct(type):
        for i in range(type.num_fields):
            _check(array.field(i))
    elif pa.types.is_list(type) or pa.types.is_large_list(type):
        offsets, values = numpy_of(array.offsets), array.values
        if offsets[0] < 0 or offsets[-1] > len(values) or bool(np.any(np.diff(offsets) < 0)):
            raise pa.ArrowInvalid("a list's offsets lead out of its values")
        _check(values.slice(offsets[0], offsets[-1] - offsets[0]))
    else:
        array.validate(full=True)
