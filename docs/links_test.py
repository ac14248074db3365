#!/usr/bin/env python3
"""What the Markdown pages point to exists (links, anchors, files, Bazel packages), and their text is wrapped.

Arguments: the pages in the runfiles. They are links into the repository, where the test looks up the files that the
pages mention. These are not among its inputs, so it runs each time ("external" in its target).
"""

import pathlib
import re
import sys
import unittest

PAGES = [pathlib.Path(page).resolve() for page in sys.argv[1:]]
del sys.argv[1:]
REPOSITORY = next(folder for folder in PAGES[0].parents if (folder / "WORKSPACE").exists())

# The folders of the repository. Paths below other folders (runs/digits) are examples of a user's files.
FOLDERS = "docs|experiments|ml|package|results|third_party|tools"
# A file or folder of the repository, alone in a code span: `ml/data/batches.h`, `docs/images`.
PATH = re.compile(rf"`((?:{FOLDERS})/[\w./-]+)`")
# The package of a Bazel label, in a code span or in a command: //tools:compress, //ml/kernels/....
PACKAGE = re.compile(rf"(?<![\w:/])//((?:{FOLDERS})[\w/-]*)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def without_code(text):
    """The text without fenced blocks and code spans, in which [a](b) is no link."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`]*`", "", text)


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL),
                              flags=re.MULTILINE):
        found.add(re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-"))
    return found


def broken_links(page, text):
    """The links of a page, which lies at the path page, to files or headings that do not exist."""
    broken = []
    for link in LINK.findall(without_code(text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            broken.append(f"{page.name}: {link}: there is no such file")
        elif anchor and anchor not in anchors(text if target == page else target.read_text()):
            broken.append(f"{page.name}: {link}: the page has no such heading")
    return broken


def missing_mentions(page, text):
    """The files and Bazel packages that a page names and the repository does not have."""
    missing = [f"{page.name}: `{path}`: there is no such file" for path in PATH.findall(text)
               if not (REPOSITORY / path).exists() and not list(REPOSITORY.glob(path.rstrip("/") + ".*"))]
    for package in PACKAGE.findall(text):
        if not (REPOSITORY / package / "BUILD.bazel").exists() and not list(
                (REPOSITORY / package).glob("**/BUILD.bazel")):
            missing.append(f"{page.name}: //{package}: there is no such package")
    return missing


def long_lines(page, text):
    """The lines of a page's text that are longer than 100 columns and could be broken."""
    found, fenced = [], False
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if len(line) <= 100 or fenced or line.startswith(("    ", "|", "![")):  # code, tables and pictures may be wider
            continue
        without_marker = re.sub(r"^ *([-*]|\d+\.) ", "", line)
        if " " in re.sub(r"`[^`]*`|\[[^\]]*\]\([^)]*\)", "", without_marker).strip():
            found.append(f"{page.name}:{number}: {len(line)} columns")
    return found


class LinksTest(unittest.TestCase):
    def test_links_and_anchors_exist(self):
        self.assertEqual([], [problem for page in PAGES for problem in broken_links(page, page.read_text())])

    def test_files_and_packages_exist(self):
        self.assertEqual([], [problem for page in PAGES for problem in missing_mentions(page, page.read_text())])

    def test_text_is_wrapped(self):
        self.assertEqual([], [problem for page in PAGES for problem in long_lines(page, page.read_text())])

    def test_what_does_not_exist_is_found(self):
        page = REPOSITORY / "docs" / "config.md"
        text = ("# A b: `c`\n[x](#a-b-c) [x](tools.md) [x](https://example.org/y) `[x](z.md)`\n"
                "[x](#a-c) [x](none.md) [x](tools.md#none)\n")
        self.assertEqual(["config.md: #a-c: the page has no such heading", "config.md: none.md: there is no such file",
                          "config.md: tools.md#none: the page has no such heading"], broken_links(page, text))
        text = "`docs/config.md` `docs/none.md` `runs/x` `bazel run //tools:inspect` `//ml/none:x` //ml/... https://ml/x"
        self.assertEqual(["config.md: `docs/none.md`: there is no such file", "config.md: //ml/none: there is no such package"],
                         missing_mentions(page, text))

    def test_long_lines_are_found(self):
        page = REPOSITORY / "docs" / "config.md"
        word = "x" * 99
        text = "\n".join([f"a {word}", f"    a {word}", f"| a {word} |", "```", f"a {word}", "```", f"`a {word}`,",
                          f"- `a {word}`", f"a {word}"])
        self.assertEqual(["config.md:1: 101 columns", "config.md:9: 101 columns"], long_lines(page, text))


if __name__ == "__main__":
    unittest.main(verbosity=2)
