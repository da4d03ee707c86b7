"""How much of a model goes to a GPU."""

import pytest

from cascade_lsp.engine.offload import RESERVED_BYTES, cache_bytes, layers_that_fit

GB = 1024**3


def test_a_caches_size_is_that_of_its_keys_and_values() -> None:
    # Qwen2.5-Coder-0.5B: 24 layers, 2 key-value heads of 64 dimensions: 12 KiB a token.
    assert cache_bytes(1, 24, 2 * 64) == 12 * 1024


@pytest.mark.parametrize(
    ("free_bytes", "layers"),
    [
        ([], 0),
        ([RESERVED_BYTES], 0),
        ([80 * GB], 25),
        ([GB // 2 + RESERVED_BYTES], 12),
        ([GB // 4 + RESERVED_BYTES, GB // 4 + RESERVED_BYTES], 12),
        ([GB // 4], 0),
    ],
)
def test_as_many_layers_as_the_devices_hold_are_offloaded(
    free_bytes: list[int], layers: int
) -> None:
    assert layers_that_fit(24, GB, GB // 25, free_bytes) == layers
