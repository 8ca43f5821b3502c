"""`tunekit.lock`: what the world could change, pinned.

One sorted block per source string as written (revision, the archive it came in, every used file and the
digest of the artifact they make), the environments, promoted results and the recipes in use. There is no global
hash, each file stands on its own line, and the text is a function of the content: two branches that add
different sources merge without a conflict, and writing what was read gives the same bytes.

Every refusal is a LockError that names file, line and the way out. The standard library is all that this needs.
"""

from tunekit.lockfile.blocks import (
    Archive,
    Environment,
    FileEntry,
    Lock,
    RecipeBlock,
    ResultBlock,
    SourceBlock,
    bad_path,
    block_of,
    empty_lock,
    recipe_of,
)
from tunekit.lockfile.editing import edit_lock
from tunekit.lockfile.reading import load_lock, read_lock
from tunekit.lockfile.writing import dump_lock, save_lock

__all__ = [
    "Archive",
    "Environment",
    "FileEntry",
    "Lock",
    "RecipeBlock",
    "ResultBlock",
    "SourceBlock",
    "bad_path",
    "block_of",
    "dump_lock",
    "edit_lock",
    "empty_lock",
    "load_lock",
    "read_lock",
    "recipe_of",
    "save_lock",
]
