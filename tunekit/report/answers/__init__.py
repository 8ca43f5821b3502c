"""What verbs print with `--json`, as types: one struct a schema, `TABLE` names them all (docs/json.md)."""
