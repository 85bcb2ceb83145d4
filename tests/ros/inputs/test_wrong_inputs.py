"""Nothing that comes in a message is ignored or guessed in silence: a walk through every input.

Each case is a message with one wrong value; the word must be in the log, and a warning must stand
with its count, which /diagnostics shows (the last test), until a right message comes.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest

from decomr_ros.inputs import box_input
from decomr_ros.inputs.frame import Frame
from decomr_ros.inputs.inputs import Inputs
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.images import image_message
from decomr_ros.node import standing_warnings
from decomr_ros.pipeline.depth_correction import MOST_UNCORRECTED, DepthCorrection
from tests.ros.inputs.test_depth_image import _flat_person
from tests.ros.inputs.test_inputs import Notes, gray, header, info, node, start
from tests.ros.messages.test_boxes import detection

__all__ = ['node']  # the fixture

Change = Callable[[object], None]


def change(**fields: object) -> Change:
    """Sets fields of a message; `roi__width` is one of a part."""

    def apply(message: object) -> None:
        for name, value in fields.items():
            *parts, last = name.split('__')
            for part in parts:
                message = getattr(message, part)
            setattr(message, last, value)

    return apply


def see(frames: list[Frame]) -> str:
    """What the worker asks of the last image; why that failed, which the node logs as well."""
    frame = frames[-1]
    try:
        frame.rgb  # noqa: B018 - decoded here
        frame.boxes  # noqa: B018 - likewise
        frame.depth  # noqa: B018 - likewise
    except BadInput as error:
        return str(error)
    return ''


def warnings_of(inputs: Inputs) -> dict[str, str]:
    values = inputs.warnings.values()
    assert int(values.pop('warnings')) == sum(not name.endswith('_count') for name in values)
    return values


def numbers(
    encoding: str,
    dtype: str,
    value: float,
    seconds: float = 1.0,
    size: int = 64,
    width: int | None = None,
) -> Image:
    return image_message(header(seconds), np.full((size, width or size), value, dtype), encoding)


# Images


IMAGES = {
    'no encoding': (gray, change(encoding=''), "encoding ''"),
    'an unknown encoding': (gray, change(encoding='rgb9'), "'rgb9' is not supported"),
    'another unknown one': (gray, change(encoding='16UC3'), "'16UC3' is not supported"),
    'depth': (lambda: numbers('16UC1', '<u2', 900), change(), "'16UC1' is not supported"),
    'floats': (lambda: numbers('32FC1', '<f4', 0.5), change(), "'32FC1' is not supported"),
    'untyped colours': (gray, change(encoding='8UC3'), 'read as bgr8'),
    'untyped gray': (lambda: numbers('8UC1', 'u1', 9), change(), 'read as mono8'),
    'no height': (gray, change(height=0), 'it is empty'),
    'no width': (gray, change(width=0), 'it is empty'),
    'a step too small': (gray, change(step=10), 'step is 10 bytes'),
    'a step too large': (gray, change(step=900), 'bytes of data'),
    'too few data': (gray, change(data=array.array('B', [1, 2, 3])), '3 bytes of data'),
    'an odd mosaic': (lambda: numbers('bayer_rggb8', 'u1', 9, size=63), change(), 'even width'),
    '12 of 16 bits': (lambda: numbers('mono16', '<u2', 4000), change(), 'nearly black'),
    'the other order of bytes': (lambda: numbers('mono16', '<u2', 0x0F), change(), 'nearly black'),
}


@pytest.mark.parametrize('case', IMAGES)
def test_a_wrong_image_is_named(node: Notes, case: str) -> None:
    make, wrong, word = IMAGES[case]
    inputs, frames = start(node)
    message = make()
    wrong(message)
    node.callbacks['/image'](message)
    said = see(frames)
    assert word in said or any(word in text for text in node.log)
    if not said:
        assert any(word in text for text in warnings_of(inputs).values())


# Compressed images


def file_of(kind: str, picture: np.ndarray) -> array.array:
    return array.array('B', cv2.imencode(kind, picture)[1].tobytes())


def compressed(
    format_: str, kind: str = '.jpg', picture: np.ndarray | None = None
) -> CompressedImage:
    if picture is None:
        picture = np.full((48, 64, 3), (10, 20, 200), np.uint8)
    return CompressedImage(header=header(1), format=format_, data=file_of(kind, picture))


def turned() -> CompressedImage:
    """A JPEG with an EXIF part that says: turn me by 90 degrees."""
    message = compressed('jpeg')
    exif = (
        b'Exif\0\0II*\0\x08\0\0\0'
        + b'\x01\0'
        + b'\x12\x01\x03\0\x01\0\0\0\x06\0\0\0'
        + b'\0\0\0\0'
    )
    data = message.data.tobytes()
    message.data = array.array(
        'B', data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:]
    )
    return message


MOSAIC = np.tile(np.array([[200, 100], [100, 20]], np.uint8), (24, 32))
COMPRESSED = {
    'a video': (
        lambda: compressed('h264'),
        change(data=array.array('B', b'\0\0\0\1gB')),
        'neither JPEG nor PNG',
    ),
    'nothing': (lambda: compressed('jpeg'), change(data=array.array('B')), 'neither JPEG'),
    'another format': (lambda: compressed('png'), change(), 'its data are jpeg'),
    'no format': (lambda: compressed(''), change(), 'its data are jpeg'),
    'half a picture': (
        lambda: compressed(
            'jpeg', picture=np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        ),
        lambda message: change(data=message.data[:700])(message),
        'end is missing',
    ),
    'depth': (lambda: compressed('16UC1; compressedDepth png', '.png'), change(), 'depth image'),
    'depth in a plain PNG': (
        lambda: compressed(
            '16UC1; png compressed 16UC1', '.png', np.full((48, 64), 2000, np.uint16)
        ),
        change(),
        '16UC1 is not a colour image',
    ),
    'a mosaic in a JPEG': (
        lambda: compressed('bayer_rggb8; jpeg compressed ', picture=MOSAIC),
        change(),
        'Bayer mosaic',
    ),
    'an unknown mosaic': (
        lambda: compressed('bayer_rggb12; png compressed ', '.png', MOSAIC),
        change(),
        'bayer_rggb12 is not supported',
    ),
    'an odd mosaic': (
        lambda: compressed('bayer_rggb8; png compressed ', '.png', MOSAIC[:47]),
        change(),
        'even width and height',
    ),
    'an EXIF rotation': (turned, change(), 'orientation 6'),
    '12 of 16 bits': (
        lambda: compressed('mono16; png compressed ', '.png', np.full((48, 64), 900, np.uint16)),
        change(),
        'nearly black',
    ),
}


@pytest.mark.parametrize('case', COMPRESSED)
def test_a_wrong_compressed_image_is_named(node: Notes, case: str) -> None:
    make, wrong, word = COMPRESSED[case]
    inputs, frames = start(node, image_transport='compressed')
    message = make()
    wrong(message)
    node.callbacks['/image/compressed'](message)
    said = see(frames)
    assert word in said or any(word in text for text in node.log)
    if not said:
        assert any(word in text for text in warnings_of(inputs).values())


@pytest.mark.parametrize('dtype', ['u1', 'u2'])
def test_a_mosaic_in_a_png_has_its_colours(node: Notes, dtype: str) -> None:
    inputs, frames = start(node, image_transport='compressed')
    bits = 8 if dtype == 'u1' else 16
    picture = MOSAIC.astype(dtype) << (bits - 8)
    node.callbacks['/image/compressed'](
        compressed(f'bayer_rggb{bits}; png compressed ', '.png', picture)
    )
    assert frames[0].rgb[20, 20].tolist() == [200, 100, 20]
    assert not any('image' in name for name in warnings_of(inputs))


# Calibrations


BARREL = array.array('d', [-0.3, 0.1, 0.0, 0.0, 0.0])
FISHEYE = array.array('d', [0.1, 0.01, 0.0, 0.0])
K = info().k.tolist()
FOCAL, MIDDLE = K[0], K[2]
INFOS = {
    'another size': (change(width=128, height=128), 'is for 128x128 px'),
    'another aspect': (change(width=64, height=36), 'is for 64x36 px'),
    'no size': (change(width=0, height=0), 'has no size'),
    'a lens by another name': (change(distortion_model='radtan', d=BARREL), "'radtan'"),
    'a fisheye by another name': (
        change(distortion_model='fisheye', d=FISHEYE),
        'read as equidistant',
    ),
    'a rational lens called plumb_bob': (
        change(d=array.array('d', [-0.3] + [0.1] * 7)),
        'read as rational_polynomial',
    ),
    'a lens without a name': (change(distortion_model='', d=BARREL), 'read as plumb_bob'),
    'four numbers without a name': (
        change(distortion_model='', d=FISHEYE),
        "distortion model is ''",
    ),
    'an unknown lens': (change(distortion_model='division', d=BARREL), "'division', expected"),
    'too few numbers': (change(d=array.array('d', [-0.3, 0.1])), 'expected 4 or 5'),
    'no numbers': (change(d=array.array('d', [np.nan] * 5)), 'finite'),
    'a strong lens': (change(d=BARREL), 'Set undistort:=true'),
    'no calibration': (change(k=np.zeros(9)), 'not calibrated'),
    'NaN': (change(k=np.array([np.nan, *K[1:]])), 'intrinsics are'),
    'a mirrored matrix': (change(k=np.array([-FOCAL, *K[1:]])), 'intrinsics are'),
    'a transposed matrix': (
        change(k=np.array(K).reshape(3, 3).T.ravel()),
        'driver transposes the matrix',
    ),
    'a skew': (change(k=np.array([K[0], 3.0, *K[2:]])), 'skew'),
    'a scaled matrix': (change(k=np.array([*K[:8], 2.0])), 'as its last element'),
    'the matrix of another resolution': (
        change(k=np.array([FOCAL, 0, 60, 0, FOCAL, 60, 0, 0, 1.0])),
        'another resolution',
    ),
    'a matrix in metres': (
        change(k=np.array([0.02, 0, MIDDLE, 0, 0.02, MIDDLE, 0, 0, 1])),
        'field of view',
    ),
    'oblong pixels': (
        change(k=np.array([FOCAL, 0, MIDDLE, 0, 2 * FOCAL, MIDDLE, 0, 0, 1])),
        'not square',
    ),
    'binning that is not done': (change(binning_x=2, binning_y=2), 'is for 32x32 px'),
    'a region that is not cut': (
        change(roi=RegionOfInterest(width=20, height=20)),
        'is for 20x20 px',
    ),
    'a region outside': (
        change(roi=RegionOfInterest(x_offset=30, width=64, height=64)),
        'which exceeds its',
    ),
    'an offset without a region': (change(roi=RegionOfInterest(x_offset=8)), 'without a size'),
    'another clock': (change(header__stamp=header(4000).stamp), '3999.0 s after the images'),
    'no clock': (change(header__stamp=header(0).stamp), 'camera_info is stamped'),
}
RECTIFIED = {
    'no P': (change(p=np.zeros(12)), 'not calibrated'),
    'the second camera': (
        lambda message: change(p=np.array([*message.p[:3], -0.1 * message.p[0], *message.p[4:]]))(
            message
        ),
        '0.100 m from the first',
    ),
    'a region to rectify': (
        change(roi=RegionOfInterest(width=64, height=64, do_rectify=True)),
        'do_rectify',
    ),
}


@pytest.mark.parametrize('case', [*INFOS, *RECTIFIED])
def test_a_wrong_camera_info_is_named_until_a_right_one_comes(
    node: Notes, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, word = {**INFOS, **RECTIFIED}[case]
    inputs, frames = start(node, image_is_rectified=case in RECTIFIED)
    seconds = 1.0 if case != 'no clock' else 100.0
    message = info(seconds)
    wrong(message)
    for _ in range(3):
        node.callbacks['/camera_info'](message)
        node.callbacks['/image'](gray(seconds))
        see(frames)
    assert sum(word in text for text in node.log) == 1, 'once'
    assert any(word in text for text in warnings_of(inputs).values())
    node.callbacks['/camera_info'](info(seconds))
    node.callbacks['/image'](gray(seconds))
    see(frames)
    monkeypatch.setattr(standing_warnings, 'SHOWN_S', 0.0)
    assert warnings_of(inputs) == {}


def test_a_right_camera_info_is_no_warning(node: Notes) -> None:
    for rectified in (False, True):
        inputs, frames = start(node, image_is_rectified=rectified)
        node.callbacks['/camera_info'](info())
        node.callbacks['/image'](gray())
        assert see(frames) == ''
        assert frames[-1].intrinsics is not None
        assert warnings_of(inputs) == {}


@pytest.mark.parametrize(
    ('name', 'coefficients', 'own_name', 'own'),
    [
        ('fisheye', [0.1, 0.01, 0.0, 0.0], 'equidistant', [0.1, 0.01, 0.0, 0.0]),
        ('Kannala-Brandt4', [0.1, 0.01, 0.0, 0.0, 0.0], 'equidistant', [0.1, 0.01, 0.0, 0.0]),
        ('PLUMB_BOB', [-0.3, 0.1, 0.0, 0.0, 0.0], 'plumb_bob', [-0.3, 0.1, 0.0, 0.0, 0.0]),
        (
            'rational',
            [-0.3, 0.1, 0, 0, 0, 0.1, 0, 0],
            'rational_polynomial',
            [-0.3, 0.1, 0, 0, 0, 0.1, 0, 0],
        ),
        (
            'rational_polynomial',
            [-0.3, 0.1, 0.0, 0.0, 0.0],
            'plumb_bob',
            [-0.3, 0.1, 0.0, 0.0, 0.0],
        ),
        ('', [-0.3, 0.1, 0.0, 0.0, 0.0], 'plumb_bob', [-0.3, 0.1, 0.0, 0.0, 0.0]),
    ],
)
def test_a_lens_under_another_name_is_undone_as_under_its_own(
    node: Notes, name: str, coefficients: list[float], own_name: str, own: list[float]
) -> None:
    inputs, frames = start(node, undistort=True)
    lenses = []
    for model, numbers_ in ((own_name, own), (name, coefficients)):
        message = info()
        change(distortion_model=model, d=array.array('d', numbers_))(message)
        node.callbacks['/camera_info'](message)
        node.callbacks['/image'](gray())
        lenses.append(frames[-1].calibration.lens)
    assert lenses[0] == lenses[1] is not None


def test_a_lens_of_five_zeros_needs_no_name(node: Notes) -> None:
    inputs, frames = start(node)
    message = info()
    change(distortion_model='', d=array.array('d', [0.0] * 5))(message)
    node.callbacks['/camera_info'](message)
    node.callbacks['/image'](gray())
    assert see(frames) == ''
    assert warnings_of(inputs) == {}


# Boxes


@pytest.fixture
def boxes(node: Notes, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Inputs, Frame]]:
    """Gives detections and an image; the node's inputs and the image's frame."""
    monkeypatch.setattr(box_input, 'detection_message_type', lambda: SimpleNamespace)
    started: list[tuple[Inputs, list[Frame]]] = []

    def give(
        *detections: object, seconds: float = 1.0, image_seconds: float = 1.0, **parameters: object
    ) -> tuple[Inputs, Frame]:
        if not started:
            started.append(start(node, use_boxes=True, **parameters))
        inputs, frames = started[0]
        node.callbacks['/camera_info'](info(image_seconds))
        node.callbacks['/boxes'](
            SimpleNamespace(header=header(seconds), detections=list(detections))
        )
        node.callbacks['/image'](gray(image_seconds))
        see(frames)
        return inputs, frames[-1]

    return give


@pytest.mark.parametrize(
    'names', [('person',), ('Person',), ('PERSON ',), ('0',), ('0', '16'), ('person', 'dog')]
)
def test_people_are_people_however_the_detector_writes_them(
    boxes: Callable, names: tuple[str, ...]
) -> None:
    inputs, frame = boxes(*(detection(name, x=20.0, y=30.0) for name in names))
    assert len(frame.boxes.boxes) == 1
    assert warnings_of(inputs) == {}


def test_numbers_do_not_count_beside_names(boxes: Callable) -> None:
    inputs, frame = boxes(detection('0', x=20.0, y=30.0), detection('Person', x=20.0, y=30.0))
    assert len(frame.boxes.boxes) == 1
    assert inputs.values()['boxes_left_out_0'] == '1'


BOXES = {
    'a number that is no person': ([detection('16')], 'classes seen: 16 ('),
    'the 91 classes of COCO': ([detection('1')], '1 in the 91'),
    'another name': ([detection('pedestrian')], 'pedestrian ('),
    'no class': ([detection('')], '(empty) ('),
    'no hypothesis': (
        [SimpleNamespace(bbox=detection().bbox, results=[], id='')],
        '(no hypothesis)',
    ),
    'per cent': ([detection(score=87.0)], 'a score in [0, 1]'),
    'no score': ([detection(score=float('nan'))], 'a score in [0, 1]'),
    'no size': ([detection(size=(0.0, 10.0))], 'sizes above 0'),
    'no place': ([detection(x=float('inf'))], 'expected px'),
    'shares of the image': (
        [detection(x=0.5, y=0.4, size=(0.2, 0.9)), detection(x=0.9, y=0.5, size=(0.3, 1.0))],
        'normalised to 0..1',
    ),
    'another size of image': (
        [detection(x=400.0, y=300.0, size=(80.0, 200.0))],
        'an image of another size',
    ),
}


@pytest.mark.parametrize('case', BOXES)
def test_wrong_boxes_are_named_until_right_ones_come(
    node: Notes, boxes: Callable, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detections, word = BOXES[case]
    for _ in range(3):
        inputs, frame = boxes(*detections)
        assert frame.boxes is None or len(frame.boxes.boxes) == 0
    assert sum(word in text for text in node.log) == 1, 'once'
    (name,) = [name for name, text in warnings_of(inputs).items() if word in text]
    assert int(warnings_of(inputs)[f'{name}_count']) >= 3
    monkeypatch.setattr(standing_warnings, 'SHOWN_S', 0.0)
    assert name in warnings_of(inputs)
    boxes(detection(x=20.0, y=30.0))
    assert name not in warnings_of(inputs)


def test_boxes_of_another_clock_are_named_with_the_distance(
    node: Notes, boxes: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, frame = boxes(detection(), seconds=1.0, image_seconds=3601.0)
    assert frame.boxes is None
    assert any('3600.0 s before it' in text for text in node.log)
    assert 'warning_boxes' in warnings_of(inputs)
    monkeypatch.setattr(standing_warnings, 'SHOWN_S', 0.0)
    boxes(detection(x=20.0, y=30.0))
    assert warnings_of(inputs) == {}


def test_classes_beside_people_are_counted_and_named_but_no_warning(
    node: Notes, boxes: Callable
) -> None:
    for _ in range(3):
        inputs, _ = boxes(
            detection(x=20.0, y=30.0), detection('dog'), detection('chair'), detection('chair')
        )
    values = inputs.values()
    assert (values['boxes_left_out_dog'], values['boxes_left_out_chair']) == ('3', '6')
    for name in ('dog', 'chair'):
        assert sum(f'class {name!r}' in text for text in node.log) == 1
    assert warnings_of(inputs) == {}


def test_a_detector_that_invents_classes_fills_no_memory(boxes: Callable) -> None:
    for number in range(200):
        inputs, _ = boxes(detection(f'{number + 1}'))
    assert len(inputs.values()) < 60
    assert (
        sum(
            int(count)
            for name, count in inputs.values().items()
            if name.startswith('boxes_left_out_')
        )
        == 200
    )


def test_what_a_detection_has_besides_is_named(node: Notes, boxes: Callable) -> None:
    full = detection(x=20.0, y=30.0, theta=0.1)
    full.id = 'track_7'
    full.results[0].pose = SimpleNamespace(
        pose=SimpleNamespace(position=SimpleNamespace(x=1.0, y=0.0, z=4.0))
    )
    boxes(full, detection(score=0.1, x=20.0, y=30.0), min_score=0.5)
    inputs, _ = boxes(full)
    for word in ('have ids', 'theta', 'have poses', 'below min_score'):
        assert sum(word in text for text in node.log) == 1, word
    assert inputs.values()['boxes_below_min_score'] == '1'
    assert warnings_of(inputs) == {}


# Depth


DEPTHS = {
    'colours': (lambda: gray(), "'bgr8', expected one of: 16UC1"),
    'mono16': (lambda: numbers('mono16', '<u2', 3000), 'read as 16UC1'),
    'another aspect': (lambda: numbers('16UC1', '<u2', 3000, width=128), 'it is not aligned'),
    'too few data': (lambda: _short(), 'bytes of data'),
    'millimetres in floats': (lambda: numbers('32FC1', '<f4', 3000.0), 'of another unit'),
    'metres in integers': (lambda: numbers('16UC1', '<u2', 3), 'of another unit'),
    'the other order of bytes': (lambda: _turned_round(), 'of another unit'),
    'nothing measured': (lambda: numbers('16UC1', '<u2', 0), 'no pixel is measured'),
    'only NaN': (lambda: numbers('32FC1', '<f4', np.nan), 'no pixel is measured'),
    'another clock': (lambda: numbers('16UC1', '<u2', 3000, seconds=61.0), '60.0 s after it'),
    'no stamp': (lambda: numbers('16UC1', '<u2', 3000, seconds=0.0), '1.0 s before it'),
    'nothing at all': (lambda: None, 'none has arrived so far'),
}


def _short() -> Image:
    message = numbers('16UC1', '<u2', 3000)
    message.data = message.data[:100]
    return message


def _turned_round() -> Image:
    message = numbers('32FC1', '<f4', 3.0)
    message.is_bigendian = 1
    return message


@pytest.mark.parametrize('case', DEPTHS)
def test_wrong_depth_is_named_until_right_depth_comes(
    node: Notes, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, word = DEPTHS[case]
    inputs, frames = start(node, use_depth=True)
    node.callbacks['/camera_info'](info())
    for _ in range(3):
        if (message := make()) is not None:
            node.callbacks['/depth'](message)
        node.callbacks['/image'](gray())
        see(frames)
    assert sum(word in text for text in node.log) == 1, 'once'
    assert any(word in text for text in warnings_of(inputs).values())
    node.callbacks['/depth'](numbers('16UC1', '<u2', 3000))
    node.callbacks['/image'](gray())
    see(frames)
    monkeypatch.setattr(standing_warnings, 'SHOWN_S', 0.0)
    assert warnings_of(inputs) == {}


def test_scaled_depth_is_named_and_no_warning(node: Notes) -> None:
    inputs, frames = start(node, use_depth=True)
    node.callbacks['/camera_info'](info())
    for _ in range(2):
        node.callbacks['/depth'](numbers('16UC1', '<u2', 3000, size=32))
        node.callbacks['/image'](gray())
        see(frames)
    assert sum('/depth has 32x32 px, the image 64x64' in text for text in node.log) == 1
    assert warnings_of(inputs) == {}


def test_depth_that_never_fits_a_mesh_is_named_until_it_does(
    node: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, frames = start(node, use_depth=True)
    node.callbacks['/camera_info'](info())
    stage = DepthCorrection('/depth', inputs.warnings, node.info)
    node.callbacks['/depth'](numbers('16UC1', '<u2', 9000))  # the wall, three times as far
    for _ in range(MOST_UNCORRECTED + 5):
        node.callbacks['/image'](gray())
        stage.correct([_flat_person()], frames[-1].depth)
    assert sum('corrected none of the last' in text for text in node.log) == 1
    assert 'warning_depth_fit' in warnings_of(inputs)
    node.callbacks['/depth'](numbers('16UC1', '<u2', 2900))
    node.callbacks['/image'](gray())
    stage.correct([_flat_person()], frames[-1].depth)
    monkeypatch.setattr(standing_warnings, 'SHOWN_S', 0.0)
    assert warnings_of(inputs) == {}
