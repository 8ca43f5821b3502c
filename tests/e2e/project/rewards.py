def length(completions, **columns):
    return [min(len(c[0]["content"]), 20) / 20 for c in completions]
