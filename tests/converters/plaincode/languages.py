"""Programs in other languages, compiled and run: all of one language in one process, over rows from a file."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgekit_converters.plaincode import ir, reference
from edgekit_converters.plaincode.emitter import EmitSettings, emitter

TOOLS = {
    "java": ("java", "javac"),
    "javascript": ("node",),
    "go": ("go",),
    "rust": ("rustc",),
    "csharp": ("mcs", "mono"),
    "php": ("php",),
}
"""Language to the programs that compile and run it."""


@dataclass(frozen=True)
class Case:
    """A program, the rows that it is asked about, and how far each method's answer may be from the reference's."""

    program: ir.Program
    rows: np.ndarray
    bounds: Mapping[str, float]


def answers_of(language: str, folder: Path, cases: Sequence[Case]) -> list[dict[str, np.ndarray]]:
    """For each case, method to (rows, width) answers; classes as their places.

    The names of the last case's classes are left in ``labels.bin``, with a character 1 between them.
    """
    prefixes = [f"p{i}" for i in range(len(cases))]
    for prefix, case in zip(prefixes, cases, strict=True):
        for name, text in emitter(language).emit(case.program, EmitSettings(prefix)).items():
            place = folder / prefix / name if language == "go" else folder / name
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
    np.concatenate([np.ravel(c.rows) for c in cases]).astype("<f8").tofile(folder / "rows.bin")
    _RUN[language](folder, prefixes, cases)
    numbers = np.fromfile(folder / "answers.bin", "<f8")
    found, at = [], 0
    for case in cases:
        widths = {m: sum(a.register.width for a in answers) for m, answers in case.program.methods.items()}
        table = numbers[at : at + len(case.rows) * sum(widths.values())].reshape(len(case.rows), -1)
        at += table.size
        edges = np.cumsum(list(widths.values()))[:-1]
        found.append(dict(zip(widths, np.split(table, edges, axis=1), strict=True)))
    assert at == len(numbers)
    return found


def expected(case: Case) -> dict[str, np.ndarray]:
    """The reference's answers, classes as their places."""
    bare = {m: tuple(replace(a, labels=()) for a in answers) for m, answers in case.program.methods.items()}
    found = reference.run(replace(case.program, methods=bare), case.rows)
    return {m: np.concatenate([np.broadcast_to(v, (len(case.rows), v.shape[1])) for v in vs], axis=1)
            for m, vs in found.items()}  # fmt: skip


def _done(*command: object, folder: Path, **environment: str) -> None:
    done = subprocess.run(
        [str(c) for c in command], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, (done.stderr or done.stdout)[:3000]


def _calls(language: str, prefixes: Sequence[str], cases: Sequence[Case], line: str, call: str) -> str:
    """A line for each program, CALLS in it replaced by a call of each method; and one for the last one's classes."""
    dialect = emitter(language).dialect
    lines = []
    for prefix, case in zip(prefixes, cases, strict=True):
        calls = "".join(
            call.replace("PREFIX", prefix).replace("CLASS", prefix.upper()).replace("METHOD", dialect.method(m))
            for m in case.program.methods
        )
        text = line.replace("ROWS", str(len(case.rows))).replace("WIDTH", str(len(case.program.features)))
        lines.append(text.replace("CALLS", calls))
    answer = cases[-1].program.methods.get("predict", ())
    if answer and answer[0].labels:
        lines.append(_LABELS[language].replace("MODEL", prefixes[-1].upper()).replace("PREFIX", prefixes[-1]))
    return "\n".join(lines)


_LABELS = {
    "java": 'Files.write(Path.of("labels.bin"), String.join("\\u0001", MODEL.PREDICT_CLASSES).getBytes("UTF-8"));',
    "javascript": "fs.writeFileSync('labels.bin', PREFIX.PREDICT_CLASSES.join('\\u0001'));",
    "go": 'os.WriteFile("labels.bin", []byte(strings.Join(PREFIX.PredictClasses, "\\u0001")), 0o600)',
    "rust": 'std::fs::write("labels.bin", PREFIX::PREDICT_CLASSES.join("\\u{1}")).unwrap();',
    "csharp": 'File.WriteAllBytes("labels.bin", System.Text.Encoding.UTF8.GetBytes('
    'string.Join("\\u0001", MODEL.PredictClasses)));',
    "php": "file_put_contents('labels.bin', implode(\"\\x01\", \\MODEL\\PREDICT_CLASSES));",
}

_JAVA = """
import java.nio.*; import java.nio.file.*; import java.io.*;
class Main {
  static ByteBuffer in; static ByteArrayOutputStream bytes = new ByteArrayOutputStream();
  static double[] row(int n) { double[] r = new double[n]; for (int i = 0; i < n; i++) r[i] = in.getDouble(); return r; }
  static void put(double... all) {
    for (double v : all) { long b = Double.doubleToRawLongBits(v); for (int i = 0; i < 8; i++) bytes.write((int) (b >> 8 * i)); }
  }
  static void put(int[] all) { for (int v : all) put((double) v); }
  public static void main(String[] a) throws IOException {
    in = ByteBuffer.wrap(Files.readAllBytes(Path.of("rows.bin"))).order(ByteOrder.LITTLE_ENDIAN);
BODY
    Files.write(Path.of("answers.bin"), bytes.toByteArray());
  }
}
"""


def _java(folder: Path, prefixes: Sequence[str], cases: Sequence[Case]) -> None:
    line = "for (int k = 0; k < ROWS; k++) { double[] x = row(WIDTH); CALLS }"
    body = _calls("java", prefixes, cases, line, "put(CLASS.METHOD(x)); ")
    (folder / "Main.java").write_text(_JAVA.replace("BODY", body))
    _done("javac", "-Xlint:all", "-J-XX:TieredStopAtLevel=1", "-d", ".", *folder.glob("*.java"), folder=folder)
    _done("java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "Main", folder=folder)


def _javascript(folder: Path, prefixes: Sequence[str], cases: Sequence[Case]) -> None:
    imports = "".join(f"import * as {p} from './{p}.mjs';\n" for p in prefixes)
    line = "for (let k = 0; k < ROWS; k++) { const x = row(WIDTH); CALLS }"
    body = _calls("javascript", prefixes, cases, line, "out.push(PREFIX.METHOD(x)); ")
    (folder / "main.mjs").write_text(
        f"import * as fs from 'fs';\n{imports}"
        "const read = fs.readFileSync('rows.bin'); let at = 0; const out = [];\n"
        "const row = (n) => Array.from({ length: n }, () => read.readDoubleLE(8 * at++));\n"
        f"{body}\nfs.writeFileSync('answers.bin', new Float64Array(out.flat()));\n"
    )
    _done("node", "main.mjs", folder=folder)


_GO = """package main

import (
	"encoding/binary"
	"math"
	"os"
IMPORTS)

var in, out []byte

func row(n int) []float64 {
	r := make([]float64, n)
	for i := range r {
		r[i] = math.Float64frombits(binary.LittleEndian.Uint64(in))
		in = in[8:]
	}
	return r
}

func one(v float64) { out = append(out, 0, 0, 0, 0, 0, 0, 0, 0); binary.LittleEndian.PutUint64(out[len(out)-8:], math.Float64bits(v)) }

func put(v interface{}) {
	switch v := v.(type) {
	case float64:
		one(v)
	case int:
		one(float64(v))
	case []float64:
		for _, each := range v { one(each) }
	case []int:
		for _, each := range v { one(float64(each)) }
	}
}

func main() {
	in, _ = os.ReadFile("rows.bin")
BODY
	os.WriteFile("answers.bin", out, 0o600)
}
"""


def _go(folder: Path, prefixes: Sequence[str], cases: Sequence[Case]) -> None:
    (folder / "go.mod").write_text("module tried\n\ngo 1.18\n")
    body = _calls(
        "go", prefixes, cases, "for k := 0; k < ROWS; k++ { x := row(WIDTH); CALLS }", "put(PREFIX.METHOD(x)); "
    )
    imports = "".join(f'\t"tried/{p}"\n' for p in prefixes)
    imports += '\t"strings"\n' if "strings." in body else ""
    (folder / "main.go").write_text(_GO.replace("IMPORTS", imports).replace("BODY", body))
    settings = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOCACHE": str(folder / "cache")}
    _done("go", "build", "-o", "main", ".", folder=folder, **settings)
    _done(folder / "main", folder=folder)


_RUST = """MODS
trait Put { fn put(self, out: &mut Vec<u8>); }
impl Put for f64 { fn put(self, out: &mut Vec<u8>) { out.extend_from_slice(&self.to_le_bytes()); } }
impl Put for usize { fn put(self, out: &mut Vec<u8>) { (self as f64).put(out); } }
impl<T: Put> Put for Vec<T> { fn put(self, out: &mut Vec<u8>) { for v in self { v.put(out); } } }
fn row(read: &[u8], at: &mut usize, n: usize) -> Vec<f64> {
    (0..n).map(|_| { *at += 8; f64::from_le_bytes(read[*at - 8..*at].try_into().unwrap()) }).collect()
}
fn main() {
    let read = std::fs::read("rows.bin").unwrap();
    let (mut at, mut out) = (0usize, Vec::new());
BODY
    std::fs::write("answers.bin", out).unwrap();
}
"""


def _rust(folder: Path, prefixes: Sequence[str], cases: Sequence[Case]) -> None:
    line = "for _ in 0..ROWS { let x = row(&read, &mut at, WIDTH); CALLS }"
    body = _calls("rust", prefixes, cases, line, "PREFIX::METHOD(&x).put(&mut out); ")
    mods = "\n".join(f"mod {p};" for p in prefixes)
    (folder / "main.rs").write_text(_RUST.replace("MODS", mods).replace("BODY", body))
    _done("rustc", "--edition=2021", "-Copt-level=0", "-Cdebuginfo=0", "main.rs", folder=folder)
    _done(folder / "main", folder=folder)


_CSHARP = """
using System; using System.IO;
class Program {
  static byte[] read = File.ReadAllBytes("rows.bin"); static int at;
  static BinaryWriter o = new BinaryWriter(File.Create("answers.bin"));
  static double[] Row(int n) { var r = new double[n]; for (int i = 0; i < n; i++, at += 8) r[i] = BitConverter.ToDouble(read, at); return r; }
  static void Put(params double[] all) { foreach (var v in all) o.Write(v); }
  static void Put(int[] all) { foreach (var v in all) o.Write((double)v); }
  static void Main() {
BODY
    o.Close();
  }
}
"""


def _exactly(number: re.Match[str]) -> str:
    """Mono's compiler, alone of all, misreads some literals of 17 digits by one unit in the last place."""
    bits = struct.unpack("<q", struct.pack("<d", float(number[0])))[0]
    return f"System.BitConverter.Int64BitsToDouble(0x{bits:x})"


def _csharp(folder: Path, prefixes: Sequence[str], cases: Sequence[Case]) -> None:
    for source in folder.glob("*.cs"):
        source.write_text(re.sub(r"\b\d+\.\d{15,}(e-?\d+)?\b|\b\d{2,}\.\d{13,}\b", _exactly, source.read_text()))
    line = "for (int k = 0; k < ROWS; k++) { double[] x = Row(WIDTH); CALLS }"
    body = _calls("csharp", prefixes, cases, line, "Put(CLASS.METHOD(x)); ")
    (folder / "Main.cs").write_text(_CSHARP.replace("BODY", body))
    _done("mcs", "-out:main.exe", *folder.glob("*.cs"), folder=folder)
    _done("mono", "main.exe", folder=folder)


def _php(folder: Path, prefixes: Sequence[str], cases: Sequence[Case]) -> None:
    line = "for ($k = 0; $k < ROWS; $k++) { $x = row(WIDTH); CALLS }"
    body = _calls("php", prefixes, cases, line, "put(\\CLASS\\METHOD($x)); ")
    requires = "".join(f"require '{p}.php';\n" for p in prefixes)
    (folder / "main.php").write_text(
        f"<?php\n{requires}$read = file_get_contents('rows.bin'); $at = 0; $out = [];\n"
        'function row($n) { global $read, $at; $r = array_values(unpack("e$n", $read, 8 * $at)); $at += $n; return $r; }\n'
        "function put($v) { global $out; foreach ((array) $v as $each) { $out[] = (float) $each; } }\n"
        f"{body}\nfile_put_contents('answers.bin', pack('e*', ...$out));\n"
    )
    _done("php", "-d", "memory_limit=1G", "main.php", folder=folder)


_RUN: Mapping[str, Callable[[Path, Sequence[str], Sequence[Case]], None]] = {
    "java": _java, "javascript": _javascript, "go": _go, "rust": _rust, "csharp": _csharp, "php": _php,
}  # fmt: skip
