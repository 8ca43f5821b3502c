"""What is said of the parts of an action."""

import pytest

from tunekit.report.chunks import chunks


@pytest.mark.parametrize(("total", "made", "rows", "copied", "said"), [
    (0, 0, 0, 0, ""),
    (512, 3, 1204, 4940, "3 of 512 chunks changed (1,204 rows made, 4,940 copied)"),
    (512, 3, 6144, 0, "3 of 512 chunks changed (6,144 rows made)"),
    (512, 0, 0, 0, "512 chunks, none of them changed"),
    (1, 0, 0, 0, "1 chunk, none of them changed"),
    (512, 512, 1000000, 0, "512 chunks (1,000,000 rows made)"),
    (512, 512, 10000, 990000, "512 of 512 chunks changed (10,000 rows made, 990,000 copied)"),
    (1, 1, 1, 99, "1 of 1 chunk changed (1 row made, 99 copied)"),
])  # fmt: skip
def test_how_many_chunks_changed(total, made, rows, copied, said):
    parts = {"total": total, "made": made, "rows_made": rows, "rows_copied": copied}
    assert chunks({"parts": parts if total else {}}) == said


def test_records_of_old_have_no_parts():
    assert chunks({}) == ""
