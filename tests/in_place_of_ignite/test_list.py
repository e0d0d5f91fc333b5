"""That no story is missing."""

import re
from pathlib import Path


def test_there_is_a_story_of_each_of_ignites_pitfalls():
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    told = {int(number) for file in files for number in re.findall(r'(?:"|def test_)[vV](\d+)[_"]', file.read_text())}
    assert told == set(range(1, 29))
