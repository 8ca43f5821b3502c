"""What a run will need, before anything runs: from declarations, config.json and safetensors headers; no torch."""
