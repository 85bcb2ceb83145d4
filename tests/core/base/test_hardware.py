"""What /proc/cpuinfo says about the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from decomr_core.base import hardware

CPUINFO = 'processor\t: 0\nmodel name\t: Good CPU 5\n{0}\t\t: fpu sse4_2 {1}\n\nprocessor\t: 1\n'


def _pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str | None) -> None:
    """Makes /proc/cpuinfo contain a text; None: there is none."""
    path = folder / 'cpuinfo'
    if text is not None:
        path.write_text(text, encoding='utf-8')
    monkeypatch.setattr(hardware, 'Path', lambda _: path)


def test_the_name_is_that_of_the_first_core(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _pretend(monkeypatch, tmp_path, CPUINFO.format('flags', 'avx2'))
    assert hardware.cpu_name() == 'Good CPU 5'


@pytest.mark.parametrize(
    ('name', 'flag', 'has'),
    [
        ('flags', 'avx2', False),
        ('flags', 'avx512f', False),
        ('flags', 'avx512_vnni', True),
        ('flags', 'avx_vnni', True),
        ('Features', 'asimd', False),
        ('Features', 'asimddp', True),
    ],
)
def test_the_instructions_decide_whether_int8_is_exact(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, flag: str, has: bool
) -> None:
    _pretend(monkeypatch, tmp_path, CPUINFO.format(name, flag))
    assert hardware.has_int8_dot_products() is has


@pytest.mark.parametrize('text', [None, '', 'processor : 0\n'])
def test_an_unknown_cpu_has_a_name_and_counts_as_exact(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    _pretend(monkeypatch, tmp_path, text)
    assert hardware.cpu_name()
    assert hardware.has_int8_dot_products()
