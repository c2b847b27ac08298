"""C compilers: which ones there are, how each is called, and how large what they make is.

Generated code is compiled with the strictest warnings as errors, so that a warning in a user's own build is found here
first. Nothing depends on the flags for exactness: the sources turn fused multiply-add off themselves.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit_converters.errors import ConversionError, MissingRequirement, UsageError

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SECONDS = 300


@dataclass(frozen=True)
class Architecture:
    """One kind of machine that code is compiled for.

    Attributes:
        name: What people type.
        compilers: Programs to look for, the preferred one first.
        flags: Which processor.
        package: What has the compiler, for a message.
        emulator: Program and arguments that run its programs here; empty where they run as they are.
        hosted: Whether there is an operating system that loads shared libraries.
    """

    name: str
    compilers: tuple[str, ...]
    flags: tuple[str, ...] = ()
    package: str = ""
    emulator: tuple[str, ...] = ()
    hosted: bool = True

    @property
    def tools(self) -> str:
        """What its binutils' names begin with."""
        return self.compilers[0].removesuffix("gcc").removesuffix("cc") if not self.is_host else ""

    @property
    def is_host(self) -> bool:
        """Whether it is this machine."""
        return self.name == "host"

    def compiler(self) -> str:
        """Path of its compiler.

        Raises:
            MissingRequirement: There is none; says what to install.
        """
        for name in self.compilers:
            if (found := shutil.which(name)) is not None:
                return found
        raise MissingRequirement(f"there is no C compiler for {self.name} here", f"apt install {self.package}")


def _cortex(name: str, *flags: str) -> Architecture:
    return Architecture(
        name,
        ("arm-none-eabi-gcc",),
        (f"-mcpu={name}", "-mthumb", *flags),
        "gcc-arm-none-eabi libnewlib-arm-none-eabi",
        hosted=False,
    )


_HARD = "-mfloat-abi=hard"
ARCHITECTURES: Mapping[str, Architecture] = {
    a.name: a
    for a in (
        Architecture("host", ("cc", "gcc", "clang"), package="gcc"),
        Architecture(
            "aarch64", ("aarch64-linux-gnu-gcc",), package="gcc-aarch64-linux-gnu",
            emulator=("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"),
        ),
        Architecture(
            "armhf", ("arm-linux-gnueabihf-gcc",), ("-march=armv7-a", "-mfpu=vfpv3-d16"), "gcc-arm-linux-gnueabihf",
            emulator=("qemu-arm", "-L", "/usr/arm-linux-gnueabihf"),
        ),
        _cortex("cortex-m0"),
        _cortex("cortex-m3"),
        _cortex("cortex-m4", "-mfpu=fpv4-sp-d16", _HARD),
        _cortex("cortex-m7", "-mfpu=fpv5-d16", _HARD),
        _cortex("cortex-m33", "-mfpu=fpv5-sp-d16", _HARD),
    )
}  # fmt: skip


@dataclass(frozen=True)
class ObjectSize:
    """Bytes of compiled code by section: `text` is code, `rodata` tables, `data` and `bss` memory."""

    text: int
    rodata: int
    data: int
    bss: int

    @property
    def flash(self) -> int:
        """What lies in flash: code, tables and the initial values of memory."""
        return self.text + self.rodata + self.data

    @property
    def memory(self) -> int:
        """Static memory; the stack comes on top."""
        return self.data + self.bss


def architecture(name: str) -> Architecture:
    """An architecture by name.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in ARCHITECTURES:
        raise UsageError(f"there is no architecture {name!r:.40}", f"there are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def available() -> tuple[str, ...]:
    """Names of the architectures whose compiler is on this machine."""
    return tuple(n for n, a in ARCHITECTURES.items() if any(shutil.which(c) for c in a.compilers))


def compile_library(sources: Iterable[Path], folder: Path, name: str = "host", optimize: str = "-O2") -> Path:
    """Compile C sources to a shared library ``FIRST_SOURCE-ARCHITECTURE.so`` in `folder`.

    Args:
        sources: C files; headers beside them are found.
        folder: Where to write; made if it is not there.
        name: Architecture with an operating system: ``host``, ``aarch64`` or ``armhf``.
        optimize: ``-O2``, ``-Os``, ….

    Raises:
        MissingRequirement: There is no compiler for it.
        UsageError: It loads no shared libraries.
        ConversionError: The compiler refused the code or took too long.
    """
    machine, files = architecture(name), [Path(s) for s in sources]
    if not machine.hosted:
        raise UsageError(f"{name} loads no shared libraries", "take host, aarch64 or armhf")
    target = _target(folder, f"{files[0].stem}-{name}.so")
    _compile(machine, (optimize, *STRICT, "-fPIC", "-shared", "-o", str(target), *map(str, files), "-lm"))
    return target


def compile_program(
    sources: Iterable[Path], folder: Path, name: str = "host", optimize: str = "-O2", options: Sequence[str] = ()
) -> Path:
    """Compile C sources to a program ``FIRST_SOURCE-ARCHITECTURE`` in `folder`; static where it is for another machine.

    Args:
        sources: C files, ``main`` among them.
        folder: Where to write; made if it is not there.
        name: Architecture.
        optimize: ``-O2``, ``-Os``, ….
        options: More arguments, such as a linker script for a Cortex-M.

    Raises:
        MissingRequirement: There is no compiler for it.
        ConversionError: The compiler refused the code or took too long.
    """
    machine, files = architecture(name), [Path(s) for s in sources]
    target = _target(folder, f"{files[0].stem}-{name}")
    static = () if machine.is_host or not machine.hosted else ("-static",)
    _compile(machine, (optimize, *STRICT, *static, *options, "-o", str(target), *map(str, files), "-lm"))
    return target


def compile_object(
    source: Path, folder: Path, name: str = "host", optimize: str = "-Os", options: Sequence[str] = ()
) -> Path:
    """Compile one C source to ``SOURCE-ARCHITECTURE.o`` in `folder`; arguments and errors as of `compile_program`."""
    target = _target(folder, f"{Path(source).stem}-{name}.o")
    _compile(architecture(name), (optimize, *STRICT, *options, "-c", "-o", str(target), str(source)))
    return target


def object_size(path: Path, name: str = "host") -> ObjectSize:
    """Sizes of an object file's or library's sections, as ``size -A`` says them.

    Raises:
        MissingRequirement: There is no ``size`` program.
        ConversionError: It cannot read the file.
    """
    program = f"{architecture(name).tools}size"
    if shutil.which(program) is None:
        raise MissingRequirement(f"there is no {program} here to measure code with", "apt install binutils")
    result = _run((program, "-A", str(path)), 60)
    if result.returncode:
        raise ConversionError(f"{program} cannot read {Path(path).name}", _first(result.stderr))
    totals = dict.fromkeys(("text", "rodata", "data", "bss"), 0)
    for section, size in re.findall(r"^\.(\S+)\s+(\d+)\s", result.stdout, re.MULTILINE):
        kind = "rodata" if section.startswith("data.rel.ro") else section.split(".")[0]
        if kind in totals:
            totals[kind] += int(size)
    return ObjectSize(**totals)


def run_program(path: Path, name: str = "host", stdin: str = "", seconds: float = SECONDS) -> str:
    """Run a compiled program, under its emulator where it is for another machine, and give what it prints.

    Raises:
        MissingRequirement: The emulator is not here.
        ConversionError: The program failed or took too long.
    """
    machine = architecture(name)
    if not machine.hosted:
        raise UsageError(
            f"programs for {name} do not run here as they are", "run them on a board or in qemu-system-arm"
        )
    if machine.emulator and shutil.which(machine.emulator[0]) is None:
        raise MissingRequirement(f"there is no {machine.emulator[0]} here to run {name} code", "apt install qemu-user")
    result = _run((*machine.emulator, str(path)), seconds, stdin)
    if result.returncode:
        raise ConversionError(f"{Path(path).name} ended with {result.returncode}", _first(result.stderr))
    return result.stdout


def _target(folder: Path, name: str) -> Path:
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder) / name


def _compile(machine: Architecture, arguments: Sequence[str]) -> None:
    command = (machine.compiler(), *machine.flags, *arguments)
    result = _run(command, SECONDS)
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if "error" in line]
        where = f"{Path(command[0]).name} refused the code for {machine.name}"
        raise ConversionError(where, _first("\n".join(errors) or result.stderr))


def _run(command: Sequence[str], seconds: float, stdin: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConversionError(
            f"{Path(command[0]).name} took longer than {seconds:g} seconds", "take the layout that is made for size"
        ) from None
    except OSError as error:
        raise ConversionError(f"{Path(command[0]).name} does not start", str(error)) from None


def _first(text: str) -> str:
    return next((line.strip()[:300] for line in text.splitlines() if line.strip()), "it says nothing more")
