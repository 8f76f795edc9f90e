#!/usr/bin/env python3
"""Score a scanner on passwords and keys without a form, in real configuration and code.

usage: tests/bench/make_generic_set.py LYCHGATE FOLDER [--keep DIR] [--show missed|false] [--part even|odd]

  LYCHGATE   the program to score
  FOLDER     real open-source projects, fetched and not committed: one folder each, configuration-heavy
  --keep     where to leave the two trees (default: a temporary folder)
  --show     list what was missed, or the false alarms
  --part     only files whose path's SHA-256 is even or odd: write rules against one, report the other

Finds places where a project writes a value of its own: a password, a key or token, the password of an
address, an authorization header. The value there, whatever it is (a placeholder, an empty text, a
variable), is replaced by a generated credential, nothing else of the file changes. The untouched files
are the negatives.

  recall     places with a finding on the value's line, of all places
  precision  findings in the changed tree that stand on a changed line, of all its findings; what the
             untouched tree gives counts as false, although a few of those values are real. Private keys
             are counted apart: their rules are not measured here, and those in projects are keys

Figures are of the default level, medium and more; precision is also told for each level by itself.

One finding a line counts. Deterministic: the generator is seeded by the place. Reads JSON Lines: one
object a finding, with `path` and `start_line`.
"""
import argparse
import base64
import collections
import hashlib
import json
import pathlib
import random
import re
import shutil
import string
import subprocess
import sys
import tempfile

# Kinds of files that hold configuration or code, by their names' ends.
ENDS = tuple(
    ".yml .yaml .json .toml .ini .cfg .conf .properties .env .sh .py .rb .php .js .ts .java .go .tf .xml .sql .md"
    " .tmpl .j2 .example .sample .dist .dockerfile".split()
)
NAMES = ("Dockerfile", ".env", "docker-compose", ".npmrc", ".netrc")
MOST_BYTES = 200_000

SECRET_NAME = (
    r"(?:[A-Za-z0-9]+[_.-])*(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key"
    r"|private[_-]?key|auth[_-]?key|encryption[_-]?key|signing[_-]?key|client[_-]?secret|auth[_-]?token)"
)
NAMED = re.IGNORECASE
# Each form: what it is, and an expression whose group `value` is replaced.
FORMS = [
    # name = "value", "name": "value", name => 'value'
    ("quoted", re.compile(rf"""\b{SECRET_NAME}["']?\s{{0,4}}(?:=>|:=|[:=])\s{{0,4}}(?P<q>["'])(?P<value>[^"'\n]{{0,60}})(?P=q)""", NAMED)),
    # NAME=value in an environment file, a compose list, a Dockerfile
    ("environment", re.compile(r"(?m)^\s*(?:- |export |ENV |ARG )?[A-Z0-9_]*(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|SECRET_?KEY)=(?P<value>[^\s\"'$]{0,60})$")),
    # name: value, name = value, with nothing after it
    ("plain", re.compile(rf"(?m)^[ \t]*(?:- )?{SECRET_NAME}[ \t]*[:=][ \t]*(?P<value>[^\s\"'$&*!|>{{}}\[\](),;#]{{1,60}})[ \t]*$", NAMED)),
    # - name: DB_PASSWORD / value: x
    ("pair", re.compile(r"""(?m)^[ \t]*- name: ["']?[A-Z0-9_]*(?:PASSWORD|SECRET|TOKEN|API_?KEY)["']?[ \t]*\n[ \t]*value: ["']?(?P<value>[^\s"'{}]{0,60})["']?[ \t]*$""")),
    # scheme://user:value@host
    ("address", re.compile(r"[a-z][a-z0-9+.-]{2,20}://[^\s/:@\"'<>{}$]{0,40}:(?P<value>[^\s/:@\"'<>{}$]{1,60})@[A-Za-z0-9_.-]+")),
    # Authorization: Bearer value, Basic value
    ("bearer", re.compile(r"(?i)authorization[\"']?\s{0,2}[:=,]\s{0,2}[\"']?(?:bearer|token) (?P<value>[^\s\"'`{}$]{1,80})(?=[\s\"'`])")),
    ("basic", re.compile(r"(?i)authorization[\"']?\s{0,2}[:=,]\s{0,2}[\"']?basic (?P<value>[^\s\"'`{}]{1,80})")),
    # -u user:value, --password value
    ("option", re.compile(r"""(?:\bcurl\b[^\n]{0,80} -u ["']?[A-Za-z0-9_]+:|--password[ =])(?P<value>[^\s"'${}]{1,60})(?=["'\s])""")),
]
# Names whose value is no credential although they end like one.
OTHER = re.compile(r"(?i)(?:public|primary|foreign|cache|sort|csrf|xsrf|name|file|path|url|type|field|label|hint)[_-]?\w{0,12}$")
LETTERS = string.ascii_letters + string.digits


def password(rnd):
    """What people and password managers make."""
    kind = rnd.randrange(4)
    if kind == 0:
        return "".join(rnd.choice(LETTERS) for _ in range(rnd.randint(10, 24)))
    if kind == 1:
        return rnd.choice(LETTERS) + "".join(rnd.choice(LETTERS + "!@#%^*-_=+.") for _ in range(rnd.randint(11, 23))) + "7"
    if kind == 2:
        syllables = [rnd.choice("bdfgklmnprstvz") + rnd.choice("aeiou") + rnd.choice("nrstlx") for _ in range(2)]
        return "".join(syllables).capitalize() + str(rnd.randint(10, 9999)) + rnd.choice("!#*-_")
    return "".join(rnd.choice("0123456789abcdef") for _ in range(rnd.choice((16, 24, 32))))


def key(rnd):
    """What services issue."""
    kind = rnd.randrange(3)
    if kind == 0:
        return "".join(rnd.choice("0123456789abcdef") for _ in range(rnd.choice((32, 40, 64))))
    if kind == 1:
        return base64.urlsafe_b64encode(rnd.randbytes(rnd.randint(20, 36))).decode().rstrip("=")
    return "".join(rnd.choice(LETTERS) for _ in range(rnd.randint(20, 44)))


def credential(form, name, rnd):
    """A credential that would stand in such a place."""
    if form == "basic":
        user = rnd.choice(("admin", "deploy", "svc-app", "alice"))
        return base64.b64encode(f"{user}:{password(rnd)}".encode()).decode()
    if form == "address":
        return re.sub(r"[^0-9A-Za-z!*_.-]", "x", password(rnd))
    if form == "option":
        return re.sub(r"[^0-9A-Za-z!_.-]", "x", password(rnd))
    is_password = re.search(r"(?i)pass|pwd", name)
    made = password(rnd) if is_password or form == "option" else key(rnd)
    # Unquoted text must not turn into a comment or another type.
    return made if form == "quoted" else re.sub(r"[#%^*!=+@]", "x", made)


def places(text):
    """The first places of each line: (form, start, end, the match's text before the value)."""
    found = {}
    for form, expression in FORMS:
        for match in expression.finditer(text):
            start, end = match.span("value")
            before = text[match.start() : start]
            name = re.split(r"[:=,]", before.strip().strip("\"'"))[0].strip().strip("\"'")
            line = text.count("\n", 0, start)
            if form in ("quoted", "environment", "plain") and OTHER.search(name):
                continue
            # Code: the value is a name, a call, another variable.
            if form == "plain" and re.search(r"[.(]|^(?:true|false|null|none|required|string|optional)$", text[start:end], re.I):
                continue
            if "\n" in text[start:end] or re.search(r"\$\{|\{\{|<%|%\(|\$\(", text[start:end]):
                continue
            found.setdefault(line, (form, start, end, name))
    return [found[line] for line in sorted(found)]


def changed(path, text, made):
    """The text with credentials, and the numbers of its changed lines with their forms; `made` counts places."""
    lines, out, at = {}, [], 0
    for form, start, end, name in sorted(places(text), key=lambda place: place[1]):
        if start < at or made[path.parts[0], form] >= MOST_PLACES:
            continue
        made[path.parts[0], form] += 1
        rnd = random.Random(hashlib.sha256(f"{path}\0{start}\0{form}".encode()).digest())
        out += [text[at:start], credential(form, name, rnd)]
        at = end
        lines[text.count("\n", 0, start) + 1] = form
    return "".join(out) + text[at:], lines


LEVELS = ("low", "medium", "high")

# Most places of one form in one project, so that no project outweighs the others.
MOST_PLACES = 60


def wanted(path, relative, part):
    """Whether a file takes part; which part it is in, its path below the folder says, wherever that stands."""
    if not (path.name.endswith(ENDS) or path.name.startswith(NAMES)) or path.stat().st_size > MOST_BYTES:
        return False
    odd = hashlib.sha256(relative.as_posix().encode()).digest()[-1] % 2
    return part is None or odd == (part == "odd")


def scan(binary, folder):
    """The surest finding of each line: {(path, line): (rule, excerpt, confidence)}."""
    command = [binary, "scan", folder, "--no-baseline", "--min-confidence", "low", "--format", "jsonl"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode not in (0, 1):
        sys.exit(f"scan failed ({run.returncode}): {run.stderr[-400:]}")
    found = {}
    for line in run.stdout.splitlines():
        finding = json.loads(line)
        path = str(pathlib.Path(finding["path"]).resolve().relative_to(pathlib.Path(folder).resolve()))
        place = path, finding["start_line"]
        level = finding["confidence"]
        if place not in found or LEVELS.index(found[place][2]) < LEVELS.index(level):
            found[place] = (finding["rule"], finding.get("excerpt", ""), level)
    return found


def build(source, positives, part):
    """Writes the changed tree: {(path, line): form}, and how many files took part."""
    wants, files, made = {}, 0, collections.Counter()
    for path in sorted(p for p in source.rglob("*") if p.is_file() and not p.is_symlink()):
        relative = path.relative_to(source)
        if ".git" in relative.parts or not wanted(path, relative, part):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        new, lines = changed(relative, text, made)
        files += 1
        target = positives / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(new)
        wants.update({(str(relative), line): form for line, form in lines.items()})
    return wants, files


def each_level(wants, found):
    """Prints how many of a level's findings stand on a changed line; private keys left out."""
    for level in reversed(LEVELS):
        of = [place for place in found if found[place][2] == level and not found[place][0].startswith("private-key")]
        right = sum(place in wants for place in of)
        print(f"precision {level + ' alone':12} {right:5}/{len(of):<5} {100 * right / max(len(of), 1):5.1f} %")


def report(wants, files, found, show):
    """Prints the figures."""
    each_level(wants, found)
    found = {place: finding for place, finding in found.items() if finding[2] != "low"}
    hits = {place for place in wants if place in found}
    keys = {place for place in found if place not in wants and found[place][0].startswith("private-key")}
    false = {place for place in found if place not in wants} - keys
    total, hit = collections.Counter(wants.values()), collections.Counter(wants[place] for place in hits)
    for form in sorted(total):
        print(f"recall    {form:12} {hit[form]:5}/{total[form]:<5} {100 * hit[form] / total[form]:5.1f} %")
    print(f"recall    {'ALL':12} {len(hits):5}/{len(wants):<5} {100 * len(hits) / max(len(wants), 1):5.1f} %")
    print(f"precision {'ALL':12} {len(hits):5}/{len(hits) + len(false):<5} {100 * len(hits) / max(len(hits) + len(false), 1):5.1f} %")
    print(f"{files} files; {len(keys)} private keys; false by rule: {collections.Counter(found[p][0] for p in false).most_common(12)}")
    if show == "missed":
        for place in sorted(set(wants) - hits):
            print(f"missed {wants[place]:12} {place[0]}:{place[1]}")
    if show == "false":
        for place in sorted(false):
            print(f"false {found[place][0]:28} {place[0]}:{place[1]} {found[place][1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--show", choices=("missed", "false"))
    parser.add_argument("--part", choices=("even", "odd"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        positives = args.keep or pathlib.Path(scratch)
        if args.keep and args.keep.exists():
            shutil.rmtree(args.keep)
        positives.mkdir(parents=True, exist_ok=True)
        wants, files = build(args.folder, positives, args.part)
        report(wants, files, scan(args.binary, str(positives)), args.show)


if __name__ == "__main__":
    main()
