def compare_versions(first: str, second: str) -> int:
    """Return -1, 0 or 1 as the first dotted version is older, equal or newer.

    Missing parts are zeros.

    >>> compare_versions("1.10", "1.9.3")
    1
    >>> compare_versions("2.0", "2")
    0
    """
