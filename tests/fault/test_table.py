"""docs/faults.md says what happens, for a part of it that takes a minute."""
import os
import unittest

from tests.fault import table

PART = ("PostgreSQL: killed", "svc-gdpr: killed", "svc-auth: frozen", "Redis: frozen",
        "SQLite: disk full")
FULL = bool(os.environ.get("KAE_FULL"))


class Table(unittest.TestCase):
    def test_what_fails_is_seen_as_the_document_says(self):
        faults = [f for f in table.FAULTS if FULL or f.name in PART]
        doc = table.read_doc(table.DOC.read_text())
        for name, seen in table.run(faults).items():
            with self.subTest(fault=name):
                fault = next(f for f in faults if f.name == name)
                self.assertEqual(table.compare(fault, seen, doc), [])

    def test_the_document_has_every_fault_and_no_other(self):
        doc = table.read_doc(table.DOC.read_text())
        self.assertEqual(list(doc), [f.name for f in table.FAULTS])

    def test_a_difference_is_found(self):
        """What the comparison would say of an outcome, a time, a missing sign."""
        fault = table.FAULTS[0]
        seen = table.Seen()
        for kind in table.ASKS:
            seen.outcomes[kind] = {"200"}
            seen.seconds[kind] = 0.1
        seen.ready, seen.events = {"auth": {"database down"}}, {"auth: db.cannot_connect"}
        doc = table.read_doc("\n" + table.section(fault, seen))
        self.assertEqual(table.compare(fault, seen, doc), [])
        seen.outcomes["write"] = {"200", "500 INTERNAL_SERVER_ERROR"}
        seen.seconds["read"] = 30.0
        seen.ready, seen.events = {}, set()
        seen.recovery = 21
        wrong = table.compare(fault, seen, doc)
        self.assertEqual(len(wrong), 5, wrong)


if __name__ == "__main__":
    unittest.main()
