"""What `inspect` draws of the answers of tunekit.lens: on a terminal, as plain text, as a page."""
