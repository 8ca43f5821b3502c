"""Looks into datasets and tokens for `tunekit inspect`, in a process of its own. Writes nothing."""
