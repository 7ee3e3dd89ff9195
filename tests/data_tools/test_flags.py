"""Unknown flags are refused and the probable one is named; no abbreviations."""

import pytest

from data_tools import flags
from vggtf import errors


@pytest.fixture
def parser():
  parser = flags.Parser("data_tools.x", "says what")
  parser.add_argument("--input", required=True)
  parser.add_argument("--decode", type=int)
  return parser


@pytest.mark.parametrize(
  ("given", "said"),
  [
    (["--inptu=a", "--input=a"], "unknown option --inptu; did you mean --input?"),
    (["--input=a", "--dec=3"], "unknown option --dec; did you mean --decode?"),
    (["--input=a", "--xyzzy"], "unknown option --xyzzy; see --help"),
    (["--input=a", "b"], "unexpected argument 'b'; expected flags as --name=value"),
    (["--input="], "--input is empty; expected a folder; see python -m data_tools.x --help"),
    (["--input=a", "--decode=b"], "argument --decode: invalid int value: 'b'"),
    ([], "the following arguments are required: --input; see python -m data_tools.x --help"),
  ],
)
def test_wrong_flags_are_usage_errors(parser, given, said):
  with pytest.raises(errors.UsageError) as caught:
    parser.parse_all(given)
  assert said in str(caught.value)


def test_right_flags_are_parsed(parser):
  parsed = parser.parse_all(["--input=a", "--decode", "3"])
  assert (parsed.input, parsed.decode) == ("a", 3)
