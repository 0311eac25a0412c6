"""The pages of the documentation that are generated from the source; `scripts/write_docs.py` writes or checks them."""
