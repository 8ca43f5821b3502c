"""Where bytes come from: `registry.resolve` pins a source, `registry.materialise` delivers what is pinned.

Nothing here runs code that was fetched: packages are opened as archives of data, links are never followed out
of the project, and every byte handed over has the sha256 that the block names.
"""
