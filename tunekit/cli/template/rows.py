"""What a row of the data becomes. tunekit runs this once for each row, and again only when it changes."""


def to_text(row: dict) -> dict:
    """`{note, topic}` to the `{text}` that a completion dataset wants."""
    return {"text": f"{row['topic'].capitalize()}: {' '.join(row['note'].split())}"}
