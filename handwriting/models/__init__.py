"""Networks that write: `writer.py` holds the models, `unroll.py` the recurrence they run."""
