from vggtf.reports import listing


def test_names_are_aligned_over_all_groups_and_empty_groups_left_out():
  groups = {"nets": [("a", "first"), ("b", "")], "none": [], "losses": [("longer", "second")]}
  assert listing.text(groups) == "nets\n  a       first\n  b\n\nlosses\n  longer  second"


def test_nothing_is_nothing():
  assert listing.text({}) == ""
