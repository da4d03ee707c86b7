"""How much of a model goes to a GPU: as many whole layers as its free memory holds.

Pure; the worker asks llama.cpp for the figures.
"""

RESERVED_BYTES = 512 * 1024**2  # for what llama.cpp computes in, and for the desktop
KV_BYTES = 2 * 2  # of a cell and a dimension: a key and a value of 16 bits each


def cache_bytes(cells: int, layers: int, kv_dimensions: int) -> int:
    """Return the size of a KV cache of 16-bit values; `kv_dimensions` are those of one layer."""
    return cells * layers * kv_dimensions * KV_BYTES


def layers_that_fit(
    layers: int, weights_bytes: int, kv_cache_bytes: int, free_bytes: list[int]
) -> int:
    """Return how many layers to offload, the output layer counted as one more.

    `free_bytes` are those of each device. A layer takes its share of the weights and of the KV
    cache; where all of them fit, so does the output layer.
    """
    per_layer = (weights_bytes + kv_cache_bytes) / (layers + 1)
    room = sum(max(0, free - RESERVED_BYTES) for free in free_bytes)
    return min(layers + 1, int(room // per_layer))
