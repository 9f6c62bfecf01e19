import pytest

from exporter.config.parsing import Duration, Integer, OptionalValue, format_address, parse_address, parse_boolean


@pytest.mark.parametrize("text", ["true", "True", "yes", "on", "1"])
def test_true(text: str) -> None:
    """The booleans of YAML 1.1 and the digit 1 mean true."""
    assert parse_boolean(text) is True


@pytest.mark.parametrize("text", ["false", "FALSE", "no", "off", "0"])
def test_false(text: str) -> None:
    """The booleans of YAML 1.1 and the digit 0 mean false."""
    assert parse_boolean(text) is False


@pytest.mark.parametrize("text", ["", "2", "maybe", "truee", " true"])
def test_not_a_boolean(text: str) -> None:
    """Every other text is refused."""
    with pytest.raises(ValueError, match=r"^is neither true nor false$"):
        parse_boolean(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("0", None), ("1", 1), ("9", 9), ("10", None), ("-1", None), ("x", None)]
)
def test_integer_bounds(text: str, expected: int | None) -> None:
    """Both bounds are allowed. A number outside the bounds is refused, and the error contains the bounds."""
    if expected is not None:
        assert Integer(1, 9)(text) == expected
        return
    with pytest.raises(ValueError, match=r"^is not a whole number from 1 to 9$"):
        Integer(1, 9)(text)


def test_duration_bound() -> None:
    """A duration below the bound is refused, and the error contains the bound."""
    assert Duration(at_least=1.0)("1s") == 1
    with pytest.raises(ValueError, match=r"^is too short; expected at least 1s$"):
        Duration(at_least=1.0)("999ms")


def test_an_empty_text_is_no_value() -> None:
    """An optional value is None for an empty text. Otherwise it is the result of its parser."""
    read = OptionalValue(Integer(0))
    assert (read(""), read("0")) == (None, 0)


@pytest.mark.parametrize("text", [":10210", "127.0.0.1:0", "localhost:80", "[::1]:10210", "[fe80::1%eth0]:1"])
def test_an_address_survives_formatting(text: str) -> None:
    """An address that is parsed and formatted has the same text."""
    assert format_address(parse_address(text)) == text
