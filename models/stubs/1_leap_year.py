def is_leap(year: int) -> bool:
    """Return whether a year is a leap year in the Gregorian calendar.

    >>> is_leap(2024)
    True
    >>> is_leap(1900)
    False
    """
