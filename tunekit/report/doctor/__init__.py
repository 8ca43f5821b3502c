"""What this machine can run, and what it lacks; torch is never imported."""
