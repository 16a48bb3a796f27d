"""docs/asvs.md answers every requirement of OWASP ASVS 5.0.0 of levels 1 and 2, and the
tests and files that it names are there."""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"

# Of each section the levels of its requirements, in order; chapters 10 and 17 do not apply.
LEVELS = {
    "1.1": "22", "1.2": "1111122223", "1.3": "112222222223", "1.4": "222", "1.5": "123",
    "2.1": "122", "2.2": "112", "2.3": "12223", "2.4": "23",
    "3.1": "3", "3.2": "113", "3.3": "12223", "3.4": "11222233", "3.5": "11122333", "3.6": "3",
    "3.7": "22333",
    "4.1": "12233", "4.2": "23333", "4.3": "22", "4.4": "1222",
    "5.1": "2", "5.2": "112333", "5.3": "113", "5.4": "222",
    "6.1": "122", "6.2": "111111112222", "6.3": "11223333", "6.4": "112233", "6.5": "22222333",
    "6.6": "2223", "6.7": "33", "6.8": "2222",
    "7.1": "222", "7.2": "1111", "7.3": "22", "7.4": "11222", "7.5": "223", "7.6": "22",
    "8.1": "1233", "8.2": "1123", "8.3": "133", "8.4": "23",
    "9.1": "111", "9.2": "1222",
    "11.1": "2233", "11.2": "22233", "11.3": "11233", "11.4": "1222", "11.5": "23", "11.6": "23",
    "11.7": "33",
    "12.1": "12233", "12.2": "11", "12.3": "22223",
    "13.1": "2333", "13.2": "222223", "13.3": "2233", "13.4": "1222233",
    "14.1": "22", "14.2": "12223333", "14.3": "122",
    "15.1": "12233", "15.2": "12233", "15.3": "1222222", "15.4": "3333",
    "16.1": "2", "16.2": "22222", "16.3": "2222", "16.4": "222", "16.5": "2223",
}
WANTED = {f"{section}.{i}": level for section, levels in LEVELS.items()
          for i, level in enumerate(levels, 1) if level in "12"}


def rows():
    text = (ROOT / "docs" / "asvs.md").read_text()
    return re.findall(r"^\| (\d+\.\d+\.\d+) \| (\d) \| (.+?) \| (.+?) \|$", text, re.M)


def is_there(module, name):
    """The test is a function of that program or module."""
    for path in TESTS.glob(f"*/{module}.*"):
        if path.suffix in (".c", ".py") and re.search(
                rf"\b(?:void|def|T|TEST)\W+{name}\b", path.read_text()):
            return True
    return False


class Asvs(unittest.TestCase):
    def test_every_requirement_has_one_row(self):
        found = [(number, level) for number, level, _, _ in rows()]
        self.assertEqual(sorted(found), sorted(WANTED.items()))

    def test_what_is_named_is_there(self):
        for number, _, _, shown in rows():
            names = re.findall(r"`(test_\w+)\.(\w+)`", shown)
            paths = [p for p in re.findall(r"`([^`]+)`", shown)
                     if re.fullmatch(r"(docs|gateway|common|svc-\w+|tests|deploy)/[\w./]*", p)]
            with self.subTest(requirement=number):
                for module, name in names:
                    self.assertTrue(is_there(module, name), f"{module}.{name}")
                for path in paths:
                    self.assertTrue((ROOT / path).exists(), path)

    def test_a_test_that_is_not_there_is_noticed(self):
        self.assertTrue(is_there("test_asvs", "test_a_test_that_is_not_there_is_noticed"))
        self.assertFalse(is_there("test_asvs", "test_nothing"))
        self.assertFalse(is_there("test_nothing", "test_every_requirement_has_one_row"))


if __name__ == "__main__":
    unittest.main()
