"""The outcome of a run: for people (a table), for CI (JUnit XML), for programs (JSON)."""

import json
import re
from dataclasses import asdict, dataclass
from itertools import groupby

SCHEMA = "pdlt.checks/1"

#: What XML 1.0 cannot hold even escaped: control characters, surrogates.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class ControlResult:
    """Whether a planted error was found."""

    planted: str
    refuted: bool
    message: str


@dataclass(frozen=True)
class Result:
    """The outcome of one claim, or of a file that could not be loaded (then `level` is empty)."""

    id: str
    file: str
    level: str
    statement: str
    published: str
    uses: tuple[str, ...]
    passed: bool
    message: str
    seconds: float
    controls: tuple[ControlResult, ...]


@dataclass(frozen=True)
class Report:
    """The outcome of a run, in the order of files and of claims in them."""

    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether there are results and all of them passed."""
        return bool(self.results) and not self.failures

    @property
    def failures(self) -> tuple[Result, ...]:
        """The results that did not pass."""
        return tuple(result for result in self.results if not result.passed)

    @property
    def summary(self) -> str:
        """One line: how many claims, how many failed, how long it took."""
        controls = sum(len(result.controls) for result in self.results)
        found = sum(control.refuted for result in self.results for control in result.controls)
        seconds = sum(result.seconds for result in self.results)
        passed = len(self.results) - len(self.failures)
        return (
            f"{passed} passed, {len(self.failures)} failed; "
            f"{found} of {controls} planted errors refuted; {seconds:.1f} s"
        )

    def table(self) -> str:
        """Return plain text: a row per claim, the reasons of failures in full, and the summary."""
        width = max((len(result.id) for result in self.results), default=0)
        lines = []
        for file, results in groupby(self.results, key=lambda result: result.file):
            lines.append(file)
            for r in results:
                controls = f"{sum(c.refuted for c in r.controls)}/{len(r.controls)}" if r.controls else "-"
                word = "ok" if r.passed else "FAILED"
                row = f"  {word:6}  {r.id:{width}}  {r.level:9}  controls {controls:>4}  {r.seconds:6.2f} s"
                message = " ".join(r.message.split())
                lines += [f"{row}  {message}"] if r.passed else [row, f"          {message}"]
        return "\n".join([*lines, self.summary])

    def to_junit(self) -> str:
        """Return JUnit XML: a suite per file, a case per claim; a file that cannot be loaded is an error."""
        from xml.etree import ElementTree as ET

        root = ET.Element("testsuites", {"name": "pdlt check", **_counts(self.results)})
        for file, group in groupby(self.results, key=lambda result: result.file):
            results = list(group)
            suite = ET.SubElement(root, "testsuite", {"name": _xml(file), **_counts(results)})
            for r in results:
                stem = file.removesuffix(".py").replace("/", ".")
                case = ET.SubElement(suite, "testcase", classname=_xml(stem), name=_xml(r.id), time=f"{r.seconds:.3f}")
                properties = ET.SubElement(case, "properties")
                for name in ("level", "statement", "published"):
                    ET.SubElement(properties, "property", name=name, value=_xml(getattr(r, name)))
                if not r.passed:
                    kind = "failure" if r.level else "error"
                    ET.SubElement(case, kind, message=_xml(" ".join(r.message.split()))).text = _xml(r.message)
                else:
                    ET.SubElement(case, "system-out").text = _xml(r.message)
        ET.indent(root)
        return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"

    def to_json(self) -> str:
        """Return JSON of schema "pdlt.checks/1"."""
        data = {
            "schema": SCHEMA,
            "ok": self.ok,
            "summary": self.summary,
            "results": [asdict(result) for result in self.results],
        }
        return json.dumps(data, indent=1, ensure_ascii=False)


def _counts(results: "tuple[Result, ...] | list[Result]") -> dict[str, str]:
    return {
        "tests": str(len(results)),
        "failures": str(sum(not r.passed and bool(r.level) for r in results)),
        "errors": str(sum(not r.passed and not r.level for r in results)),
        "time": f"{sum(r.seconds for r in results):.3f}",
    }


def _xml(text: str) -> str:
    return _NOT_XML.sub("�", text)
