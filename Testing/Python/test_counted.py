"""Numbers with their noun."""

from MedCLIPSAMLib.counted import counted


def test_one_is_singular():
    numbers = [counted(number, "case") for number in (0, 1, 2)]
    assert numbers == ["0 cases", "1 case", "2 cases"] and counted(2, "series", "series") == "2 series"
