"""The network in OpenVINO: its precisions, its batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from decomr_core.estimation import loading
from decomr_core.estimation.loading import load_runtime
from decomr_core.measures import parity
from decomr_core.runtimes import Runtime
from decomr_core.runtimes.exported_model import ExportedModel

pytest.importorskip('openvino')

from decomr_core.runtimes import openvino_runtime  # noqa: E402
from decomr_core.runtimes.openvino_runtime import PRECISIONS, choose_precision, cpu_precisions  # noqa: E402

pytestmark = pytest.mark.usefixtures('cache')


@pytest.fixture(scope='module')
def model(cpu_export: ExportedModel) -> ExportedModel:
    return cpu_export


@pytest.mark.skipif('bf16' not in cpu_precisions(), reason='this CPU has no bf16 arithmetic')
def test_bf16_runs_on_request_and_is_coarser(
    trained: dict[str, str], torch_runtime: Runtime
) -> None:
    exact, coarse = (
        load_runtime('openvino', **trained, precision=precision) for precision in ('f32', 'bf16')
    )
    vertices = torch_runtime.run(parity.parity_crops(64)).vertices
    errors = [
        parity.vertex_error_mm(runtime.run(parity.parity_crops(64)).vertices, vertices)
        for runtime in (exact, coarse)
    ]
    # Random weights magnify rounding; trained ones are gated.
    assert errors[0] < errors[1] < parity.vertex_error_mm(vertices, vertices[::-1])


@pytest.mark.parametrize(
    ('can', 'passing', 'expected'),
    [
        (('f32', 'fp16', 'bf16'), ('fp16', 'bf16'), 'fp16'),
        (('f32', 'bf16'), ('bf16',), 'bf16'),
        (('f32', 'fp16', 'bf16'), ('bf16',), 'bf16'),
        (('f32', 'fp16', 'bf16'), (), 'f32'),
        (('f32',), ('fp16', 'bf16'), 'f32'),
    ],
)
def test_half_precision_is_chosen_only_where_it_is_fast_and_passed_the_check(
    can: tuple[str, ...], passing: tuple[str, ...], expected: str
) -> None:
    info = {f'passes_{name}': name in passing for name in ('fp16', 'bf16')}
    assert choose_precision('auto', can, info) == expected
    assert choose_precision('f32', can, {}) == 'f32'
    for name in {'fp16', 'bf16'} - set(can):
        with pytest.raises(ValueError, match=f'this CPU has no {name}'):
            choose_precision(name, can, {})


def test_half_precision_is_used_only_if_the_export_measured_that_it_is_faster() -> None:
    info = {'passes_fp16': True, 'passes_bf16': True}
    for times_ms, expected in (
        ({'f32': 20.0, 'fp16': 21.0, 'bf16': 15.0}, 'bf16'),
        ({'f32': 20.0, 'fp16': 19.0, 'bf16': 19.0}, 'f32'),
        ({'f32': 20.0, 'fp16': 12.0, 'bf16': 11.0}, 'fp16'),
        ({'f32': 20.0}, 'fp16'),
    ):
        chosen = choose_precision('auto', PRECISIONS, {**info, 'openvino_ms': times_ms})
        assert chosen == expected, times_ms


@pytest.mark.parametrize('precision', ['fp16', 'bf16'])
def test_the_export_measures_whether_half_precision_passes(
    model: ExportedModel, precision: str
) -> None:
    assert (f'openvino {precision}' in model.info['parity']) == (precision in cpu_precisions())
    assert model.info['openvino_ms'].keys() == set(cpu_precisions())
    measured = model.info['parity'].get(f'openvino {precision}')
    passes = measured is not None and parity.Parity(**measured).passes(precision)
    assert model.info[f'passes_{precision}'] == passes


def test_the_runtime_uses_the_precision_that_passed_in_the_export(
    trained: dict[str, str], model: ExportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_runtime('openvino', **trained).precision == choose_precision(
        'auto', cpu_precisions(), model.info
    )
    monkeypatch.setattr(openvino_runtime, 'cpu_precisions', lambda: PRECISIONS)
    monkeypatch.setattr(openvino_runtime, '_FixedBatch', lambda *_: None)
    for precision in PRECISIONS:  # whatever this CPU has and this random network passes in
        passes = {f'passes_{name}': name == precision for name in ('fp16', 'bf16')}
        monkeypatch.setattr(
            loading,
            'exported_model',
            lambda *_, passes=passes: replace(
                model, info={**model.info, **passes, 'openvino_ms': {}}
            ),
        )
        assert load_runtime('openvino', **trained).precision == precision


def test_counting_and_placing_stay_float32_in_half_precision(model: ExportedModel) -> None:
    layers = ElementTree.parse(model.openvino_path).getroot().findall('layers/layer')
    is_kept = {
        layer.get('name'): any(
            note.get('name') == 'precise' for note in layer.iterfind('rt_info/attribute')
        )
        for layer in layers
        if layer.get('type') not in ('Const', 'Parameter')
    }
    for kind in ('ScatterElementsUpdate', 'Gather', 'Round', 'Sigmoid', 'Result'):
        names = [layer.get('name') for layer in layers if layer.get('type') == kind]
        assert names and all(is_kept[name] for name in names), kind
    inside = [
        kept
        for name, kept in is_kept.items()
        if name.startswith(('/network/lnet/', '/network/cnet/decoder'))
    ]
    assert len(inside) > 40 and not any(inside)


@pytest.mark.skipif('fp16' not in cpu_precisions(), reason='this CPU has no fp16 arithmetic')
def test_fp16_differs_little_from_float32(trained: dict[str, str], model: ExportedModel) -> None:
    crops = parity.parity_crops(64)
    exact, half = (
        load_runtime('openvino', precision=precision, **trained).run(crops)
        for precision in ('f32', 'fp16')
    )
    assert 0 < np.abs(half.iuv - exact.iuv).mean() < 0.005


def test_many_people_are_split_into_supported_batch_sizes(
    trained: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = load_runtime('openvino', precision='f32', **trained)
    crops = parity.parity_crops(64)[:11]
    expected = [runtime.run(crop[None]) for crop in crops]
    sizes, run = [], openvino_runtime._FixedBatch.run

    def watched(self: Any, images: np.ndarray, results: Any) -> None:
        sizes.append(len(images))
        run(self, images, results)

    monkeypatch.setattr(openvino_runtime._FixedBatch, 'run', watched)
    found = runtime.run(crops)
    assert sizes == [4, 4, 1, 1, 1]
    for name in ('iuv', 'vertices', 'joints', 'camera', 'location_map'):
        one_by_one = np.concatenate([getattr(output, name) for output in expected])
        np.testing.assert_allclose(getattr(found, name), one_by_one, atol=2e-4, err_msg=name)
