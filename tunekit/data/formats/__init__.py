"""Row formats: one room each, which checks a row and makes it into one of the few forms (tunekit/forms.py)."""
