"""Data of the product: the model catalogue, the plans, the demonstration stubs. Never weights."""
